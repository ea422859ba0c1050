package authcert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
)

const patience = 15 * time.Second

// site is a broker with the plugin, and listeners that ask for certificates.
type site struct {
	t         *testing.T
	authority *authority
	host      *pluginhost.Host
	broker    *broker.Broker
	addr      map[string]string // by transport
}

func serve(t *testing.T, rt pluginhost.Runtime, config string) *site {
	t.Helper()
	s := &site{t: t, authority: newAuthority(t), addr: map[string]string{}}
	quiet := slog.New(slog.DiscardHandler)
	st := new(store.Memory)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = quiet, st })
	if err != nil {
		t.Fatal(err)
	}
	s.broker = b
	s.host, err = pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { return Plugin(), name == "auth-cert" }, Logger: quiet, DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.host.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	spec := pluginhost.Spec{
		Name: "auth-cert", Source: "test", Runtime: rt, Config: json.RawMessage(config),
		Grants: []sdk.Grant{{Name: "clients"}, {Name: "disconnect"}},
	}
	if rt == pluginhost.Process {
		allRunners(t) // builds it
		spec.Path, spec.Dev = program(), true
	}
	if _, err := s.host.Apply(t.Context(), []pluginhost.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	cert, key := s.authority.server()
	for _, network := range []string{"tls", "wss"} {
		l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: network, Address: "127.0.0.1:0", TLS: &transport.TLSConfig{
			Certificates: []transport.CertFiles{{Cert: cert, Key: key}}, ClientAuth: transport.ClientCertOptional, ClientCAs: []string{s.authority.file},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		s.addr[network] = l.Addr().String()
	}
	return s
}

func (s *site) tls(cert *tls.Certificate) *tls.Config {
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	c.RootCAs.AddCert(s.authority.cert)
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return c
}

// stream makes a net.Conn of a WebSocket.
type stream struct {
	*websocket.Conn
	rest    []byte
	writing sync.Mutex // paho writes from several goroutines
}

func (s *stream) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		_, m, err := s.ReadMessage()
		if err != nil {
			return 0, err
		}
		s.rest = m
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return len(b), s.WriteMessage(websocket.BinaryMessage, b)
}

func (s *stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// connect5 connects an MQTT 5 client, and returns the Reason Code; ended gets the
// DISCONNECT that ends the connection.
func (s *site) connect5(network, id string, cert *tls.Certificate) (c *paho.Client, code byte, ended chan byte) {
	s.t.Helper()
	ended = make(chan byte, 1)
	var nc net.Conn
	var err error
	if network == "tls" {
		nc, err = tls.Dial("tcp", s.addr[network], s.tls(cert))
	} else {
		d := websocket.Dialer{TLSClientConfig: s.tls(cert), Subprotocols: []string{"mqtt"}}
		var w *websocket.Conn
		w, _, err = d.DialContext(s.t.Context(), "wss://"+s.addr[network]+"/mqtt", nil)
		nc = &stream{Conn: w}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	c = paho.NewClient(paho.ClientConfig{Conn: nc, OnServerDisconnect: func(d *paho.Disconnect) { ended <- d.ReasonCode }})
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	ack, err := c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60, Username: "claimed", UsernameFlag: true})
	if ack == nil {
		s.t.Fatal(err)
	}
	if err == nil {
		s.t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	}
	return c, ack.ReasonCode, ended
}

// connect3 connects an MQTT 3.1.1 client, and returns the return code.
func (s *site) connect3(network, id string, cert *tls.Certificate) byte {
	s.t.Helper()
	url := map[string]string{"tls": "ssl://" + s.addr["tls"], "wss": "wss://" + s.addr["wss"] + "/mqtt"}[network]
	c := mqtt3.NewClient(mqtt3.NewClientOptions().AddBroker(url).SetClientID(id).SetUsername("claimed").SetTLSConfig(s.tls(cert)).
		SetAutoReconnect(false).SetProtocolVersion(4))
	ack := c.Connect().(*mqtt3.ConnectToken)
	if !ack.WaitTimeout(patience) {
		s.t.Fatal("no CONNACK")
	}
	if ack.Error() == nil {
		s.t.Cleanup(func() { c.Disconnect(0) })
	}
	return ack.ReturnCode()
}

// who is the user of a client in a namespace, as the broker has it.
func (s *site) who(namespace, id string) string {
	info, ok := s.broker.Plugins().Session(namespace, id)
	if !ok {
		return ""
	}
	return info.Client.Username
}

// Each transport and version gets the same answers, in each runtime.
func TestWithABroker(t *testing.T) {
	const config = `{"identities":[{"match":{"uri":"spiffe://example.org/${tenant}/device/${device}"},"username":"${device}","namespace":"${tenant}"}],
		"client_ids":["%u-*"]}`
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) {
			s := serve(t, rt, config)
			good := s.authority.issue(device("x", uri(t, "spiffe://example.org/plant/device/d8")))
			other := s.authority.issue(device("x", uri(t, "spiffe://example.net/plant/device/d8")))
			for _, network := range []string{"tls", "wss"} {
				for _, c := range []struct {
					name   string
					id     string
					cert   *tls.Certificate
					v5, v3 byte
				}{
					{"a certificate that fits", "d8-" + network, &good, 0, 0},
					{"another client id", "d9-1", &good, 0x85, 2},
					{"a certificate that does not fit", "d8-1", &other, 0x87, 5},
					{"no certificate", "d8-1", nil, 0x87, 5},
				} {
					if _, got, _ := s.connect5(network, c.id, c.cert); got != c.v5 {
						t.Errorf("%s, MQTT 5, %s: 0x%02X, want 0x%02X", network, c.name, got, c.v5)
					}
					if got := s.connect3(network, c.id, c.cert); got != c.v3 {
						t.Errorf("%s, MQTT 3.1.1, %s: %d, want %d", network, c.name, got, c.v3)
					}
				}
				if got := s.who("plant", "d8-"+network); got != "d8" {
					t.Errorf("%s: %q", network, got)
				}
			}
		})
	}
}

// A certificate that is taken out of the file, and one that expires, end connections.
func TestEndings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "certificates.txt")
	write(t, path, "")
	s := serve(t, pluginhost.Builtin, `{"file":`+jsonOf(t, path)+`,"poll":"100ms"}`)
	refused := s.authority.issue(device("refused"))
	stays := s.authority.issue(device("stays"))
	short := s.authority.issue(device("short", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(3*time.Second)
	}))
	ends := map[string]chan byte{}
	var staying *paho.Client
	for name, cert := range map[string]*tls.Certificate{"refused": &refused, "stays": &stays, "short": &short} {
		c, code, ended := s.connect5("tls", name, cert)
		if ends[name] = ended; code != 0 {
			t.Fatalf("%s: 0x%02X", name, code)
		}
		if name == "stays" {
			staying = c
		}
	}
	write(t, path, "!"+printOf(refused.Leaf)+"\n")
	for _, name := range []string{"refused", "short"} {
		select {
		case code := <-ends[name]:
			if code != 0x87 {
				t.Errorf("%s: 0x%02X", name, code)
			}
		case <-time.After(patience):
			t.Fatalf("%s is still connected", name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := staying.Publish(ctx, &paho.Publish{Topic: "x", QoS: 1}); err != nil {
		t.Errorf("another client: %v", err)
	}
	if _, code, _ := s.connect5("tls", "refused", &refused); code != 0x87 {
		t.Errorf("again: 0x%02X", code)
	}
}
