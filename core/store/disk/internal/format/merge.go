package format

import (
	"encoding/binary"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// mergerName is part of the format: Pebble refuses a folder that was written
// with another one.
const mergerName = "patchbay.shared.1"

const (
	sharedBody   byte = 1 << iota // a body follows the count
	sharedBroken                  // an operand was lost: never free it
)

// AppendShared appends an operand that adds n references to a shared message;
// the one that creates it has the body m, others nil.
func AppendShared(dst, key []byte, n int64, m *packet.Message) []byte {
	start := len(dst)
	var flags byte
	if m != nil {
		flags = sharedBody
	}
	dst = binary.AppendVarint(append(dst, version, flags), n)
	if m != nil {
		dst = AppendMessage(dst, m)
	}
	return seal(dst, start, key)
}

// DecodeShared reads a shared message: the number of references and the body,
// which lies in value and is nil if it is missing.
func DecodeShared(key, value []byte) (count int64, body []byte, err error) {
	var s shared
	if err := s.decode(key, value); err != nil {
		return 0, nil, err
	}
	return s.count, s.body, nil
}

// SharedFree reports whether a shared message has no references left, for good:
// its number never comes again.
func SharedFree(key, value []byte) bool {
	var s shared
	return s.decode(key, value) == nil && s.free()
}

type shared struct {
	flags byte
	count int64
	body  []byte
}

func (s *shared) free() bool { return s.count <= 0 && s.flags&sharedBroken == 0 }

func (s *shared) decode(key, value []byte) error {
	b, err := unseal(key, value)
	if err != nil {
		return err
	}
	f := fields{b: b}
	s.flags = f.byte()
	n, k := binary.Varint(f.b)
	if k <= 0 {
		f.fail()
		return f.err("shared message")
	}
	s.count, s.body = n, f.b[k:]
	if s.flags&sharedBody == 0 {
		s.body = nil
		f.b = f.b[k:]
		return f.err("shared message")
	}
	return nil
}

// Merger is the merge operator of shared messages: it adds up references, keeps
// the body, and drops the body with the last one. What is left then is small, and
// is for somebody else to delete (SharedFree): Pebble's DeletableValueMerger,
// which is meant for that, brings a deleted value back, or panics, when a
// compaction finds the oldest operand turned into a SET by an earlier one, as it
// does on the bottom level (v2.1.7, internal/compact.Iter.Next after mergeNext).
func Merger() *pebble.Merger {
	return &pebble.Merger{Name: mergerName, Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		m := &sharedMerger{key: append([]byte(nil), key...)}
		m.add(value)
		return m, nil
	}}
}

type sharedMerger struct {
	key   []byte
	total shared
}

// add never fails, since a compaction that meets an error would meet it for
// ever: a message with an operand that does not decode is kept for good.
func (m *sharedMerger) add(value []byte) {
	var s shared
	if s.decode(m.key, value) != nil {
		m.total.flags |= sharedBroken
		return
	}
	m.total.count += s.count
	m.total.flags |= s.flags
	if s.body != nil && m.total.body == nil {
		m.total.body = append([]byte{}, s.body...)
	}
}

func (m *sharedMerger) MergeNewer(value []byte) error { m.add(value); return nil }
func (m *sharedMerger) MergeOlder(value []byte) error { m.add(value); return nil }

// Finish writes the sum. Without the oldest operand it is not known yet whether
// references are left.
func (m *sharedMerger) Finish(includesBase bool) ([]byte, io.Closer, error) {
	t := &m.total
	if includesBase && t.free() {
		t.flags, t.count, t.body = 0, 0, nil
	}
	dst := binary.AppendVarint([]byte{version, t.flags}, t.count)
	return seal(append(dst, t.body...), 0, m.key), nil, nil
}
