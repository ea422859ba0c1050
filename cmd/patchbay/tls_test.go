package main_test

import (
	"crypto/tls"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/eclipse/paho.golang/paho"
)

// TestClientCertificates: required and optional client certificates, revoked ones,
// those of a stranger's authority, and the user name taken from one.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, stranger := newAuthority(t, dir, "ca"), newAuthority(t, dir, "stranger")
	server := ca.issue("server")
	good, revoked, foreign := ca.issue("device-1"), ca.issue("device-2"), stranger.issue("device-3")
	tlsKeys := fmt.Sprintf("cert: %q, key: %q, client_ca: %q, crl: [%q]", server.cert, server.key, ca.file, ca.revoke("list", revoked))
	b := start(t, fmt.Sprintf(`
listeners:
	- {name: required, tls: "127.0.0.1:0", client_cert: required, use_identity_as_username: true, %[1]s}
	- {name: optional, tls: "127.0.0.1:0", client_cert: optional, %[1]s}
	- {name: wss, wss: "127.0.0.1:0", client_cert: required, %[1]s}
`, tlsKeys))
	for _, test := range []struct {
		listener string
		with     *pair
		accepted bool
	}{
		{"required", good, true},
		{"required", nil, false},
		{"required", revoked, false},
		{"required", foreign, false},
		{"optional", good, true},
		{"optional", nil, true},
		{"optional", revoked, false},
		{"optional", foreign, false},
		{"wss", good, true},
		{"wss", nil, false},
		{"wss", revoked, false},
	} {
		name, config := "none", ca.config()
		if test.with != nil {
			name = test.with.tls.Leaf.Subject.CommonName
			// Certificates would not offer one of another authority.
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &test.with.tls, nil }
		}
		t.Run(test.listener+" "+name, func(t *testing.T) {
			id := test.listener + "-" + name
			c, err := connect5(b.target(test.listener, config), id)
			if (err == nil) != test.accepted {
				t.Fatalf("accepted: %v (%v), want %v", err == nil, err, test.accepted)
			}
			if !test.accepted {
				return
			}
			defer c.close()
			roundTrip(t, c, id)
			want := ""
			if test.listener == "required" {
				want = name
			}
			if got := b.client(id).Username; got != want {
				t.Errorf("user name is %q, want %q", got, want)
			}
		})
	}
	b.metric(`patchbay_listener_handshake_failures_total{listener="required"}`, is(3))
}

// TestRequiredCertificateIsAuthentication: who demands client certificates has
// closed the door, so that the listener is open to all interfaces as configured;
// a reload cannot open that door.
func TestRequiredCertificateIsAuthentication(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "ca")
	server, device := ca.issue("server"), ca.issue("device")
	yaml := fmt.Sprintf(`
listeners: [{name: door, tls: ":0", cert: %q, key: %q, client_ca: %q, client_cert: required}]
`, server.cert, server.key, ca.file)
	b := start(t, yaml)
	host, port, err := net.SplitHostPort(b.addr["door"])
	if err != nil || !net.ParseIP(host).IsUnspecified() {
		t.Fatalf("listens on %s, not on all interfaces", b.addr["door"])
	}
	if got := b.log.find("listening")[0].text("access"); got != "anyone with a certificate of client_ca" {
		t.Errorf("access is said to be %q", got)
	}
	to := b.target("door", ca.config(device))
	to.address = net.JoinHostPort("127.0.0.1", port)
	roundTrip(t, mustConnect5(t, to, "device"), "door")

	b.configure(strings.Replace(yaml, "client_cert: required", "client_cert: optional", 1))
	r := b.operator("reload")
	if want := "listeners[0].client_cert: cannot become optional without a restart"; r.code != 2 || !strings.Contains(r.stderr, want) {
		t.Errorf("exit status %d, %q; want 2 and %q", r.code, r.stderr, want)
	}
	to.tls = ca.config()
	if c, err := connect5(to, "stranger"); err == nil {
		c.close()
		t.Error("a client without a certificate was let in")
	}
}

// TestServerNames: several certificates, of which the client gets the one it asked
// for.
func TestServerNames(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "ca")
	one, two, three := ca.issue("one", "one.example"), ca.issue("two", "two.example"), ca.issue("three", "*.three.example")
	b := start(t, fmt.Sprintf(`
listeners:
	- name: sni
	  tls: "127.0.0.1:0"
	  cert: %q
	  key: %q
	  certificates: [{cert: %q, key: %q}, {cert: %q, key: %q}]
`, one.cert, one.key, two.cert, two.key, three.cert, three.key))
	for name, want := range map[string]*pair{
		"one.example": one, "two.example": two, "a.three.example": three, "127.0.0.1": one,
	} {
		t.Run(name, func(t *testing.T) {
			config := ca.config()
			config.ServerName = name
			var serial *big.Int
			config.VerifyConnection = func(s tls.ConnectionState) error {
				serial = s.PeerCertificates[0].SerialNumber
				return nil
			}
			c := mustConnect5(t, b.target("sni", config), "sni-"+name)
			if serial.Cmp(want.serial()) != 0 {
				t.Errorf("the certificate is not the one of %s", want.cert)
			}
			roundTrip(t, c, "sni/"+name)
		})
	}
}

