package bridgemqtt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
)

// certificate makes a certificate for 127.0.0.1, which is its own authority.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bridge"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

func TestTransports(t *testing.T) {
	certFile, keyFile := certificate(t)
	there := startNode(t, "there")
	server := &transport.TLSConfig{
		Certificates: []transport.CertFiles{{Cert: certFile, Key: keyFile}}, ClientAuth: transport.ClientCertRequired, ClientCAs: []string{certFile},
	}
	socket := filepath.Join(t.TempDir(), "s")
	far := connect(t, there.addr, "far").subscribe("#")
	n := 0
	for url, c := range map[string]transport.ListenerConfig{
		"mqtts://%s":           {Network: "tls", Address: "127.0.0.1:0", TLS: server},
		"ws://%s/m":            {Network: "ws", Address: "127.0.0.1:0", WebSocket: &transport.WSConfig{Path: "/m"}},
		"wss://%s/m":           {Network: "wss", Address: "127.0.0.1:0", TLS: server, WebSocket: &transport.WSConfig{Path: "/m"}},
		"unix://%.0s" + socket: {Network: "unix", Address: socket},
	} {
		t.Run(url[:4], func(t *testing.T) {
			l, err := there.broker.Listen(broker.Listener{Transport: c, AllowAnonymous: true})
			if err != nil {
				t.Fatal(err)
			}
			here := startNode(t, "here")
			near := connect(t, here.addr, "near").subscribe("down/#")
			address := fmt.Sprintf(url, l.Addr().String())
			here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":[%q],"tls":{"ca_file":%q,"cert_file":%q,"cert_key_file":%q}},"routes":[
				{"name":"up","filters":["up/#"]},{"name":"down","direction":"in","filters":["down/#"]}]}`, address, certFile, certFile, keyFile))
			here.connected("b")
			big := strings.Repeat("x", 300_000)
			near.say("up/1", big, 1)
			n++
			if got := far.expect(n)[n-1]; string(got.Payload) != big {
				t.Errorf("%d bytes", len(got.Payload))
			}
			far.say("down/1", big, 2)
			n++
			far.expect(n)
			if got := near.expect(1)[0]; string(got.Payload) != big {
				t.Errorf("%d bytes", len(got.Payload))
			}
		})
	}
	// Without the authority's certificate nobody is trusted.
	l, err := there.broker.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tls", Address: "127.0.0.1:0", TLS: server}})
	if err != nil {
		t.Fatal(err)
	}
	here := startNode(t, "here")
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtts://%s"]},"routes":[{"name":"up","filters":["up/#"]}]}`, l.Addr()))
	eventually(t, "the certificate is refused", func() bool { return strings.Contains(here.health("b"), "certificate") })
}

// health is what a bridge's status page says of its first remote.
func (n *node) health(name string) string {
	for _, r := range n.status(name).Remotes {
		if !r.Connected {
			return r.Error
		}
	}
	return ""
}

