package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// connsPerSource is how many connections go out from one local address: below the
// 28,232 ports that Linux gives to outgoing connections of one address to one
// address, with room for what else runs there.
const connsPerSource = 20_000

// dialTimeout bounds one TCP, TLS and WebSocket handshake together.
const dialTimeout = 20 * time.Second

// target is where the broker listens and how to get there.
type target struct {
	url     *url.URL
	addr    string      // host:port
	tls     *tls.Config // nil for plain connections
	ws      bool
	sources []*net.TCPAddr // local addresses in turn; empty for the system's choice
}

var schemes = map[string]struct {
	port    string
	tls, ws bool
}{
	"mqtt": {port: "1883"}, "tcp": {port: "1883"},
	"mqtts": {port: "8883", tls: true}, "tls": {port: "8883", tls: true}, "ssl": {port: "8883", tls: true},
	"ws": {port: "80", ws: true}, "wss": {port: "443", tls: true, ws: true},
}

// parseTarget reads --url; cafile and insecure apply to the TLS schemes only.
func parseTarget(raw, cafile string, insecure bool) (*target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, usagef("--url: %v", err)
	}
	s, known := schemes[u.Scheme]
	if !known || u.Hostname() == "" {
		return nil, usagef("--url %q: want mqtt://, mqtts://, ws:// or wss:// and a host, such as mqtt://127.0.0.1:1883", raw)
	}
	port := u.Port()
	if port == "" {
		port = s.port
	}
	t := &target{url: u, addr: net.JoinHostPort(u.Hostname(), port), ws: s.ws}
	if !s.tls {
		if cafile != "" || insecure {
			return nil, usagef("--cafile and --insecure need an mqtts:// or wss:// URL, not %s://", u.Scheme)
		}
		return t, nil
	}
	t.tls = &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: insecure, MinVersion: tls.VersionTLS12}
	if cafile != "" {
		pem, err := os.ReadFile(cafile)
		if err != nil {
			return nil, usagef("--cafile: %v", err)
		}
		t.tls.RootCAs = x509.NewCertPool()
		if !t.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("--cafile %s: no PEM certificate in it", cafile)
		}
	}
	return t, nil
}

// redacted is the URL without the password, for the result.
func (t *target) redacted() string { return t.url.Redacted() }

// spread prepares for conns connections at once: on Linux all of 127.0.0.0/8 is the
// machine itself, so that many connections to a loopback address can leave from
// 127.0.0.1, 127.0.0.2 and so on. Elsewhere the one address must do.
func (t *target) spread(conns int) {
	host, _, err := net.SplitHostPort(t.addr)
	if err != nil || conns <= connsPerSource || runtime.GOOS != "linux" {
		return
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.Is4() || !ip.IsLoopback()) {
		return
	}
	n := (conns + connsPerSource - 1) / connsPerSource
	for i := range n {
		t.sources = append(t.sources, &net.TCPAddr{IP: net.IPv4(127, 0, byte((i+1)>>8), byte(i+1))})
	}
}

// dial opens connection number n.
func (t *target) dial(ctx context.Context, n int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d := net.Dialer{KeepAlive: -1} // MQTT has its own; two timers less per connection
	network := "tcp"
	if len(t.sources) > 0 {
		d.LocalAddr = t.sources[n%len(t.sources)]
		network = "tcp4"
	}
	if t.ws {
		return t.dialWS(ctx, network, &d)
	}
	nc, err := d.DialContext(ctx, network, t.addr)
	if err != nil {
		return nil, t.explain(err)
	}
	if t.tls == nil {
		return nc, nil
	}
	tc := tls.Client(nc, t.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("TLS with %s: %w", t.addr, err)
	}
	return tc, nil
}

func (t *target) dialWS(ctx context.Context, network string, d *net.Dialer) (net.Conn, error) {
	wd := ws.Dialer{
		Protocols: []string{"mqtt"}, // [MQTT-6.0.0-3]
		TLSConfig: t.tls,
		NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			nc, err := d.DialContext(ctx, network, t.addr)
			if err != nil {
				return nil, t.explain(err)
			}
			return nc, nil
		},
	}
	nc, br, _, err := wd.Dial(ctx, t.url.String())
	if err != nil {
		return nil, fmt.Errorf("WebSocket with %s: %w", t.addr, err)
	}
	return newWSConn(nc, br), nil
}

// explain says what to do about the errors that people meet.
func (t *target) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot connect to %s: connection refused (is the broker running?)", t.addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot connect to %s: no local port is left for one more connection to that address; use fewer connections, or several machines: %w", t.addr, err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("cannot connect to %s: out of open files, raise the limit with ulimit -n: %w", t.addr, err)
	}
	return fmt.Errorf("cannot connect to %s: %w", t.addr, err)
}
