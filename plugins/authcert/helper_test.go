package authcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// buildDir is where runners are built, removed by TestMain.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "authcert-test"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

func program() string { return filepath.Join(buildDir, "authcert.exe") }

// runners are the plugin in all runtimes, built once.
var runners = sync.OnceValues(func() ([]plugintest.Runner, error) {
	module := filepath.Join(buildDir, "authcert.wasm")
	build := func(file string, env ...string) error {
		args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", file}
		if len(env) > 0 {
			args = append(args, "-buildmode=c-shared")
		}
		cmd := exec.Command("go", append(args, "./cmd/authcert")...)
		cmd.Env = append(os.Environ(), env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		return nil
	}
	if err := build(program()); err != nil {
		return nil, err
	}
	out := []plugintest.Runner{plugintest.Builtin(Plugin()), plugintest.Process(program())}
	if withWasm {
		if err := build(module, "GOOS=wasip1", "GOARCH=wasm"); err != nil {
			return nil, err
		}
		out = append(out, plugintest.Wasm(module))
	}
	return out, nil
})

func allRunners(t testing.TB) []plugintest.Runner {
	t.Helper()
	out, err := runners()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// authority issues certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM
}

var serials atomic.Int64

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Plant CA", Organization: []string{"Example"}}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	pair := a.issue(template)
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	write(t, a.file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})))
	return a
}

// issue signs what a template says; before the authority has a certificate, that one.
func (a *authority) issue(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(serials.Add(1) + 0xA0)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// device is the template of a client's certificate.
func device(cn string, change ...func(*x509.Certificate)) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: cn}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, f := range change {
		f(c)
	}
	return c
}

func uri(t testing.TB, s string) func(*x509.Certificate) {
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *x509.Certificate) { c.URIs = append(c.URIs, u) }
}

// sent is a certificate as a broker sends it to plugins.
func sent(c *x509.Certificate, verified bool) *sdk.TLS {
	sum := sha256.Sum256(c.Raw)
	out := &sdk.Certificate{
		Subject: c.Subject.String(), CommonName: c.Subject.CommonName, Issuer: c.Issuer.String(), SerialNumber: c.SerialNumber.Text(16),
		SHA256: sum[:], NotBeforeMs: c.NotBefore.UnixMilli(), NotAfterMs: c.NotAfter.UnixMilli(),
		DNSNames: c.DNSNames, EmailAddresses: c.EmailAddresses, DER: c.Raw,
	}
	for _, ip := range c.IPAddresses {
		out.IPAddresses = append(out.IPAddresses, ip.String())
	}
	for _, u := range c.URIs {
		out.URIs = append(out.URIs, u.String())
	}
	return &sdk.TLS{Certificate: out, Verified: verified}
}

func printOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// server writes a certificate for a server at 127.0.0.1.
func (a *authority) server() (cert, key string) {
	a.t.Helper()
	pair := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(a.t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw})))
	write(a.t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return cert, key
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
