package main_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// TestWebSocket: path, origins and subprotocol are checked, and the answer says
// what is wrong.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	b := start(t, `
listeners:
	- {name: ws, ws: "127.0.0.1:0", path: /broker, origins: ["https://app.example.com"]}
	- {name: lenient, ws: "127.0.0.1:0", require_subprotocol: false}
`)
	to := target{network: "ws", address: b.addr["ws"], path: "/broker"}
	to.header = http.Header{"Origin": {"https://app.example.com"}}
	roundTrip(t, mustConnect5(t, to, "ws-5"), "ws/5")
	roundTrip(t, mustConnect3(t, to, "ws-3"), "ws/3")
	for _, test := range []struct {
		name, listener, path, origin, protocol string
		status                                 int
	}{
		{"as wanted", "ws", "/broker", "https://app.example.com", "mqtt", http.StatusSwitchingProtocols},
		{"no origin: no browser", "ws", "/broker", "", "mqtt", http.StatusSwitchingProtocols},
		{"other path", "ws", "/mqtt", "https://app.example.com", "mqtt", http.StatusNotFound},
		{"other origin", "ws", "/broker", "https://evil.example.com", "mqtt", http.StatusForbidden},
		{"other scheme", "ws", "/broker", "http://app.example.com", "mqtt", http.StatusForbidden},
		{"no subprotocol", "ws", "/broker", "https://app.example.com", "", http.StatusBadRequest},
		{"other subprotocol", "ws", "/broker", "https://app.example.com", "chat", http.StatusBadRequest},
		{"no subprotocol, lenient", "lenient", "/mqtt", "https://any.example.com", "", http.StatusSwitchingProtocols},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := upgrade(t, b.addr[test.listener], test.path, test.origin, test.protocol); got != test.status {
				t.Errorf("status %d, want %d", got, test.status)
			}
		})
	}
}

// upgrade asks for a WebSocket and returns the status.
func upgrade(t *testing.T, address, path, origin, protocol string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	request := "GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if origin != "" {
		request += "Origin: " + origin + "\r\n"
	}
	if protocol != "" {
		request += "Sec-WebSocket-Protocol: " + protocol + "\r\n"
	}
	if _, err := conn.Write([]byte(request + "\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// TestUnixSocket: mode, a socket left over of a broker that died, one that is in
// use, and the end of it.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	const yaml = `listeners: [{name: unix, unix: mqtt.sock, mode: "0600"}]`
	b := start(t, yaml)
	path := filepath.Join(b.dir, "mqtt.sock")
	to := target{network: "unix", address: path}
	roundTrip(t, mustConnect5(t, to, "unix-5"), "unix/5")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	second := newBroker(t, yaml)
	second.dir = b.dir
	second.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=off", "--set", "admin.socket=off", "--set", "data_dir=another")
	if line, ok := second.log.awaitLine("listeners[0].unix"); !ok || !strings.Contains(line, "address already in use") {
		t.Errorf("a socket in use: %q", line)
	}
	if code := second.exit(); code != 1 {
		t.Errorf("exit status %d", code)
	}

	// Killed, it leaves its socket behind.
	_ = b.cmd.Process.Kill()
	<-b.ended
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no socket was left over: %v", err)
	}
	b.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=off", "--set", "log.format=json")
	b.ready()
	roundTrip(t, mustConnect5(t, to, "again"), "unix/again")
	b.stop()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// proxyV2 is a PROXY header of version 2 for TCP over IPv4.
func proxyV2(source net.IP, port uint16) []byte {
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0, 12)
	h = append(h, source.To4()...)
	h = append(h, 127, 0, 0, 1)
	h = binary.BigEndian.AppendUint16(h, port)
	return binary.BigEndian.AppendUint16(h, 1883)
}

// TestProxyProtocol: the client's address is the one in the header of a load
// balancer, where such a header is looked for and believed.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "ca")
	server := ca.issue("server")
	b := start(t, fmt.Sprintf(`
