package transport

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What is appended, in every way and through a kernel that takes odd amounts, comes out in order; every owner is released once.
func TestAppendsAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		e := newTestEngine(t, Config{})
		c, sock := newNullConn(e)
		if seed%3 > 0 {
			sock.perCall = 1 + rng.IntN(3000)
		}
		var want []byte
		var owners []*owner
		for range 200 {
			frame := pattern(rng.IntN(1000), 12+rng.IntN(1<<rng.IntN(15)))
			at, id := rng.IntN(len(frame)-2), uint16(rng.Uint32())
			patched := bytes.Clone(frame)
			if at > 0 {
				patched[at], patched[at+1] = byte(id>>8), byte(id)
			}
			switch rng.IntN(5) {
			case 4:
				c.AppendAll([][]byte{frame, patched, frame[:5]}, 2*len(frame)+5)
				want = append(append(append(want, frame...), patched...), frame[:5]...)
			case 0:
				c.Append(frame)
				want = append(want, frame...)
			case 1:
				c.AppendPublish(frame, at, id)
				want = append(want, patched...)
			case 2:
				payload := pattern(7, rng.IntN(9000))
				o := &owner{}
				owners = append(owners, o)
				c.AppendShared(frame, at, id, payload, o)
				want = append(append(want, patched...), payload...)
			case 3:
				sock.full = rng.IntN(2) == 0
				e.Do(func(p *Pass) { p.Flush(c); p.Flush(c) })
				if sock.full && c.flushing {
					sock.full = false
					c.pump(nil) // as the driver does when there is room
				}
			}
			if c.Buffered() != len(want)-len(sock.got) {
				t.Fatalf("seed %d: %d bytes buffered, want %d", seed, c.Buffered(), len(want)-len(sock.got))
			}
		}
		sock.full = false
		e.Do(func(p *Pass) { p.Flush(c) })
		if !bytes.Equal(sock.got, want) {
			t.Fatalf("seed %d: %d bytes came out, want %d, or they differ", seed, len(sock.got), len(want))
		}
		if c.BytesOut() != uint64(len(want)) || c.Buffered() != 0 {
			t.Errorf("seed %d: %d bytes out, %d buffered, want %d and 0", seed, c.BytesOut(), c.Buffered(), len(want))
		}
		for _, o := range owners {
			if n := o.unrefs.Load(); n != 1 {
				t.Fatalf("seed %d: an owner got %d references back", seed, n)
			}
		}
		if !c.out.empty() || !c.wire.empty() {
			t.Errorf("seed %d: an idle connection holds chunks", seed)
		}
	}
}

func TestDropReleasesOwners(t *testing.T) {
	e := newTestEngine(t, Config{})
	for name, full := range map[string]bool{"not flushed": false, "blocked": true} {
		c, sock := newNullConn(e)
		var o owner
		for range 5 {
			c.AppendShared([]byte("head"), 0, 0, make([]byte, 5000), &o)
		}
		if sock.full = full; full {
			e.Do(func(p *Pass) { p.Flush(c) })
		}
		c.AppendShared(nil, 0, 0, make([]byte, 5000), &o)
		c.CloseNow()
		if full {
			sock.full = false
			c.pump(nil) // the driver's writer wakes up and finds the connection closed
		}
		if n := o.unrefs.Load(); n != 6 {
			t.Errorf("%s: %d references given back, want 6", name, n)
		}
	}
}

// Water marks: over above high, Drained once below low, not in between.
func TestWaterMarks(t *testing.T) {
	e := newTestEngine(t, Config{HighWater: 10000, LowWater: 4000})
	c, sock := newNullConn(e)
	h := c.h.(*frameHandler)
	sock.full = true
	flush := func() { e.Do(func(p *Pass) { p.Flush(c) }) }
	c.Append(make([]byte, 10000))
	flush()
	if c.OverHighWater() {
		t.Error("over high water at the mark")
	}
	c.Append([]byte{1})
	if !c.OverHighWater() {
		t.Error("not over high water above the mark")
	}
	sock.full, sock.perCall = false, 5000
	n, _ := sock.write()
	c.account(nil, n)
	if len(h.drained) != 0 || c.OverHighWater() {
		t.Errorf("between the marks: Drained %d times, over %v", len(h.drained), c.OverHighWater())
	}
	c.pump(nil)
	if len(h.drained) != 1 {
		t.Errorf("Drained %d times, want once", len(h.drained))
	}
	c.Append(make([]byte, 9000))
	flush()
	if len(h.drained) != 1 {
		t.Error("Drained without having been over high water")
	}
}

// A long pass must not hold back so much that it runs into the high water mark while the peer would take it.
func TestFlushIsEager(t *testing.T) {
	e := newTestEngine(t, Config{HighWater: 10000})
	c, sock := newNullConn(e)
	e.Do(func(p *Pass) {
		for range 100 {
			c.Append(make([]byte, 1000))
			p.Flush(c)
			if c.OverHighWater() {
				t.Fatal("over high water although the socket takes everything")
			}
		}
		if len(sock.got) == 0 {
			t.Error("nothing written before the end of the pass")
		}
	})
	if len(sock.got) != 100000 {
		t.Errorf("%d bytes written, want all", len(sock.got))
	}
}

func TestAppendFlushAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	e := newTestEngine(t, Config{})
	plain, sock := newNullConn(e)
	sock.keep = false
	framed, sock := newNullConn(e)
	sock.keep = false
	framed.ws = &wsLayer{}
	publish, payload := pattern(1, 300), pattern(2, 5000)
	var o owner
	run := func(p *Pass) {
		for _, c := range []*Conn{plain, framed} {
			c.Append(publish)
			c.AppendPublish(publish, 20, 7)
			c.AppendShared(publish[:40], 20, 8, payload, &o)
			p.Flush(c)
		}
	}
	if n := testing.AllocsPerRun(1000, func() { e.Do(run) }); n != 0 {
		t.Errorf("%v allocations per append and flush, want 0", n)
	}
}

func TestWebSocketFramesOut(t *testing.T) {
	e := newTestEngine(t, Config{})
	for _, sizes := range [][]int{{1}, {125}, {126}, {65535}, {65536}, {300000}, {10, 70000, 3}, {50000, 50000, 50000}} {
		c, sock := newNullConn(e)
		c.ws = &wsLayer{}
		var want []byte
		var o owner
		e.Do(func(p *Pass) {
			for i, n := range sizes {
				b := pattern(i, n)
				want = append(want, b...)
				if i%2 == 1 {
					c.AppendShared(nil, 0, 0, b, &o)
				} else {
					c.Append(b)
				}
			}
			// Not through Pass.Flush, which would write large amounts early and make more frames.
			c.flush(p)
		})
		got, frames := wsPayload(t, sock.got)
		if !bytes.Equal(got, want) {
			t.Errorf("sizes %v: payload differs", sizes)
		}
		if most := len(want)/wsFrameTarget*2 + 1; frames > most {
			t.Errorf("sizes %v: %d frames, want at most %d", sizes, frames, most)
		}
		if c.Buffered() != 0 {
			t.Errorf("sizes %v: %d bytes still counted", sizes, c.Buffered())
		}
	}
}
