package packet

import (
	"bytes"
	"testing"
)

func TestMessageKeepCopies(t *testing.T) {
	for _, n := range []int{0, 10, 255, 256, 5000, 100_000} {
		src := bytes.Repeat([]byte{'x'}, n)
		view := Message{Topic: []byte("a/b"), Props: []byte{1, 0}, Payload: src, Publisher: "p", QoS: 1, Retain: true, Received: 5, Expires: 9}
		k := view.Keep(7)
		for i := range src {
			src[i] = 'y'
		}
		view.Topic[0] = 'z'
		if string(k.Topic) != "a/b" || !bytes.Equal(k.Props, []byte{1, 0}) || len(k.Payload) != n || bytes.IndexByte(k.Payload, 'y') >= 0 {
			t.Fatalf("payload of %d bytes: the kept message follows its source", n)
		}
		if k.ID != 7 || k.QoS != 1 || !k.Retain || k.Publisher != "p" || k.Received != 5 || k.Expires != 9 || k.Size() != n+5 {
			t.Fatalf("fields not kept: %+v", k)
		}
		if again := k.Keep(8); again != k || k.ID != 7 {
			t.Fatal("keeping a kept message must only add a reference")
		}
		k.Unref()
		k.Unref()
	}
}

func TestMessageUnrefTooOften(t *testing.T) {
	m := &Message{class: unpooled, buf: make([]byte, 1)}
	m.refs.Store(1)
	m.Unref()
	defer func() {
		if recover() == nil {
			t.Fatal("a second Unref of one reference went unnoticed")
		}
	}()
	m.Unref()
}

func TestMessageExpiry(t *testing.T) {
	m := Message{Expires: 10_000}
	for _, c := range []struct {
		now     int64
		left    uint32
		expired bool
	}{{0, 10, false}, {999, 10, false}, {1000, 9, false}, {9_999, 1, false}, {10_000, 1, true}, {12_000, 1, true}} {
		if left, ok := m.RemainingExpiry(c.now); !ok || left != c.left || m.Expired(c.now) != c.expired {
			t.Errorf("at %d: left %d, expired %v; want %d, %v", c.now, left, m.Expired(c.now), c.left, c.expired)
		}
	}
	if _, ok := (&Message{}).RemainingExpiry(5); ok || (&Message{}).Expired(1<<40) {
		t.Error("a message without expiry expired")
	}
}

func TestMessageKeepAllocatesNothing(t *testing.T) {
	view := Message{Topic: []byte("a/b"), Payload: make([]byte, 128)}
	if n := testing.AllocsPerRun(1000, func() { view.Keep(1).Unref() }); n > 0 {
		t.Errorf("Keep and Unref allocate %v times", n)
	}
}
