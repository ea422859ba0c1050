package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"math"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// testCertificate gives a certificate for 127.0.0.1 and a PEM file to trust it by.
func testCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return s.TLS.Certificates[0], file
}

func TestTransports(t *testing.T) {
	cert, caFile := testCertificate(t)
	for _, tt := range []struct {
		scheme  string
		tls, ws bool
		flags   []string
		fails   string
	}{
		{scheme: "ws", ws: true},
		{scheme: "mqtts", tls: true, flags: []string{"--cafile", caFile}},
		{scheme: "mqtts", tls: true, flags: []string{"--insecure"}},
		{scheme: "wss", tls: true, ws: true, flags: []string{"--cafile", caFile}},
		{scheme: "mqtts", tls: true, fails: "certificate"},
	} {
		t.Run(tt.scheme+strings.Join(tt.flags, ""), func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if tt.tls {
				ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}})
			}
			b := serveFake(t, &faults{}, ln, tt.ws)
			args := append(shortly("pair --pairs 3 --rate 1000 -q 1 --size 3000"), tt.flags...)
			args = append(args, "--url", tt.scheme+"://"+b.ln.Addr().String()+"/mqtt")
			if tt.fails != "" {
				if _, err := run(t, context.Background(), args...); err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("error %v, want %q", err, tt.fails)
				}
				return
			}
			if m := runJSON(t, args...).Messages; m.Published == 0 || m.Lost != 0 || m.Unacknowledged != 0 {
				t.Errorf("%+v", *m)
			}
		})
	}
}

// The password must not be in what is printed.
func TestPasswordIsNotPrinted(t *testing.T) {
	b := startFake(t, &faults{})
	url := strings.Replace(b.url(), "mqtt://", "mqtt://me:topsecret@", 1)
	for _, form := range []string{"--json", "--json=false"} {
		out, err := run(t, context.Background(), append(shortly("pair --pairs 1"), form, "--url", url)...)
		if err != nil || strings.Contains(out, "topsecret") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// User name and password come from the flags, or else from the URL.
func TestCredentials(t *testing.T) {
	for _, tt := range []struct {
		url, user, password string
		wantUser, wantPass  string
	}{
		{"mqtt://h", "", "", "", ""},
		{"mqtt://h", "u", "p", "u", "p"},
		{"mqtt://a:b@h", "", "", "a", "b"},
		{"mqtt://a:b@h", "u", "p", "u", "p"},
		{"mqtt://a@h", "", "", "a", ""},
	} {
		target, err := parseTarget(tt.url, "", false)
		if err != nil {
			t.Fatal(err)
		}
		r := newRunner("", options{username: tt.user, password: tt.password, version: "5"}, target, &progress{})
		p := r.connectPacket(connSpec{})
		r.finish()
		if p.Username != tt.wantUser || string(p.Password) != tt.wantPass || p.HasUsername != (tt.wantUser != "") || p.HasPassword != (tt.wantPass != "") {
			t.Errorf("%+v: %q %q", tt, p.Username, p.Password)
		}
	}
}

// More connections than one address has ports for leave from several.
func TestSourceAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is the machine itself on Linux only")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	target, err := parseTarget("mqtt://"+ln.Addr().String(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	target.spread(3 * connsPerSource)
	for i, want := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"} {
		nc, err := target.dial(context.Background(), i)
		if err != nil {
			t.Fatal(err)
		}
		if got := nc.LocalAddr().(*net.TCPAddr).IP.String(); got != want {
			t.Errorf("connection %d leaves from %s, want %s", i, got, want)
		}
		nc.Close()
	}
}

// sink is a connection that takes everything and gives what it was made with.
type sink struct {
	net.Conn
	in    io.Reader
	wrote int
	limit int // bytes after which writing fails, if not 0
}

func (s *sink) Read(b []byte) (int, error) { return s.in.Read(b) }
func (s *sink) Write(b []byte) (int, error) {
	if s.limit > 0 && s.wrote+len(b) > s.limit {
		n := s.limit - s.wrote
		s.wrote = s.limit
		return n, io.ErrShortWrite
	}
	s.wrote += len(b)
	return len(b), nil
}
func (s *sink) Close() error { return nil }

