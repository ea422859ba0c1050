package bridgewebhook

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
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// certificate makes a certificate for 127.0.0.1, which is its own authority.
func certificate(t *testing.T) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hook"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, text := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return pair, certFile, keyFile
}

// Both sides show certificates, over HTTP/1.1 and HTTP/2; without the right ones nothing
// goes, and it waits.
func TestTLS(t *testing.T) {
	pair, certFile, keyFile := certificate(t)
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		s := &server{}
		s.Server = httptest.NewUnstartedServer(s)
		s.EnableHTTP2 = proto == "HTTP/2.0"
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
		s.StartTLS()
		t.Cleanup(s.Close)
		n := startNode(t, pluginhost.Builtin, local(s.URL, ""))
		n.connect("p").say("a/b", "x")
		eventually(t, "the server's certificate is refused", func() bool { return strings.Contains(n.status().Remotes[0].Error, "certificate") })
		n.apply(pluginhost.Builtin, strings.Replace(local(s.URL, ""), "{", fmt.Sprintf(`{"tls":{"ca_file":%q},`, certFile), 1))
		eventually(t, "the server demands a certificate", func() bool { return strings.Contains(n.status().Remotes[0].Error, "certificate") })
		n.apply(pluginhost.Builtin, strings.Replace(local(s.URL, ""), "{", fmt.Sprintf(`{"tls":{"ca_file":%q,"cert_file":%q,"cert_key_file":%q},`, certFile, certFile, keyFile), 1))
		if r := s.expect(t, 1)[0]; r.body != "x" || r.Proto != proto || r.Request.TLS.PeerCertificates[0].Subject.CommonName != "hook" {
			t.Errorf("%s %q", r.Proto, r.body)
		}
	}
}

// Redirects are followed if the config says so, with method, body and signature, and
// with other headers to the same server only.
func TestRedirects(t *testing.T) {
	s, other := newServer(t), newServer(t)
	s.respond(func(w http.ResponseWriter, r got, _ int) {
		switch r.URL.Path {
		case "/there":
			http.Redirect(w, r.Request, "/here", http.StatusTemporaryRedirect)
		case "/away":
			http.Redirect(w, r.Request, other.URL+"/x", http.StatusPermanentRedirect)
		case "/get":
			http.Redirect(w, r.Request, "/here", http.StatusFound)
		case "/round":
			http.Redirect(w, r.Request, "/round", http.StatusTemporaryRedirect)
		}
	})
	config := strings.Replace(local(s.URL+"/${topic[2]}", `,"headers":{"Authorization":"hush","X-Token":"hush"},"sign":{"secrets":["0123456789abcdef"]}`), "{", `{"max_redirects":2,`, 1)
	n := startNode(t, pluginhost.Builtin, config)
	p := n.connect("p")
	p.say("a/there", "one")
	list := s.expect(t, 2)
	if r := list[1]; r.URL.Path != "/here" || r.Method != "POST" || r.body != "one" || r.Header.Get("X-Token") != "hush" || r.Header.Get("Patchbay-Signature") == "" {
		t.Errorf("%s %s %q %v", r.Method, r.URL, r.body, r.Header)
	}
	p.say("a/away", "two")
	if r := other.expect(t, 1)[0]; r.Method != "POST" || r.body != "two" || r.Header.Get("X-Token") != "" || r.Header.Get("Authorization") != "" ||
		r.Header.Get("Patchbay-Signature") == "" || r.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%s %q %v", r.Method, r.body, r.Header)
	}
	for _, path := range []string{"get", "round"} {
		before := len(s.requests())
		p.say("a/"+path, path)
		eventually(t, path+" waits", func() bool { return strings.Contains(n.status().Remotes[0].Error, "30") })
		for _, r := range s.requests()[before:] {
			if r.URL.Path == "/here" {
				t.Errorf("%s was followed", path)
			}
		}
		s.respond(nil)
		eventually(t, "well again", func() bool { return n.status().Remotes[0].Connected })
		s.respond(func(w http.ResponseWriter, r got, _ int) {
			http.Redirect(w, r.Request, "/round", http.StatusTemporaryRedirect)
		})
	}
	s.respond(nil)
}

// No connection is made to an address that is not public, whatever leads there.
func TestPrivateAddresses(t *testing.T) {
	s, inner := newServer(t), newServer(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(inner.URL, "http://"), ":")
	s.respond(func(w http.ResponseWriter, r got, _ int) {
		http.Redirect(w, r.Request, "http://127.0.0.2:"+port+"/", http.StatusTemporaryRedirect)
	})
	n := startNode(t, pluginhost.Builtin, strings.Replace(local(s.URL, ""), "{", `{"max_redirects":2,`, 1))
	n.connect("p").say("a/b", "x")
	s.expect(t, 1)
	eventually(t, "the redirect is refused", func() bool {
		return strings.Contains(n.status().Remotes[0].Error, "127.0.0.2 is this machine's own: requests may go there if allow_private has it")
	})
	if len(inner.requests()) > 0 {
		t.Error("it was followed")
	}
}

