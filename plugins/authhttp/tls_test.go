package authhttp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// issuer is a certificate authority of a test.
type issuer struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t testing.TB, name string) *issuer {
	t.Helper()
	i := &issuer{t: t, dir: t.TempDir()}
	i.cert, i.key = i.issue(name, true)
	return i
}

// issue writes name.pem and name.key.
func (i *issuer) issue(name string, authority bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: authority, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := i.cert, i.key
	if authority {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{i.file(name + ".pem"): {Type: "CERTIFICATE", Bytes: der}, i.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: private}} {
		// As files are replaced: nobody reads half of one.
		if err := os.WriteFile(file+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			i.t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			i.t.Fatal(err)
		}
	}
	return cert, key
}

func (i *issuer) file(name string) string { return filepath.Join(i.dir, name) }

// TLS in both directions: the service's certificate is checked, and it gets that of the
// broker, renewed without a restart.
func TestMutualTLS(t *testing.T) {
	ca := newIssuer(t, "ca")
	ca.issue("service", false)
	ca.issue("broker", false)
	f := newFake(t)
	f.says(200, contentJSON, yes)
	s := httptest.NewUnstartedServer(f)
	pair, err := tls.LoadX509KeyPair(ca.file("service.pem"), ca.file("service.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	serials := make(chan *big.Int, 100)
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		VerifyConnection: func(c tls.ConnectionState) error {
			serials <- c.PeerCertificates[0].SerialNumber
			return nil
		},
	}
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(s.Close)
	config := func(parts map[string]any) string {
		text, err := json.Marshal(map[string]any{"authenticate": map[string]string{"url": s.URL}, "retries": 0, "tls": parts})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	own := map[string]any{"ca_file": ca.file("ca.pem"), "cert_file": ca.file("broker.pem"), "cert_key_file": ca.file("broker.key")}
	without := func(name string) map[string]any {
		out := map[string]any{}
		for k, v := range own {
			if !strings.HasPrefix(k, name) {
				out[k] = v
			}
		}
		return out
	}
	withName := without("-")
	withName["server_name"] = "auth.example.com"
	insecure := without("ca")
	insecure["insecure_skip_verify"] = true
	for name, c := range map[string]struct {
		parts map[string]any
		want  string
	}{
		"mutual": {own, "allow"}, "an unknown authority": {without("ca"), unavailable}, "no certificate": {without("cert"), unavailable},
		"another name": {withName, unavailable}, "insecure": {insecure, "allow"},
	} {
		p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config(c.parts))
		if got := said(login(t, p, ann(), withPassword("x"))); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	p := plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config(own))
	login(t, p, ann(), withPassword("x"))
	renewed, _ := ca.issue("broker", false)
	s.CloseClientConnections()
	seen := false
	eventually(t, "the renewed certificate", func() bool {
		login(t, p, ann(), withPassword("x"))
		for {
			select {
			case n := <-serials:
				seen = seen || n.Cmp(renewed.SerialNumber) == 0
				continue
			default:
			}
			return seen
		}
	})
}
