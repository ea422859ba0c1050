package transport

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// modelHandler takes packets apart and pauses as the fuzzer says.
type modelHandler struct {
	t      testing.TB
	c      *Conn
	got    [][]byte
	pauses []byte // one per packet: 1 pauses after it
	calls  int
	min    int // bytes that the next call must have, when the last one asked for them
}

func (h *modelHandler) Data(_ *Pass, b []byte) (used, need int) {
	h.calls++
	if len(b) < h.min {
		h.t.Fatalf("called with %d bytes, asked for %d", len(b), h.min)
	}
	if h.c.Paused() {
		h.t.Fatal("called while paused")
	}
	h.min = 0
	for !h.c.Paused() {
		rest := b[used:]
		if len(rest) < 2 {
			return used, 0
		}
		n := 2 + int(binary.BigEndian.Uint16(rest))
		if len(rest) < n {
			h.min = n
			return used, n
		}
		if i := len(h.got); i < len(h.pauses) && h.pauses[i]%4 == 1 {
			h.c.Pause(1)
		}
		h.got = append(h.got, bytes.Clone(rest[2:n]))
		used += n
	}
	return used, 0
}
func (h *modelHandler) Woken(*Pass)         {}
func (h *modelHandler) Closed(*Pass, error) {}

// checkPresent sends packets of the given sizes in pieces of the given sizes, with pauses, and wants every packet once, in order.
func checkPresent(t testing.TB, sizes, cuts []int, pauses []byte) {
	e := newTestEngine(t, Config{})
	c, _ := newNullConn(e)
	h := &modelHandler{t: t, c: c, pauses: pauses}
	c.h = h
	var stream []byte
	for i, n := range sizes {
		stream = binary.BigEndian.AppendUint16(stream, uint16(n))
		stream = append(stream, bytes.Repeat([]byte{byte(i)}, n)...)
	}
	e.Do(func(p *Pass) {
		for i := 0; len(stream) > 0; i++ {
			n := len(stream)
			if i < len(cuts) {
				n = min(n, 1+cuts[i])
			}
			if c.Paused() {
				c.Resume(1)
				c.service(p)
				continue
			}
			piece := bytes.Clone(stream[:n])
			c.received(p, piece)
			clear(piece) // b is only valid during the call
			stream = stream[n:]
		}
		for c.Paused() {
			c.Resume(1)
			c.service(p)
		}
	})
	if len(h.got) != len(sizes) {
		t.Fatalf("%d packets arrived, want %d", len(h.got), len(sizes))
	}
	for i, n := range sizes {
		if !bytes.Equal(h.got[i], bytes.Repeat([]byte{byte(i)}, n)) {
			t.Fatalf("packet %d differs", i)
		}
	}
	if c.tail != nil && len(c.tail.bytes()) > 0 {
		t.Errorf("%d bytes kept at the end", len(c.tail.bytes()))
	}
}

func TestPresentAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		sizes, cuts, pauses := make([]int, 60), make([]int, 400), make([]byte, 60)
		for i := range sizes {
			sizes[i] = rng.IntN(1 << (1 + rng.IntN(14)))
			pauses[i] = byte(rng.IntN(8))
		}
		for i := range cuts {
			cuts[i] = rng.IntN(1 << (1 + rng.IntN(13)))
		}
		checkPresent(t, sizes, cuts, pauses)
	}
}

func FuzzPresent(f *testing.F) {
	f.Add([]byte{0, 0, 10, 0, 255}, []byte{0, 0, 3, 200}, []byte{1, 0, 1})
	f.Fuzz(func(t *testing.T, sizes, cuts, pauses []byte) {
		if len(sizes) > 500 {
			return
		}
		wide := func(b []byte) []int {
			out := make([]int, len(b))
			for i, v := range b {
				out[i] = int(v) << (i % 6)
			}
			return out
		}
		checkPresent(t, wide(sizes), wide(cuts), pauses)
	})
}

// The buffer of a partial packet follows what has arrived, not what the packet claims, and costs few calls of Data.
func TestTailGrowsWithArrival(t *testing.T) {
	e := newTestEngine(t, Config{})
	c, _ := newNullConn(e)
	h := c.h.(*frameHandler)
	e.Do(func(p *Pass) {
		c.received(p, []byte{0x0f, 0xff, 0xff, 0xff, 1, 2, 3}) // claims 256 MiB
		if got := cap(c.tail.buf); got > 4096 {
			t.Errorf("%d bytes held for 7", got)
		}
		for range 1000 {
			c.received(p, make([]byte, 100))
		}
		if got := cap(c.tail.buf); got > 4*100007 {
			t.Errorf("%d bytes held for 100,007", got)
		}
		if h.calls.Load() > 2 {
			t.Errorf("Data called %d times for a packet that is not there", h.calls.Load())
		}
	})
}
