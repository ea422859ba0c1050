package bridgekafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
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

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// certificate makes a certificate for 127.0.0.1, which is its own authority.
func certificate(t *testing.T) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, secret := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, text := range map[string][]byte{certFile: cert, keyFile: secret} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.X509KeyPair(cert, secret); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, pair
}

func TestTLSAndSASL(t *testing.T) {
	t.Parallel()
	certFile, keyFile, pair := certificate(t)
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	_, secure := startKafka(t, kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "p"),
		kfake.Superuser("SCRAM-SHA-256", "u", "p256"), kfake.Superuser("SCRAM-SHA-512", "u", "p512"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}))
	_, plain := startKafka(t, kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "u", "p512"))
	mutual := fmt.Sprintf(`{"enabled":true,"ca_file":%q,"cert_file":%q,"cert_key_file":%q}`, certFile, certFile, keyFile)
	login := `{"mechanism":%q,"username":"u","password":%q}`
	for _, c := range []struct{ name, addr, tls, sasl, wrong string }{
		{"plain", secure, mutual, fmt.Sprintf(login, "plain", "p"), ""},
		{"scram 256", secure, mutual, fmt.Sprintf(login, "scram-sha-256", "p256"), ""},
		{"scram 512", secure, mutual, fmt.Sprintf(login, "scram-sha-512", "p512"), ""},
		{"without TLS", plain, `{}`, fmt.Sprintf(login, "scram-sha-512", "p512"), ""},
		{"any certificate", secure, fmt.Sprintf(`{"enabled":true,"insecure_skip_verify":true,"cert_file":%q,"cert_key_file":%q}`, certFile, keyFile), fmt.Sprintf(login, "plain", "p"), ""},
		{"a wrong password", secure, mutual, fmt.Sprintf(login, "scram-sha-256", "hush"), "is the login right?"},
		{"no login", plain, `{}`, `{}`, "is SASL missing?"},
		{"an authority nobody knows", secure, `{"enabled":true}`, fmt.Sprintf(login, "plain", "p"), "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t)
			n.bridge(pluginhost.Builtin, fmt.Sprintf(`{"remote":{"brokers":[%q],"tls":%s,"sasl":%s},"routes":[{"name":"r","filters":["a/#"],"topic":"t","retry_min":"20ms"}]}`, c.addr, c.tls, c.sasl))
			connect(t, n.addr, "p").say("a/1", c.name)
			if c.wrong == "" {
				eventually(t, "it is there", func() bool { return n.route("r").Messages == 1 })
				return
			}
			eventually(t, "it is said", func() bool {
				r := n.status().Remotes[0]
				return !r.Connected && strings.Contains(r.Error, c.wrong)
			})
			if s := n.route("r"); s.Messages != 0 || s.Refused != 0 {
				t.Errorf("%+v", s)
			}
			if strings.Contains(n.log.String(), "hush") {
				t.Error("the password is in the log")
			}
		})
	}
}
