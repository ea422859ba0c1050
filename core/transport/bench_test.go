package transport

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

// BenchmarkAppendFlush is the out-buffer without a kernel: 16 messages of 300 bytes appended and written as one.
func BenchmarkAppendFlush(b *testing.B) {
	for name, layer := range map[string]*wsLayer{"plain": nil, "websocket": {}} {
		b.Run(name, func(b *testing.B) {
			e := newTestEngine(b, Config{})
			c, sock := newNullConn(e)
			c.ws, sock.keep = layer, false
			msg := pattern(1, 300)
			run := func(p *Pass) {
				for i := range 16 {
					c.AppendPublish(msg, 20, uint16(i))
					p.Flush(c)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Do(run)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*16), "ns/message")
		})
	}
}

// BenchmarkWebSocketDecode is 64 KiB of small masked frames.
func BenchmarkWebSocketDecode(b *testing.B) {
	e := newTestEngine(b, Config{})
	c, _ := newNullConn(e)
	c.ws = &wsLayer{}
	in := bytes.Repeat(clientFrame(ws.OpBinary, true, pattern(1, 300)), 200)
	work := make([]byte, len(in))
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, in)
		if _, err := c.ws.decode(c, work); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPresent is a read of 64 KiB with 300-byte packets whose borders do not fit the read.
func BenchmarkPresent(b *testing.B) {
	e := newTestEngine(b, Config{})
	c, _ := newNullConn(e)
	h := c.h.(*frameHandler)
	h.packet = func(*frameHandler, *Pass, []byte) {}
	in := bytes.Repeat(frame(pattern(1, 300)), 1000)
	b.ReportAllocs()
	b.SetBytes(64 << 10)
	at := 0
	p := e.borrow()
	defer p.end()
	for b.Loop() {
		c.received(p, in[at:at+64<<10])
		at = (at + 64<<10) % 304 // the next byte of the stream, wherever in the repetition
	}
}