// testTraffic is one publisher on two topics and one subscriber, without a broker.
func testTraffic(t testing.TB, o options) *traffic {
	t.Helper()
	if o.version == "" {
		o.version = "5"
	}
	o.size = max(o.size, stampSize)
	o.inflight = 64
	r := newRunner("test", o, &target{url: mustURL(t)}, &progress{})
	t.Cleanup(r.finish)
	tr, err := newTraffic(r, layout{
		topics: []string{"a", "bcd"}, publishers: 1, topicsOf: func(int) []int { return []int{0, 1} },
		subscribers: 1, shareOf: func(int) share { return share{0, 1, 0, 2} }, fan: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(&sink{in: bytes.NewReader(nil)}, 0, o.mqttVersion(), r.clock)
	tr.subscribers[0].c = c
	if err := tr.publishers[0].attach(c); err != nil {
		t.Fatal(err)
	}
	return tr
}

func readStamps(t *testing.T, b []byte) (stamps []stamp) {
	t.Helper()
	for len(b) > 0 {
		h, n, err := packet.ReadHeader(b)
		if err != nil || n == 0 {
			t.Fatal("no frame", err)
		}
		var p packet.Publish
		if err := packet.DecodePublish(&p, packet.V5, h, b[n:n+h.Remaining], true); err != nil {
			t.Fatal(err)
		}
		s, ok := readStamp(p.Payload)
		if !ok {
			t.Fatal("no stamp")
		}
		stamps = append(stamps, s)
		b = b[n+h.Remaining:]
	}
	return stamps
}

// No coordinated omission: what is sent late carries the time at which it was due.
func TestLateMessagesCarryTheirDueTime(t *testing.T) {
	tr := testTraffic(t, options{rate: 1000})
	p := tr.publishers[0]
	tr.start = 5e9
	now := tr.start + 20e6 // 20 ms after the first was due
	n, _ := p.due(now)
	if n != 21 {
		t.Fatalf("%d messages are due after 20 ms at 1000/s, want 21", n)
	}
	if err := p.write(n, now); err != nil {
		t.Fatal(err)
	}
	for k, s := range readStamps(t, p.buf) {
		due := tr.start + int64(k)*1e6
		want := due
		if now-due <= tr.lateAfter {
			want = now
		}
		if s.Time != want || s.Seq != uint32(k/2+1) || s.Stream != uint32(k%2) || s.Nonce != tr.r.nonce {
			t.Errorf("message %d: %+v, want time %d", k, s, want)
		}
	}
	if n, wait := p.due(now); n != 0 || wait != time.Millisecond {
		t.Errorf("then %d are due, the next in %v", n, wait)
	}
}

// What the socket did not take was not published.
func TestUnsentMessagesAreNotCounted(t *testing.T) {
	for _, limit := range []int{1, 35, 40, 100, 250} {
		tr := testTraffic(t, options{})
		p := tr.publishers[0]
		p.c.nc.(*sink).limit = limit
		if err := p.write(10, 0); err == nil {
			t.Fatal("the write did not fail")
		}
		whole, size := int64(0), 0
		for i := 0; size < limit; i++ {
			if size += len(tr.frames[i%2].b); size <= limit {
				whole++
			}
		}
		if got := p.sent.Load(); got != whole {
			t.Errorf("%d bytes were written: %d messages count as sent, want %d", limit, got, whole)
		}
	}
}

func mustURL(t testing.TB) *url.URL {
	t.Helper()
	target, err := parseTarget("mqtt://127.0.0.1", "", false)
	if err != nil {
		t.Fatal(err)
	}
	return target.url
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	for qos := range 3 {
		for _, v := range []string{"3.1.1", "5"} {
			tr := testTraffic(t, options{version: v, qos: qos, size: 128})
			p, s := tr.publishers[0], tr.subscribers[0]
			publish := func() {
				if err := p.write(10, 0); err != nil {
					t.Fatal(err)
				}
				p.mu.Lock()
				p.free = append(p.free, p.ids...)
				p.mu.Unlock()
			}
			publish()
			if n := testing.AllocsPerRun(100, publish); n != 0 {
				t.Errorf("version %s, QoS %d: %v allocations to publish 10 messages", v, qos, n)
			}
			frame := tr.frames[0].appendTo(nil, 7, stamp{Nonce: tr.r.nonce, Seq: 1})
			deliver := func() {
				h, n, _ := packet.ReadHeader(frame)
				if err := s.handle(h, frame[n:], 1); err != nil {
					t.Fatal(err)
				}
				if err := s.flush(1); err != nil {
					t.Fatal(err)
				}
				stamp{Nonce: tr.r.nonce, Seq: s.ledgers[0].high + 1}.put(frame[tr.frames[0].payload:])
				if s.released != nil {
					clear(s.released[:])
				}
			}
			deliver()
			if n := testing.AllocsPerRun(100, deliver); n != 0 {
				t.Errorf("version %s, QoS %d: %v allocations to receive a message", v, qos, n)
			}
			if got := s.delivered.Load(); got != 102 || s.foreign.Load() != 0 {
				t.Errorf("%d deliveries, %d foreign", got, s.foreign.Load())
			}
		}
	}
}

// A broker may send anything: the client must end with an error, not a panic.
func FuzzClientReads(f *testing.F) {
	tr := testTraffic(f, options{qos: 2})
	good := tr.frames[0].appendTo(nil, 7, stamp{Nonce: tr.r.nonce, Seq: 1})
	f.Add(good, true)
	f.Add(append(good, packet.Pingresp...), true)
	f.Add(packet.AppendAck(nil, packet.TypePubrec, packet.V5, 1, packet.Success, nil), false)
	f.Add([]byte{0xe0, 0}, false)
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, true)
	f.Fuzz(func(t *testing.T, b []byte, subscriber bool) {
		tr := testTraffic(t, options{qos: 2})
		var h handler = tr.publishers[0]
		if subscriber {
			h = tr.subscribers[0]
		}
		c := tr.publishers[0].c
		c.nc = &sink{in: bytes.NewReader(b)}
		if err := c.loop(h); err == nil {
			t.Fatal("the loop ended without an error")
		}
		c.buf, c.r, c.w = make([]byte, firstBuf), 0, 0
		c.nc = &sink{in: bytes.NewReader(b)}
		_ = c.handshake(&packet.Connect{Version: packet.V5}, []string{"f"}, 1)
	})
}

func FuzzWebSocketReads(f *testing.F) {
	f.Add([]byte{0x82, 3, 'a', 'b', 'c'})
	f.Add([]byte{0x89, 1, 'p', 0x82, 0, 0x80, 1, 'x', 0x88, 0})
	f.Add([]byte{0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newWSConn(&sink{}, bufio.NewReader(bytes.NewReader(b)))
		n, err := io.Copy(io.Discard, onlyReader{c})
		if n > int64(len(b)) {
			t.Fatalf("%d bytes out of %d: %v", n, len(b), err)
		}
	})
}

type onlyReader struct{ io.Reader }

// Nothing is left running when a run has ended.
func TestNoGoroutineIsLeft(t *testing.T) {
	b := startFake(t, &faults{})
	before := runtime.NumGoroutine()
	runJSON(t, append(shortly("fan-out --publishers 3 --subscribers 20 --topics 5 --rate 1000 -q 1"), "--url", b.url())...)
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
	}
}

func TestOpenFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no limit of open files")
	}
	if err := needFiles(1); err != nil {
		t.Error(err)
	}
	err := needFiles(math.MaxInt32)
	if err == nil {
		t.Skip("this system has no limit of open files")
	}
	if !strings.Contains(err.Error(), "ulimit -Hn") {
		t.Errorf("%v", err)
	}
}

func BenchmarkPublish(b *testing.B) {
	tr := testTraffic(b, options{size: 128})
	b.ReportAllocs()
	b.SetBytes(int64(len(tr.frames[0].b)))
	for n := b.N; n > 0; n -= 100 {
		if err := tr.publishers[0].write(int64(min(n, 100)), 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReceive(b *testing.B) {
	tr := testTraffic(b, options{size: 128})
	var stream []byte
	for range 100 {
		stream = tr.frames[0].appendTo(stream, 0, stamp{Nonce: tr.r.nonce, Seq: 1})
	}
	c := tr.subscribers[0].c
	c.buf = make([]byte, maxBuf)
	in := bytes.NewReader(stream)
	c.nc = &sink{in: in}
	b.ReportAllocs()
	b.SetBytes(int64(len(tr.frames[0].b)))
	for range b.N/100 + 1 {
		in.Reset(stream)
		if err := c.loop(tr.subscribers[0]); err != io.EOF {
			b.Fatal(err)
		}
	}
}
