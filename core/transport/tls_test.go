package transport

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a CA that writes what it makes into files of one folder.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), next: 1}
	a.cert, a.key = a.make(name, nil, nil)
	a.write("ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return a.path(name)
}

func (a *authority) make(name string, hosts []string, signer *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, parentKey := template, key
	if signer != nil {
		parent, parentKey = signer.cert, signer.key
	} else {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	der, err := x509.CreateCertificate(crand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// issue writes a certificate and its key to file.pem and file.key.
func (a *authority) issue(file, name string, hosts ...string) (*x509.Certificate, CertFiles) {
	a.t.Helper()
	cert, key := a.make(name, hosts, a)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, CertFiles{Cert: a.write(file+".pem", "CERTIFICATE", cert.Raw), Key: a.write(file+".key", "PRIVATE KEY", der)}
}

func (a *authority) crl(file string, until time.Duration, asPEM bool, revoked ...*x509.Certificate) string {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(until)}
	for _, cert := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(crand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	if asPEM {
		return a.write(file, "X509 CRL", der)
	}
	if err := os.WriteFile(a.path(file), der, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return a.path(file)
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// connect does a whole handshake, the server's verdict on our certificate included: with TLS 1.3 that comes after ours is done.
func connect(t testing.TB, l *Listener, cfg *tls.Config) (*tls.Conn, error) {
	t.Helper()
	nc := tls.Client(dial(t, l), cfg)
	if _, err := nc.Write(frame([]byte("hello"))); err != nil {
		return nil, err
	}
	var answer [9]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return nil, err
	}
	return nc, nil
}

func TestEchoTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	_, files := ca.issue("server", "server", "broker.test")
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T, cfg Config) {
				e := newTestEngine(t, cfg)
				l, handlers := listen(t, e, ListenerConfig{Network: "tls", TLS: &TLSConfig{Certificates: []CertFiles{files}}, Proxy: ProxyOptional}, nil)
				client := &tls.Config{RootCAs: ca.pool(), ServerName: "broker.test", MaxVersion: version}

				raw := dial(t, l)
				write(t, raw, proxyHeader(t, 2))
				nc := tls.Client(raw, client)
				echoSession(t, nc)
				byteSession(t, nc)
				h := receive(t, handlers, "handler")
				if s := h.c.TLS(); s == nil || s.Version != version || s.ServerName != "broker.test" {
					t.Errorf("state %+v", s)
				}
				if got := h.c.RemoteAddr().String(); got != proxySource.String() {
					t.Errorf("RemoteAddr %s", got)
				}

				// Our close: last bytes, then the alert, then the end of the stream.
				h.c.Append(frame([]byte("bye")))
				h.c.Close(nil)
				if got := readFrame(t, nc); string(got) != "bye" {
					t.Errorf("got %q", got)
				}
				if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after our close: %v, want EOF by close_notify", err)
				}

				// The peer's close.
				nc, err := connect(t, l, client)
				if err != nil {
					t.Fatal(err)
				}
				h = receive(t, handlers, "handler")
				nc.Close()
				if err := receive(t, h.closed, "Closed"); err != io.EOF {
					t.Errorf("Closed got %v, want EOF", err)
				}
			})
		})
	}
}

// dripConn sends each byte in a write of its own, so records arrive byte by byte, as do the handshake's.
type dripConn struct{ net.Conn }

func (c dripConn) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestTLSRecordsByteByByte(t *testing.T) {
	ca := newAuthority(t, "ca")
	_, files := ca.issue("server", "server", "broker.test")
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, _ := listen(t, e, ListenerConfig{Network: "tls", TLS: &TLSConfig{Certificates: []CertFiles{files}}}, nil)
		nc := tls.Client(dripConn{dial(t, l)}, &tls.Config{RootCAs: ca.pool(), ServerName: "broker.test"})
		byteSession(t, nc)
		want := pattern(1, 3000)
		write(t, nc, frame(want))
		if got := readFrame(t, nc); !bytes.Equal(got, want) {
			t.Error("packet differs")
		}
	})
}