func TestAddresses(t *testing.T) {
	c := &Config{}
	for _, text := range []string{"10.9.0.0/16", "fd00::1", "::ffff:192.168.1.1"} {
		var n network
		if err := n.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		c.AllowPrivate = append(c.AllowPrivate, n)
	}
	for address, ok := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "64:ff9b::808:808": true, "::ffff:8.8.8.8": true,
		"10.9.1.1": true, "::ffff:10.9.1.1": true, "fd00::1": true, "192.168.1.1": true,
		"10.8.1.1": false, "192.168.1.2": false, "172.16.0.1": false, "fd00::2": false, "127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false,
		"169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false, "100.64.0.1": false, "0.0.0.0": false, "::": false, "0.1.2.3": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false, "64:ff9b::a00:1": false, "64:ff9b::7f00:1": false, "64:ff9b:1::808:808": false, "2002:7f00:1::": false,
		"2001::1": false, "fec0::1": false, "::7f00:1": false, "198.18.0.1": false, "192.0.2.1": false, "2001:db8::1": false,
	} {
		err := c.control("tcp", netip.AddrPortFrom(netip.MustParseAddr(address), 80).String(), nil)
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, bad := range []string{"", "x", "10.9.1.1/16", "fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0.0/33"} {
		if err := new(network).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, s := range []string{"", "0", "3", " 120 ", "-1", "1.5", "99999999999999999999", "Fri, 02 Jan 2026 03:05:05 GMT", "Fri, 02 Jan 2020 03:05:05 GMT", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, now, time.Hour); d < 0 || d > time.Hour {
			t.Errorf("%q: %s", s, d)
		}
		if e := excerpt([]byte(s)); len(e) > quoted+2 || !validHeaderValue(e) || strings.Contains(e, "\t") {
			t.Errorf("%q: %q", s, e)
		}
	})
}

func TestRetryAfterValues(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "3": 3 * time.Second, " 120 ": 2 * time.Minute, "86400": time.Hour, "99999999999999999999": time.Hour, "-1": 0, "1.5": 0, "soon": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:04:00 GMT": 0, "Sat, 03 Jan 2026 03:05:05 GMT": time.Hour,
	} {
		if got := retryAfter(s, now, time.Hour); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func TestConfigs(t *testing.T) {
	route := func(s string) string { return `{"routes":[{"name":"r","filters":["a/#"],` + s + `}]}` }
	url := `"url":"https://example.com/"`
	for config, want := range map[string]string{
		`{}`:                                "/routes is required",
		route(`"qos":1`):                    "/routes/0/qos",
		route(`"url":"ftp://example.com"`):  "/routes/0/url a URL begins with",
		route(`"url":"example.com"`):        "/routes/0/url a URL begins with",
		route(`"url":"https://${topic}/x"`): "/routes/0/url templates can stand behind the host only",
		route(`"url":"https://example.com:80${topic[1]}/x"`):                   "/routes/0/url templates can stand behind the host only",
		route(`"url":"https://u:hush@example.com/"`):                           "/routes/0/url user and password belong into headers",
		route(`"url":"https:///x"`):                                            "/routes/0/url the host is missing",
		route(`"url":"https://example.com/#x"`):                                "/routes/0/url a fragment",
		route(`"url":"https://exa mple.com/hush"`):                             "/routes/0/url it is no URL",
		route(`"url":"https://example.com/${topc}"`):                           "/routes/0/url",
		route(`"url":"http://127.0.0.1/"`):                                     "/routes/0/url 127.0.0.1 is this machine's own",
		route(`"url":"http://[::ffff:10.0.0.1]/"`):                             "/routes/0/url 10.0.0.1 is private",
		route(`"url":"http://localhost/"`):                                     "/routes/0/url ::1 is this machine's own",
		route(url + `,"method":"GET"`):                                         "/routes/0/method",
		route(url + `,"headers":{"a b":"x"}`):                                  `/routes/0/headers "a b" is no name`,
		route(url + `,"headers":{"host":"x"}`):                                 "/routes/0/headers Host cannot be set",
		route(url + `,"headers":{"X-A":"a\nb"}`):                               "/routes/0/headers X-A has characters",
		route(url + `,"body":"{${topic}"`):                                     "/routes/0/body",
		route(url + `,"body":"{}","text":"x"`):                                 "/routes/0/text it is in place of body",
		route(url + `,"batch":"lines","text":"x"`):                             "/routes/0/text a batch is made of JSON",
		route(url + `,"batch":"all"`):                                          "/routes/0/batch",
		route(url + `,"statuses":{"6xx":"done"}`):                              `/routes/0/statuses "6xx" is neither`,
		route(url + `,"statuses":{"40":"done"}`):                               `/routes/0/statuses "40" is neither`,
		route(url + `,"statuses":{"404":"ignore"}`):                            `/routes/0/statuses 404: "ignore" is none of`,
		route(url + `,"sign":{"secrets":["hush"]}`):                            "/routes/0/sign/secrets/0 it has 4 bytes",
		route(url + `,"sign":{"secrets":["0123456789abcdef"],"header":"a b"}`): "/routes/0/sign/header",
		route(url + `,"sign":{}`):                                              "/routes/0/sign/secrets",
		`{"tls":{"cert_file":"x"},` + route(url)[1:]:                           "/tls/cert_file a certificate needs its key",
		`{"tls":{"ca_file":"/none"},` + route(url)[1:]:                         "/tls/ca_file open /none",
		`{"allow_private":["10.0.0.1/8"],` + route(url)[1:]:                    "/allow_private/0",
		`{"allow_private":["::1"],` + route(`"url":"http://localhost/"`)[1:]:   "taken",
		route(url): "taken",
		route(`"url":"https://example.com?t=${topic}"`): "taken",
		route(`"url":"https://example.com"`):            "taken",
	} {
		if got := refusal(t, config); !strings.HasPrefix(got, want) || strings.Contains(got, "hush") {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}