listeners:
	- {name: required, tcp: "127.0.0.1:0", proxy_protocol: required}
	- {name: optional, tcp: "127.0.0.1:0", proxy_protocol: optional}
	- {name: untrusted, tcp: "127.0.0.1:0", proxy_protocol: required, proxy_trusted: ["192.0.2.0/24"]}
	- {name: trusted, tcp: "127.0.0.1:0", proxy_protocol: required, proxy_trusted: ["192.0.2.0/24", "127.0.0.0/8"]}
	- {name: secure, tls: "127.0.0.1:0", proxy_protocol: required, cert: %q, key: %q}
	- {name: off, tcp: "127.0.0.1:0"}
mqtt: {connect_timeout: 2s}
`, server.cert, server.key))
	v1 := []byte("PROXY TCP4 203.0.113.7 127.0.0.1 4711 1883\r\n")
	v1of6 := []byte("PROXY TCP6 2001:db8::7 ::1 4711 1883\r\n")
	v2 := proxyV2(net.IPv4(203, 0, 113, 8), 4712)
	local := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20, 0, 0, 0) // a health check of the proxy itself
	for _, test := range []struct {
		name, listener string
		header         []byte
		remote         string // "" refused, "127." the socket's own
	}{
		{"v1", "required", v1, "203.0.113.7:4711"},
		{"v1 IPv6", "required", v1of6, "[2001:db8::7]:4711"},
		{"v2", "required", v2, "203.0.113.8:4712"},
		{"v2 local", "required", local, "127."},
		{"none where required", "required", nil, ""},
		{"v1 optional", "optional", v1, "203.0.113.7:4711"},
		{"none optional", "optional", nil, "127."},
		{"untrusted", "untrusted", v1, ""},
		{"trusted", "trusted", v2, "203.0.113.8:4712"},
		{"before TLS", "secure", v2, "203.0.113.8:4712"},
		{"off", "off", v1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := b.target(test.listener, nil)
			if test.listener == "secure" {
				to = b.target(test.listener, ca.config())
			}
			to.preface = test.header
			id := "proxy-" + strings.ReplaceAll(test.name, " ", "-")
			c, err := connect5(to, id, func(c *paho.Connect) { c.KeepAlive = 60 })
			if test.remote == "" {
				if err == nil {
					c.close()
					t.Fatal("was let in")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			roundTrip(t, c, id)
			if got := b.client(id).Remote; got != test.remote && (test.remote != "127." || !strings.HasPrefix(got, test.remote)) {
				t.Errorf("remote address is %s, want %s", got, test.remote)
			}
		})
	}
	// MQTT 3.1.1's Paho, too.
	to := b.target("required", nil)
	to.preface = v2
	roundTrip(t, mustConnect3(t, to, "proxy-3"), "proxy/3")
	b.await("client connected", func(r record) bool { return r.text("client") == "proxy-3" && r.text("remote") == "203.0.113.8:4712" })
}

// TestListenerLimits: connections and their rate, per listener.
func TestListenerLimits(t *testing.T) {
	t.Parallel()
	b := start(t, `
listeners:
	- {name: few, tcp: "127.0.0.1:0", max_connections: 2}
	- {name: slow, tcp: "127.0.0.1:0", accept_rate: 10/s, accept_burst: 1}
	- {name: patient, tcp: "127.0.0.1:0"}
mqtt: {connect_timeout: 500ms}
`)
	one := mustConnect5(t, b.target("few", nil), "one")
	two := mustConnect5(t, b.target("few", nil), "two")
	conn, err := b.target("few", nil).dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	closedByPeer(t, conn)
	b.metric(`patchbay_listener_refused_total{listener="few"}`, is(1))
	roundTrip(t, two, "limits/two")
	one.close()
	b.metric(`patchbay_listener_connections{listener="few"}`, is(1))
	roundTrip(t, mustConnect5(t, b.target("few", nil), "three"), "limits/three")

	began := time.Now()
	for i := range 6 {
		mustConnect5(t, b.target("slow", nil), fmt.Sprint("slow-", i))
	}
	if took := time.Since(began); took < 450*time.Millisecond {
		t.Errorf("6 connections took %v; 10 a second after the first are to take half a second", took)
	}

	// Without CONNECT, a connection ends.
	silent, err := b.target("patient", nil).dial()
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	began = time.Now()
	closedByPeer(t, silent)
	if took := time.Since(began); took < 400*time.Millisecond || took > patience/2 {
		t.Errorf("closed after %v, connect_timeout is 500ms", took)
	}
	b.signal(syscall.SIGTERM)
	if code := b.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
