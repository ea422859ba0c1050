package transport

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

var (
	proxySource = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40000}
	proxyDest   = &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 1883}
)

func proxyHeader(t testing.TB, version byte, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, proxySource, proxyDest)
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func localHeader(t testing.TB) []byte {
	t.Helper()
	b, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}).Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProxyHeaders(t *testing.T) {
	ssl, err := tlvparse.PP2SSL{
		Client: tlvparse.PP2_BITFIELD_CLIENT_SSL | tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN,
		TLV: []proxyproto.TLV{
			{Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte("TLSv1.3")},
			{Type: proxyproto.PP2_SUBTYPE_SSL_CN, Value: []byte("device-7")},
		},
	}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	sni := proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("mqtt.example")}
	for name, tc := range map[string]struct {
		header []byte
		mode   ProxyMode
		source string // "": the socket's
		info   bool
	}{
		"v1":           {proxyHeader(t, 1), ProxyRequired, "192.0.2.7:40000", true},
		"v2":           {proxyHeader(t, 2), ProxyRequired, "192.0.2.7:40000", true},
		"v2 with TLVs": {proxyHeader(t, 2, sni, ssl), ProxyOptional, "192.0.2.7:40000", true},
		"local":        {localHeader(t), ProxyRequired, "", true},
		"v1 unknown":   {[]byte("PROXY UNKNOWN\r\n"), ProxyRequired, "", true},
		"none":         {nil, ProxyOptional, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T, cfg Config) {
				e := newTestEngine(t, cfg)
				l, handlers := listen(t, e, ListenerConfig{Proxy: tc.mode}, nil)
				nc := dial(t, l)
				// The header with the first packet, cut once inside the header and once behind it.
				all := append(bytes.Clone(tc.header), frame([]byte("first"))...)
				cut := min(len(tc.header)/2+1, len(all))
				write(t, nc, all[:cut])
				write(t, nc, all[cut:])
				if got := readFrame(t, nc); string(got) != "first" {
					t.Fatalf("got %q", got)
				}
				echoSession(t, nc)
				c := receive(t, handlers, "handler").c
				want := tc.source
				if want == "" {
					want = nc.LocalAddr().String()
				} else if got := c.LocalAddr().String(); got != proxyDest.String() {
					t.Errorf("LocalAddr %s", got)
				}
				if got := c.RemoteAddr().String(); got != want {
					t.Errorf("RemoteAddr %s, want %s", got, want)
				}
				info := c.ProxyInfo()
				if (info != nil) != tc.info {
					t.Fatalf("info %+v", info)
				}
				if info != nil && info.Proxy.String() != nc.LocalAddr().String() {
					t.Errorf("proxy %s, want %s", info.Proxy, nc.LocalAddr())
				}
				if name == "v2 with TLVs" {
					if info.TLS == nil || !info.TLS.Verified || info.TLS.CommonName != "device-7" || info.TLS.Version != "TLSv1.3" {
						t.Errorf("TLS of the proxy: %+v", info.TLS)
					}
					if info.Authority != "mqtt.example" || len(info.TLVs) != 2 {
						t.Errorf("authority %q, %d TLVs", info.Authority, len(info.TLVs))
					}
				}
			})
		})
	}
}