// Retained messages go to a session that is new, and come from one.
func TestSyncRetained(t *testing.T) {
	here, there := startNode(t, "here"), startNode(t, "there")
	near, far := connect(t, here.addr, "near"), connect(t, there.addr, "far")
	for i := range 600 { // more than a batch
		near.publish(&paho.Publish{Topic: fmt.Sprintf("up/%d", i), Payload: []byte("old"), QoS: 1, Retain: true, Properties: &paho.PublishProperties{ContentType: "x"}})
	}
	far.publish(&paho.Publish{Topic: "down/1", Payload: []byte("old"), QoS: 1, Retain: true})
	near.subscribe("hq/#")
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtt://%s"]},"routes":[
		{"name":"up","filters":["up/#"],"sync_retained":true,"remote_prefix":"a/"},{"name":"down","direction":"in","filters":["down/#"],"local_prefix":"hq/","sync_retained":true}]}`, there.addr))
	if got := near.expect(1)[0]; got.Topic != "hq/down/1" || !got.Retain {
		t.Errorf("%+v", got)
	}
	late := connect(t, there.addr, "late")
	eventually(t, "all retained messages are there", func() bool { return there.broker.Gauges().Retained >= 601 })
	late.subscribe("a/up/7")
	if got := late.expect(1)[0]; !got.Retain || string(got.Payload) != "old" || got.Properties.ContentType != "x" {
		t.Errorf("%+v", got)
	}
}

func TestConfigs(t *testing.T) {
	const route = `"routes":[{"name":"r","filters":["a/#"]%s}]`
	remote := `"remote":{"servers":["mqtt://h"]%s}`
	ok := fmt.Sprintf(remote, "")
	for config, want := range map[string]string{
		`{` + ok + `}`:                     "/routes is required",
		`{` + fmt.Sprintf(route, "") + `}`: "/remote is required",
		`{"remote":{"servers":["http://h"]},` + fmt.Sprintf(route, "") + `}`:                           "/remote/servers/0 a server is written as",
		`{"remote":{"servers":["mqtt://u:hush@h"]},` + fmt.Sprintf(route, "") + `}`:                    "/remote/servers/0 user name and password have keys",
		`{` + fmt.Sprintf(remote, `,"name":"test"`) + `,` + fmt.Sprintf(route, "") + `}`:               `/remote/name "test" is the name of this broker`,
		`{` + fmt.Sprintf(remote, `,"tls":{"ca_file":"/none"}`) + `,` + fmt.Sprintf(route, "") + `}`:   "/remote/tls/ca_file open /none",
		`{` + fmt.Sprintf(remote, `,"tls":{"cert_file":"/none"}`) + `,` + fmt.Sprintf(route, "") + `}`: "/remote/tls/cert_file a certificate needs its key",
		`{` + fmt.Sprintf(remote, `,"status_topic":"a/#"`) + `,` + fmt.Sprintf(route, "") + `}`:        "/remote/status_topic",
		`{` + fmt.Sprintf(remote, `,"version":"3"`) + `,` + fmt.Sprintf(route, "") + `}`:               "/remote/version",
		`{` + ok + `,` + fmt.Sprintf(route, `,"local_prefix":"a/+"`) + `}`:                             "/routes/0/local_prefix",
		`{` + ok + `,` + fmt.Sprintf(route, `,"remote_topic":"${topc}"`) + `}`:                         "/routes/0/remote_topic",
		`{` + ok + `,` + fmt.Sprintf(route, `,"direction":"both","remote_topic":"x"`) + `}`:            "/routes/0/remote_topic it is for direction out",
		`{` + ok + `,` + fmt.Sprintf(route, `,"direction":"both","local_topic":"x"`) + `}`:             "/routes/0/local_topic it is for direction in",
		`{` + ok + `,` + fmt.Sprintf(route, `,"remote_prefix":"x/","remote_topic":"x"`) + `}`:          "/routes/0/remote_prefix remote_topic takes its place",
		`{` + ok + `,` + fmt.Sprintf(route, `,"direction":"in","ack":"after_remote"`) + `}`:            "/routes/0/ack it is for what goes",
		`{` + ok + `,` + fmt.Sprintf(route, `,"qos":0,"ack":"after_remote"`) + `}`:                     "/routes/0/ack with qos 0",
		`{` + ok + `,` + fmt.Sprintf(route, `,"direction":"up"`) + `}`:                                 "/routes/0/direction",
	} {
		if got := refusal(t, config); !strings.HasPrefix(got, want) || strings.Contains(got, "hush") {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}

// A new instance takes the session from the old one, and both are done in peace.
func TestReload(t *testing.T) {
	here, there := startNode(t, "here"), startNode(t, "there")
	near, far := connect(t, here.addr, "near").subscribe("down/#"), connect(t, there.addr, "far").subscribe("up/#")
	here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"servers":["mqtt://%s"]},"routes":[{"name":"up","filters":["up/#"]},{"name":"down","direction":"in","filters":["down/#"]}]}`, there.addr))
	here.connected("b") // and subscribed
	for i := range 3 {
		near.say("up/1", fmt.Sprint(i), 1)
		far.say("down/1", fmt.Sprint(i), 1)
		if err := here.host.Reload(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all of it", func() bool { return has(near, []string{"down/1"}, 3) && has(far, []string{"up/1"}, 3) })
	complete(t, near.received(), []string{"down/1"}, 3)
	complete(t, far.received(), []string{"up/1"}, 3)
	eventually(t, "the connection is back", func() bool { return here.health("b") == "" })
}
