package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ca makes certificates for tests.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t testing.TB) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{cert, key}
}

// issue returns certificate and key in PEM.
func (c *ca) issue(t testing.TB, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &k.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (c *ca) files(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	certPEM, keyPEM := c.issue(t, name)
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, content := range map[string][]byte{cert: certPEM, key: keyPEM} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func (c *ca) file(t testing.TB, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (c *ca) client(t testing.TB, identity *ca) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(c.cert)
	if identity != nil {
		pair, err := tls.X509KeyPair(identity.issue(t, "operator"))
		if err != nil {
			t.Fatal(err)
		}
		// Not Certificates: that sends nothing where the server would not take it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
}

func TestTLS(t *testing.T) {
	b, _ := newBroker(t)
	authority, dir := newCA(t), dataDir(t)
	cert, key := authority.files(t, dir, "server")
	s := start(t, b, func(o *Options) { o.Config.Cert, o.Config.Key, o.Config.Token = cert, key, "secret" })
	at := "https://" + s.Addr().String()
	if r, _ := fetch(t, authority.client(t, nil), at+"/healthz", nil); r.StatusCode != 200 || r.TLS.Version < tls.VersionTLS12 {
		t.Errorf("/healthz: %d", r.StatusCode)
	}
	if r, _ := fetch(t, authority.client(t, nil), at+"/metrics", nil); r.StatusCode != 401 {
		t.Errorf("/metrics without token: %d", r.StatusCode)
	}
	if r, _ := fetch(t, http.DefaultClient, urlOf(s, "/healthz"), nil); r.StatusCode != 400 {
		t.Errorf("plain HTTP: %d", r.StatusCode)
	}
}

func TestClientCertificates(t *testing.T) {
	b, _ := newBroker(t)
	authority, stranger, dir := newCA(t), newCA(t), dataDir(t)
	cert, key := authority.files(t, dir, "server")
	s := start(t, b, func(o *Options) {
		o.Config.Cert, o.Config.Key, o.Config.ClientCA = cert, key, authority.file(t, dir)
	})
	at := "https://" + s.Addr().String()
	if r, _ := fetch(t, authority.client(t, authority), at+"/metrics", func(r *http.Request) { r.Host = "broker.example" }); r.StatusCode != 200 {
		t.Errorf("with a certificate: %d", r.StatusCode)
	}
	for name, identity := range map[string]*ca{"without a certificate": nil, "with a stranger's": stranger} {
		if r, err := authority.client(t, identity).Get(at + "/healthz"); err == nil {
			r.Body.Close()
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
}
