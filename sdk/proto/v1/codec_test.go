package pluginv1

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

func TestDecodeErrorNamesTheField(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
		is    error
	}{
		{"field", []byte{0x08, 0xFF}, "Batch.seq: the input ends too early", ErrTruncated},
		{"last field", []byte{0x30}, "Batch.lost: the input ends too early", ErrTruncated},
		{"no field", []byte{0xFF}, "Batch: the input ends too early", ErrTruncated},
		{"unknown field", []byte{0x38}, "Batch: the input ends too early", ErrTruncated},
		{"far beyond the fields", []byte{0xF8, 0xFF, 0xFF, 0xFF, 0x0F}, "Batch: the input ends too early", ErrTruncated},
		{"tag", []byte{0x00, 0x00}, "Batch: not a field number and wire type", ErrTag},
		{"nested", []byte{0x22, 0x04, 0x1A, 0x02, 0x0A, 0x05}, "Message.topic: the input ends too early", ErrTruncated},
		{"text", []byte{0x1A, 0x03, 0x0A, 0x01, 0xFF}, "Client.client_id: a string is not UTF-8", ErrUTF8},
		{"varint", append([]byte{0x08}, bytes.Repeat([]byte{0x80}, 11)...), "Batch.seq: a varint has more than 64 bits", ErrOverflow},
		{"limit", bytes.Repeat([]byte{0x22, 0x00}, 1025), "Batch.events: more elements, or deeper nested, than the contract allows", ErrLimit},
	} {
		err := new(Batch).Unmarshal(c.bytes)
		var e *DecodeError
		if !errors.As(err, &e) || !errors.Is(err, c.is) || err.Error() != c.want {
			t.Errorf("%s: error is %v, want %s", c.name, err, c.want)
		}
	}
}

// Every prefix of an encoding is refused or read, and never a reason to panic.
func TestPrefixes(t *testing.T) {
	whole := publishBatch(3).AppendTo(nil)
	for n := range whole {
		_ = new(Batch).Unmarshal(whole[:n:n])
		_ = new(Answer).Unmarshal(whole[:n:n])
	}
}

func TestVarints(t *testing.T) {
	buf := make([]byte, 32)
	for shift := range 64 {
		for _, v := range []uint64{1<<shift - 1, 1 << shift, 1<<shift + 1, ^uint64(0) >> shift} {
			at := putVarint(buf, 10, v)
			if got := 10 - at; got != sizeVarint(v) {
				t.Errorf("%d takes %d bytes, sizeVarint says %d", v, got, sizeVarint(v))
			}
			for _, end := range []int{10, 32} { // with and without bytes behind it
				if got, next := varint(buf[:end], at); got != v || next != 10 {
					t.Errorf("%d is read as %d, up to %d", v, got, next)
				}
			}
			if got, next := slowVarint(buf, at); got != v || next != 10 {
				t.Errorf("%d is read slowly as %d, up to %d", v, got, next)
			}
		}
	}
}

func TestIsText(t *testing.T) {
	for n := range 40 {
		s := []byte(strings.Repeat("a", n))
		if !isText(s) {
			t.Errorf("%d letters are not text", n)
		}
		for i := range s {
			s[i] = 0xC3
			if isText(s) {
				t.Errorf("of %d bytes the one at %d is wrong and not found", n, i)
			}
			if i+1 < n {
				s[i+1] = 0xA4
				if !isText(s) {
					t.Errorf("of %d bytes, those at %d are ä, and refused", n, i)
				}
				s[i+1] = 'a'
			}
			s[i] = 'a'
		}
	}
}

// Strings and bytes point into the input, and bytes cannot be appended to in place.
func TestUnmarshalMakesViews(t *testing.T) {
	in := (&Message{Topic: "topic", Payload: []byte("payload"), QoS: 1}).AppendTo(nil)
	var m Message
	if err := m.Unmarshal(in); err != nil {
		t.Fatal(err)
	}
	inside := func(p *byte) bool {
		at := uintptr(unsafe.Pointer(p)) - uintptr(unsafe.Pointer(&in[0]))
		return at < uintptr(len(in))
	}
	if !inside(unsafe.StringData(m.Topic)) || !inside(&m.Payload[0]) {
		t.Error("topic or payload is a copy")
	}
	before := bytes.Clone(in)
	_ = append(m.Payload, '!')
	if !bytes.Equal(in, before) {
		t.Error("appending to the payload has written to the input")
	}
}

// A message that is used again keeps its memory and nothing of what it said.
func TestReuse(t *testing.T) {
	full := publishBatch(3)
	full.Events[0].Subscriptions = []Subscription{{TopicFilter: "a"}, {TopicFilter: "b"}}
	full.Events[0].Authentication = &Authentication{Password: []byte("secret"), Connect: &Connect{Will: &Message{Topic: "w"}}}
	small := &Batch{Events: []Event{{Message: &Message{Payload: []byte("p")}}, {Authentication: &Authentication{Connect: &Connect{}}}}}
	var b Batch
	for range 3 {
		for _, want := range []*Batch{full, small, {}} {
			if err := b.Unmarshal(want.AppendTo(nil)); err != nil {
				t.Fatal(err)
			}
			if !Equal(&b, want) {
				t.Fatalf("read again it is\n%+v, want\n%+v", &b, want)
			}
		}
	}
	b.Reset()
	if b.Size() != 0 {
		t.Error("Reset leaves something")
	}
}