// A broken record ends the connection with an alert, not with a hang.
func TestTLSGarbage(t *testing.T) {
	ca := newAuthority(t, "ca")
	_, files := ca.issue("server", "server", "broker.test")
	e := newTestEngine(t, Config{})
	l, handlers := listen(t, e, ListenerConfig{Network: "tls", TLS: &TLSConfig{Certificates: []CertFiles{files}}}, nil)
	raw := dial(t, l)
	nc := tls.Client(raw, &tls.Config{RootCAs: ca.pool(), ServerName: "broker.test"})
	byteSession(t, nc)
	h := receive(t, handlers, "handler")
	write(t, raw, []byte{23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
	if _, err := nc.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("peer sees %v, want the alert", err)
	}
	nc.Close()
	if err := receive(t, h.closed, "Closed"); err == nil || err == io.EOF {
		t.Errorf("Closed got %v", err)
	}
	// Not TLS at all.
	plain := dial(t, l)
	write(t, plain, []byte("GET / HTTP/1.1\r\n\r\n"))
	_, _ = io.Copy(io.Discard, plain)
	eventually(t, "the failed handshake is counted", func() bool { return l.Stats().FailedTLS == 1 })
}

func TestTLSSlowReader(t *testing.T) {
	ca := newAuthority(t, "ca")
	_, files := ca.issue("server", "server", "broker.test")
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, handlers := listen(t, e, ListenerConfig{Network: "tls", TLS: &TLSConfig{Certificates: []CertFiles{files}}}, nil)
		nc := tls.Client(dial(t, l), &tls.Config{RootCAs: ca.pool(), ServerName: "broker.test"})
		byteSession(t, nc)
		c := receive(t, handlers, "handler").c
		want := pattern(4, 16<<20)
		c.Append(want)
		e.Do(func(p *Pass) { p.Flush(c) })
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Error("bytes differ")
		}
		eventually(t, "nothing is buffered", func() bool { return c.Buffered() == 0 })
	})
}

func TestEchoSecureWebSocket(t *testing.T) {
	ca := newAuthority(t, "ca")
	_, files := ca.issue("server", "server", "broker.test")
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, handlers := listen(t, e, ListenerConfig{Network: "wss", TLS: &TLSConfig{Certificates: []CertFiles{files}}}, nil)
		inner := tls.Client(dial(t, l), &tls.Config{RootCAs: ca.pool(), ServerName: "broker.test"})
		nc, resp := wsDial(t, inner, "/mqtt", offerMQTT)
		if resp.StatusCode != 101 {
			t.Fatal(resp.Status)
		}
		echoSession(t, nc)
		byteSession(t, nc)
		h := receive(t, handlers, "handler")
		if h.c.TLS() == nil || h.c.Network() != "wss" {
			t.Errorf("network %q, TLS %v", h.c.Network(), h.c.TLS())
		}
		h.c.Append(frame([]byte("bye")))
		h.c.Close(nil)
		if got := readFrame(t, nc); string(got) != "bye" {
			t.Errorf("got %q", got)
		}
		if op, _ := nc.control(t); op != 8 {
			t.Errorf("opcode %v, want a close frame", op)
		}
		if _, err := nc.r.ReadByte(); err != io.EOF {
			t.Errorf("after the close frame: %v, want EOF", err)
		}
	})
}