func TestProxyRefusals(t *testing.T) {
	elsewhere := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	here := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("127.0.0.0/8")}
	for name, tc := range map[string]struct {
		cfg  ListenerConfig
		send []byte
		want ListenerStats // only the counters of failure
	}{
		"missing":   {ListenerConfig{Proxy: ProxyRequired}, frame([]byte("x")), ListenerStats{FailedProxy: 1}},
		"broken v1": {ListenerConfig{Proxy: ProxyOptional}, []byte("PROXY TCP4 nonsense\r\n"), ListenerStats{FailedProxy: 1}},
		"broken v2": {ListenerConfig{Proxy: ProxyOptional}, append(bytes.Clone(proxyproto.SIGV2), 0x21, 0x11, 0, 1, 0), ListenerStats{FailedProxy: 1}},
		"untrusted": {ListenerConfig{Proxy: ProxyRequired, TrustedProxies: elsewhere}, proxyHeader(t, 2), ListenerStats{RefusedProxy: 1}},
		"silent":    {ListenerConfig{Proxy: ProxyRequired, TrustedProxies: here, HandshakeTimeout: 30 * time.Millisecond}, nil, ListenerStats{FailedTimeout: 1}},
		"half":      {ListenerConfig{Proxy: ProxyRequired, HandshakeTimeout: 30 * time.Millisecond}, proxyHeader(t, 2)[:20], ListenerStats{FailedTimeout: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestEngine(t, Config{})
			l, handlers := listen(t, e, tc.cfg, nil)
			nc := dial(t, l)
			_, _ = nc.Write(tc.send)
			if n, err := nc.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d bytes came back, want the end of the stream", n)
			}
			eventually(t, "the failure is counted", func() bool {
				got := l.Stats()
				got.Accepted = 0
				return got == tc.want
			})
			if len(handlers) != 0 {
				t.Error("a handler was made")
			}
		})
	}
}

// A peer that is not trusted may connect where PROXY is optional, but its header is not one: the bytes go to the handler.
func TestProxyUntrustedOptional(t *testing.T) {
	e := newTestEngine(t, Config{})
	l, handlers := listen(t, e, ListenerConfig{Proxy: ProxyOptional, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}, nil)
	nc := dial(t, l)
	echoSession(t, nc)
	if c := receive(t, handlers, "handler").c; c.ProxyInfo() != nil || c.RemoteAddr().String() != nc.LocalAddr().String() {
		t.Errorf("info %v, remote %v", c.ProxyInfo(), c.RemoteAddr())
	}
}

// pieceConn is a net.Conn that gives its bytes in pieces.
type pieceConn struct {
	net.Conn
	r    *bytes.Reader
	step int
}

func (c *pieceConn) Read(b []byte) (int, error) { return c.r.Read(b[:min(len(b), c.step)]) }
func (c *pieceConn) RemoteAddr() net.Addr       { return proxySource }

// FuzzProxyHeader: nothing breaks, and bytes that are no header come through untouched.
func FuzzProxyHeader(f *testing.F) {
	f.Add(append(proxyHeader(f, 1), "rest"...), 3)
	f.Add(append(proxyHeader(f, 2, proxyproto.TLV{Type: 2, Value: []byte("name")}), "rest"...), 100)
	f.Add(localHeader(f), 1)
	f.Add([]byte("\x10\x0c\x00\x04MQTT"), 5)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		conn := &pieceConn{r: bytes.NewReader(in), step: 1 + step&0x3ff}
		info, ahead, err := readProxyHeader(conn)
		if err != nil {
			if info != nil || len(ahead) > 0 {
				t.Fatalf("error %v, but also %v and %d bytes", err, info, len(ahead))
			}
			return
		}
		rest, _ := io.ReadAll(conn.r)
		rest = append(bytes.Clone(ahead), rest...)
		if !bytes.HasSuffix(in, rest) || info == nil && !bytes.Equal(rest, in) {
			t.Fatalf("%d bytes in, %d behind the header, header %+v", len(in), len(rest), info)
		}
		if info != nil && (len(rest) == len(in) || info.Proxy == nil) {
			t.Fatalf("header %+v of no bytes", info)
		}
	})
}

func TestProxyTrusted(t *testing.T) {
	nets := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for addr, want := range map[string]bool{"10.1.2.3:1": true, "[::ffff:10.1.2.3]:1": true, "[fd00::1%eth0]:1": true, "11.0.0.1:1": false, "[::1]:1": false} {
		tcp := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		if got := proxyTrusted(nets, tcp); got != want {
			t.Errorf("%s: trusted %v, want %v", addr, got, want)
		}
	}
	if !proxyTrusted(nets, &net.UnixAddr{Name: "x"}) || !proxyTrusted(nil, proxySource) {
		t.Error("unix peers and an empty list are trusted")
	}
}