// What the caller put into a message stays the caller's: only what Unmarshal has made
// is used again.
func TestUnmarshalLeavesTheCallersMessageAlone(t *testing.T) {
	mine := &Message{Topic: "mine"}
	e := Event{Message: mine}
	if err := e.Unmarshal((&Event{Message: &Message{Topic: "other"}}).AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if mine.Topic != "mine" || e.Message.Topic != "other" {
		t.Errorf("the caller's message is %q now, the event's %q", mine.Topic, e.Message.Topic)
	}
}

func TestMarshalTo(t *testing.T) {
	b := publishBatch(2)
	want := b.AppendTo(nil)
	buf := bytes.Repeat([]byte{0xEE}, len(want)+3)
	if n, err := b.MarshalTo(buf[:len(want)-1]); !errors.Is(err, ErrShortBuffer) || n != len(want) || buf[0] != 0xEE {
		t.Errorf("into a short buffer: %d, %v, first byte %x", n, err, buf[0])
	}
	if n, err := b.MarshalTo(buf); err != nil || !bytes.Equal(buf[:n], want) || buf[n] != 0xEE {
		t.Errorf("wrote %d bytes %x (%v), want %x and no byte more", n, buf, err, want)
	}
}

func TestAppendTo(t *testing.T) {
	p := &Pair{Name: "n", Value: "v"}
	want := p.AppendTo(nil)
	b := append(make([]byte, 0, 64), "head"...)
	out := p.AppendTo(b)
	if string(out) != "head"+string(want) || &out[0] != &b[0] {
		t.Errorf("appended it is %q, in new memory: %t", out, &out[0] != &b[0])
	}
	if out := p.AppendTo(b[:4:4]); string(out) != "head"+string(want) {
		t.Errorf("appended to a full slice it is %q", out)
	}
}

func TestEqual(t *testing.T) {
	a, b := &Pair{Name: "n"}, &Pair{Name: "n"}
	if !Equal(a, b) || Equal(a, &Pair{Name: "m"}) || Equal(&StopRequest{}, &StopResponse{}) {
		t.Error("Equal is wrong")
	}
}

func TestNew(t *testing.T) {
	for _, name := range Names() {
		if m := New(name); m == nil || m.MessageName() != name || m.Size() != 0 {
			t.Errorf("New(%q) is %v", name, m)
		}
	}
	if m := New("Nothing"); m != nil {
		t.Errorf("New of no message is %v", m)
	}
}

func TestEnumString(t *testing.T) {
	for _, c := range []struct {
		got  interface{ String() string }
		want string
	}{
		{PointInterceptPublish, "POINT_INTERCEPT_PUBLISH"}, {Point(99), "99"}, {HostErrorCodeDenied, "HOST_ERROR_CODE_DENIED"},
		{HostErrorCode(-99), "-99"}, {HostOpKVCompareAndSet, "HOST_OP_KV_COMPARE_AND_SET"},
	} {
		if c.got.String() != c.want {
			t.Errorf("is %s, want %s", c.got, c.want)
		}
	}
}

func TestHostError(t *testing.T) {
	e := error(&HostError{Code: HostErrorCodeDenied, Message: "KvGet is not allowed", Grant: "kv"})
	if want := `KvGet is not allowed (missing grant "kv")`; e.Error() != want {
		t.Errorf("says %s, want %s", e, want)
	}
	if e := (&HostError{Code: HostErrorCodeLimit}); e.Error() != "HOST_ERROR_CODE_LIMIT" {
		t.Errorf("without a message it says %s", e)
	}
	if !errors.Is(e, &HostError{Code: HostErrorCodeDenied}) || errors.Is(e, &HostError{Code: HostErrorCodeLimit}) || errors.Is(e, ErrTag) {
		t.Error("it is found by more or less than its code")
	}
}

func TestNoAllocations(t *testing.T) {
	batch := publishBatch(64)
	batch.Events[5].Message.UserProperties = []Pair{{Name: "a", Value: "b"}}
	buf := batch.AppendTo(nil)
	var read Batch
	verdicts := &Answer{Seq: 1, Verdicts: []Verdict{{Event: 3, Action: ActionReplace, Changed: 1, Replacement: &Message{Topic: "t"}}}}
	answer := verdicts.AppendTo(nil)
	var readAnswer Answer
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"Unmarshal of a batch", func() error { return read.Unmarshal(buf) }},
		{"MarshalTo of a batch", func() error { _, err := batch.MarshalTo(buf); return err }},
		{"AppendTo of a batch", func() error { buf = batch.AppendTo(buf[:0]); return nil }},
		{"Unmarshal of an answer", func() error { return readAnswer.Unmarshal(answer) }},
		{"AppendTo of an answer", func() error { answer = verdicts.AppendTo(answer[:0]); return nil }},
	} {
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if n := testing.AllocsPerRun(50, func() { _ = c.do() }); n != 0 {
			t.Errorf("%s allocates %v times", c.name, n)
		}
	}
}

// A hostile input of n bytes must not make much more than n bytes of structs.
func TestMemoryIsBounded(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		m    Proto
	}{
		{"empty events", bytes.Repeat([]byte{0x22, 0x00}, 1<<19), &Batch{}},
		{"empty permissions", append([]byte{0x4A, 0x80, 0x80, 0x40}, bytes.Repeat([]byte{0x2A, 0x00}, 1<<19)...), &Verdict{}},
		{"answers of empty filters", bytes.Repeat(append([]byte{0x12, 0x80, 0x10}, bytes.Repeat([]byte{0x42, 0x00}, 1024)...), 512), &Answer{}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := c.m.Unmarshal(c.in)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrLimit) {
			t.Errorf("%s: error is %v", c.name, err)
		}
		// Slices that grow have been copied a few times.
		t.Logf("%s: %d KB of input take %d KB", c.name, len(c.in)>>10, (after.TotalAlloc-before.TotalAlloc)>>10)
		if took := after.TotalAlloc - before.TotalAlloc; took > 24<<20 {
			t.Errorf("%s: %d bytes of input take %d bytes", c.name, len(c.in), took)
		}
	}
}