func TestTLSServerNamesAndReload(t *testing.T) {
	ca := newAuthority(t, "ca")
	_, first := ca.issue("first", "first", "first.test")
	_, second := ca.issue("second", "second", "second.test")
	e := newTestEngine(t, Config{})
	l, _ := listen(t, e, ListenerConfig{Network: "tls", TLS: &TLSConfig{Certificates: []CertFiles{first, second}, MinVersion: tls.VersionTLS13}}, nil)
	served := func(name string) string {
		t.Helper()
		nc, err := connect(t, l, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	for name, want := range map[string]string{"first.test": "first", "second.test": "second", "other.test": "first"} {
		if got := served(name); got != want {
			t.Errorf("%s is served by %q, want %q", name, got, want)
		}
	}
	if _, err := connect(t, l, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 accepted although 1.3 is the minimum")
	}

	old, err := connect(t, l, &tls.Config{ServerName: "second.test", RootCAs: ca.pool()})
	if err != nil {
		t.Fatal(err)
	}
	ca.issue("second", "renewed", "second.test")
	if err := os.WriteFile(first.Key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Reload(); err == nil || !strings.Contains(err.Error(), first.Key) {
		t.Errorf("reload with a broken key: %v, want the file's name in it", err)
	}
	if got := served("second.test"); got != "second" {
		t.Errorf("after a failed reload %q is served", got)
	}
	ca.issue("first", "first", "first.test")
	if err := l.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := served("second.test"); got != "renewed" {
		t.Errorf("after reload %q is served", got)
	}
	echoSession(t, old) // no client is dropped
}

func TestTLSClientCertificates(t *testing.T) {
	ca, otherCA := newAuthority(t, "ca"), newAuthority(t, "other ca")
	_, server := ca.issue("server", "server", "broker.test")
	good, goodFiles := ca.issue("good", "good client")
	bad, badFiles := ca.issue("bad", "bad client")
	_, strangerFiles := otherCA.issue("stranger", "stranger")
	crl := ca.crl("ca.crl", time.Hour, true, bad)

	client := func(files *CertFiles) *tls.Config {
		cfg := &tls.Config{RootCAs: ca.pool(), ServerName: "broker.test", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
		if files != nil {
			cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
			if err != nil {
				t.Fatal(err)
			}
			// Not Certificates: those are only sent when the server's CA list matches.
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
		return cfg
	}
	e := newTestEngine(t, Config{})
	for mode, auth := range map[string]ClientAuth{"optional": ClientCertOptional, "required": ClientCertRequired} {
		t.Run(mode, func(t *testing.T) {
			l, handlers := listen(t, e, ListenerConfig{Network: "tls", TLS: &TLSConfig{
				Certificates: []CertFiles{server}, ClientAuth: auth, ClientCAs: []string{ca.path("ca.pem")}, CRLs: []string{crl},
			}}, nil)
			for name, tc := range map[string]struct {
				files *CertFiles
				ok    bool
			}{"none": {nil, auth == ClientCertOptional}, "good": {&goodFiles, true}, "revoked": {&badFiles, false}, "stranger": {&strangerFiles, false}} {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					cfg := client(tc.files)
					cfg.MaxVersion = version
					_, err := connect(t, l, cfg)
					if (err == nil) != tc.ok {
						t.Errorf("%s, %s: error %v, want success %v", name, tls.VersionName(version), err, tc.ok)
					}
					if err != nil {
						continue
					}
					h := receive(t, handlers, "handler")
					if certs := h.c.TLS().PeerCertificates; tc.files != nil && (len(certs) != 1 || !certs[0].Equal(good)) {
						t.Errorf("%s: %d client certificates seen", name, len(certs))
					}
				}
			}
		})
	}
	t.Run("revoked by reload", func(t *testing.T) {
		l, handlers := listen(t, e, ListenerConfig{Network: "tls", TLS: &TLSConfig{
			Certificates: []CertFiles{server}, ClientAuth: ClientCertRequired, ClientCAs: []string{ca.path("ca.pem")}, CRLs: []string{crl},
		}}, nil)
		cfg := client(&goodFiles)
		for want := range 2 {
			nc, err := connect(t, l, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if nc.ConnectionState().DidResume != (want == 1) {
				t.Errorf("connection %d: resumed %v", want, !nc.ConnectionState().DidResume)
			}
			receive(t, handlers, "handler")
		}
		ca.crl("ca.crl", time.Hour, false, bad, good) // DER this time
		if err := l.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, err := connect(t, l, cfg); err == nil {
			t.Error("a client revoked since could resume its session")
		}
	})
}

func TestCRLExpires(t *testing.T) {
	ca := newAuthority(t, "ca")
	good, _ := ca.issue("good", "good")
	chains := [][]*x509.Certificate{{good, ca.cert}}
	lists, err := loadCRLs([]string{ca.crl("a.crl", time.Minute, true)}, []*x509.Certificate{ca.cert}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := lists.check(chains, time.Now()); err != nil {
		t.Errorf("current list: %v", err)
	}
	if err := lists.check(chains, time.Now().Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired list: %v", err)
	}
	stranger := newAuthority(t, "stranger")
	cert, _ := stranger.issue("x", "x")
	if err := lists.check([][]*x509.Certificate{{cert, stranger.cert}}, time.Now()); err == nil {
		t.Error("certificate of an issuer without a list passed")
	}
}

func TestTLSConfigErrors(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	_, server := ca.issue("server", "server")
	pair, cas := []CertFiles{server}, []string{ca.path("ca.pem")}
	for name, tc := range map[string]struct {
		cfg  *TLSConfig
		want string
	}{
		"none":           {nil, "not configured"},
		"no certificate": {&TLSConfig{}, "no certificate"},
		"missing file":   {&TLSConfig{Certificates: []CertFiles{{Cert: "absent.pem", Key: server.Key}}}, "absent.pem"},
		"old version":    {&TLSConfig{Certificates: pair, MinVersion: tls.VersionTLS11}, "too old"},
		"bad suite":      {&TLSConfig{Certificates: pair, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}}, "0x0005"},
		"no CA":          {&TLSConfig{Certificates: pair, ClientAuth: ClientCertRequired}, "CA file"},
		"unused CA":      {&TLSConfig{Certificates: pair, ClientCAs: cas}, "not asked for"},
		"CA is a key":    {&TLSConfig{Certificates: pair, ClientAuth: ClientCertOptional, ClientCAs: []string{server.Key}}, "no PEM certificate"},
		"foreign CRL":    {&TLSConfig{Certificates: pair, ClientAuth: ClientCertOptional, ClientCAs: cas, CRLs: []string{other.crl("o.crl", time.Hour, true)}}, "not signed"},
		"expired CRL":    {&TLSConfig{Certificates: pair, ClientAuth: ClientCertOptional, ClientCAs: cas, CRLs: []string{ca.crl("e.crl", -time.Minute, true)}}, "expired"},
		"garbage CRL":    {&TLSConfig{Certificates: pair, ClientAuth: ClientCertOptional, ClientCAs: cas, CRLs: []string{server.Key}}, server.Key},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestEngine(t, Config{})
			_, err := e.Listen(ListenerConfig{Network: "tls", Address: "127.0.0.1:0", TLS: tc.cfg}, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}