// TestReloadCertificates: SIGHUP brings certificates, authorities and revocation
// lists into use, in the same files or in others, and no client notices.
func TestReloadCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	server := ca.issue("server")
	device, other := ca.issue("device"), ca.issue("other")
	crl := ca.revoke("list")
	yaml := func(p *pair) string {
		return fmt.Sprintf(`
listeners:
	- {name: tls, tls: "127.0.0.1:0", cert: %q, key: %q, client_ca: %q, client_cert: required, crl: [%q]}
	- {name: tcp, tcp: "127.0.0.1:0"}
`, p.cert, p.key, ca.file, crl)
	}
	b := start(t, yaml(server))
	// presented is the serial of the certificate that a new client gets to see.
	presented := func(with *pair) (*big.Int, error) {
		var serial *big.Int
		config := ca.config(with)
		config.VerifyConnection = func(s tls.ConnectionState) error {
			serial = s.PeerCertificates[0].SerialNumber
			return nil
		}
		c, err := connect5(b.target("tls", config), "visitor")
		if err == nil {
			c.close()
		}
		return serial, err
	}
	expect := func(want *pair) {
		t.Helper()
		if serial, err := presented(device); err != nil || serial.Cmp(want.serial()) != 0 {
			t.Errorf("new clients see certificate %v (%v), want %v", serial, err, want.serial())
		}
	}
	stays := mustConnect5(t, b.target("tls", ca.config(other)), "stays")
	expect(server)

	// New contents under the old names, and a revocation.
	renewed := ca.issue("server")
	ca.revoke("list", other)
	b.hangUp(t)
	expect(renewed)
	if _, err := presented(other); err == nil {
		t.Error("a certificate that was revoked since is accepted")
	}
	roundTrip(t, stays, "reload/1") // revoked too, but it was there before

	// Other files.
	next := ca.issue("next")
	b.configure(yaml(next))
	reloaded := b.hangUp(t)
	if applied := reloaded.list("applied"); len(applied) != 2 || !strings.HasPrefix(applied[0], "listeners[tls].cert: ") {
		t.Errorf("applied: %q", applied)
	}
	expect(next)

	// What cannot be loaded changes nothing, at no listener.
	if err := os.WriteFile(next.cert, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.signal(syscall.SIGHUP)
	failure := b.await("reload failed, the configuration before stays in force", nil)
	if !strings.Contains(failure.text("error"), "listeners[0].cert: "+next.cert) {
		t.Errorf("the error does not name the key and file: %s", failure.text("error"))
	}
	expect(next)
	roundTrip(t, stays, "reload/2")
}

// hangUp sends SIGHUP and waits until the configuration has been reloaded.
func (b *broker) hangUp(t testing.TB) record {
	t.Helper()
	before := len(b.log.find("configuration reloaded"))
	b.signal(syscall.SIGHUP)
	n := 0
	return b.await("configuration reloaded", func(record) bool {
		n++
		return n > before
	})
}

// TestTLSVersions: nothing below 1.2, and 1.3 only where that is configured.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "ca")
	server := ca.issue("server")
	b := start(t, fmt.Sprintf(`
listeners:
	- {name: usual, tls: "127.0.0.1:0", cert: %[1]q, key: %[2]q, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]}
	- {name: strict, tls: "127.0.0.1:0", cert: %[1]q, key: %[2]q, min_version: "1.3"}
`, server.cert, server.key))
	accepted := map[string][]uint16{"usual": {tls.VersionTLS12, tls.VersionTLS13}, "strict": {tls.VersionTLS13}}
	for listener, versions := range accepted {
		for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			config := ca.config()
			config.MinVersion, config.MaxVersion = version, version
			var suite uint16
			config.VerifyConnection = func(s tls.ConnectionState) error {
				suite = s.CipherSuite
				return nil
			}
			c, err := connect5(b.target(listener, config), "v", func(c *paho.Connect) { c.ClientID += listener })
			if want := slices.Contains(versions, version); (err == nil) != want {
				t.Errorf("%s with %s: %v, want accepted %v", listener, tls.VersionName(version), err, want)
			}
			if err != nil {
				continue
			}
			c.close()
			if version == tls.VersionTLS12 && suite != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 {
				t.Errorf("cipher suite %s", tls.CipherSuiteName(suite))
			}
		}
	}
}
