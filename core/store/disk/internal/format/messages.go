package format

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

const (
	messageQoS    byte = 3 // mask
	messageRetain byte = 1 << 2
)

// AppendMessage appends a message: it takes the rest of the value that it is in.
func AppendMessage(dst []byte, m *packet.Message) []byte {
	flags := m.QoS & messageQoS
	if m.Retain {
		flags |= messageRetain
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, m.ID)
	dst = appendTime(dst, m.Received)
	dst = appendTime(dst, m.Expires)
	dst = appendBytes(dst, m.Publisher)
	dst = appendBytes(dst, m.Topic)
	dst = appendBytes(dst, m.Props)
	return append(dst, m.Payload...)
}

// Memo remembers what one record had, since the next one often has the same: it
// saves memory, not only time. The zero value is ready; nil remembers nothing.
type Memo struct {
	publisher string
	routeRaw  []byte
	route     *store.Route
}

func (m *Memo) text(b []byte) string {
	if m == nil {
		return string(b)
	}
	if m.publisher != string(b) {
		m.publisher = string(b)
	}
	return m.publisher
}

// decodeMessage fills in m as a view of b.
func decodeMessage(b []byte, m *packet.Message, memo *Memo) error {
	f := fields{b: b}
	flags := f.byte()
	m.QoS, m.Retain = flags&messageQoS, flags&messageRetain != 0
	m.ID, m.Received, m.Expires = f.uvarint(), f.time(), f.time()
	m.Publisher = memo.text(f.bytes())
	m.Topic, m.Props = f.bytes(), f.bytes()
	m.Payload, f.b = f.b, nil
	if m.QoS > 2 {
		return fmt.Errorf("%w: message with QoS %d", ErrCorrupt, m.QoS)
	}
	return f.err("message")
}

// AppendRetained appends the value of a retained message.
func AppendRetained(dst, key []byte, m *packet.Message) []byte {
	start := len(dst)
	return seal(AppendMessage(append(dst, version), m), start, key)
}

// DecodeRetained reads a retained message into m, a view of value.
func DecodeRetained(key, value []byte, m *packet.Message, memo *Memo) error {
	b, err := unseal(key, value)
	if err != nil {
		return err
	}
	return decodeMessage(b, m, memo)
}

// Content is a message of a session.
type Content struct {
	// QoS, Retain and Unscreened are as in store.Entry.
	QoS                byte
	Retain, Unscreened bool
	// Direct is set for a message that was in flight from the first: it never
	// waits, whatever its place.
	Direct bool
	// Expires and Size are the message's.
	Expires int64
	Size    int
	Route   *store.Route
	// Shared is the number of the shared message, with which Fan sessions began;
	// 0 if Body is the message itself.
	Shared uint64
	Fan    uint32
	// Body is for DecodeBody; when decoding it lies in the value.
	Body []byte
}

const (
	contentQoS    byte = 3 // mask
	contentRetain byte = 1 << (1 + iota)
	contentUnscreened
	contentDirect
	contentShared
	contentRoute
)

// AppendContent appends the value of a content; without Shared, m is its body.
func AppendContent(dst, key []byte, c *Content, m *packet.Message) []byte {
	start := len(dst)
	flags := c.QoS & contentQoS
	set := func(on bool, bit byte) {
		if on {
			flags |= bit
		}
	}
	set(c.Retain, contentRetain)
	set(c.Unscreened, contentUnscreened)
	set(c.Direct, contentDirect)
	set(c.Shared != 0, contentShared)
	set(c.Route != nil, contentRoute)
	dst = append(dst, version, flags)
	dst = appendTime(dst, c.Expires)
	dst = binary.AppendUvarint(dst, uint64(c.Size))
	if c.Route != nil {
		dst = appendRoute(dst, c.Route)
	}
	if c.Shared != 0 {
		dst = binary.AppendUvarint(dst, c.Shared)
		dst = binary.AppendUvarint(dst, uint64(c.Fan))
	} else {
		dst = AppendMessage(dst, m)
	}
	return seal(dst, start, key)
}

// DecodeContent reads a content.
func DecodeContent(key, value []byte, c *Content, memo *Memo) error {
	b, err := unseal(key, value)
	if err != nil {
		return err
	}
	f := fields{b: b}
	flags := f.byte()
	*c = Content{
		QoS: flags & contentQoS, Retain: flags&contentRetain != 0, Unscreened: flags&contentUnscreened != 0,
		Direct: flags&contentDirect != 0, Expires: f.time(), Size: int(f.uint32()),
	}
	if c.QoS > 2 {
		return fmt.Errorf("%w: content with QoS %d", ErrCorrupt, c.QoS)
	}
	if flags&contentRoute != 0 {
		c.Route = f.route(memo)
	}
	if flags&contentShared == 0 {
		c.Body, f.b = f.b, nil
		return f.err("content")
	}
	if c.Shared, c.Fan = f.uvarint(), f.uint32(); c.Shared == 0 && !f.bad {
		return fmt.Errorf("%w: content refers to message 0", ErrCorrupt)
	}
	return f.err("content")
}

// DecodeBody reads the body of a content or of a shared message into m, a view
// of it.
func DecodeBody(body []byte, m *packet.Message, memo *Memo) error {
	return decodeMessage(body, m, memo)
}

func appendRoute(dst []byte, r *store.Route) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r.IDs)))
	for _, id := range r.IDs {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	return appendBytes(appendBytes(dst, r.Group), r.Filter)
}

func (f *fields) route(memo *Memo) *store.Route {
	begin := f.b
	n := f.uvarint()
	if n > uint64(len(f.b)) { // each takes a byte at least
		f.fail()
		return nil
	}
	var ids []uint32
	if n > 0 {
		ids = make([]uint32, n)
		for i := range ids {
			ids[i] = f.uint32()
		}
	}
	group, filter := f.bytes(), f.bytes()
	if f.bad {
		return nil
	}
	raw := begin[:len(begin)-len(f.b)]
	if memo != nil && memo.route != nil && bytes.Equal(memo.routeRaw, raw) {
		return memo.route
	}
	r := &store.Route{IDs: ids, Group: string(group), Filter: string(filter)}
	if memo != nil {
		memo.routeRaw, memo.route = append(memo.routeRaw[:0], raw...), r
	}
	return r
}

const indexReleased byte = 1

// AppendIndex appends the value of an index.
func AppendIndex(dst, key []byte, pos uint64, released bool) []byte {
	start := len(dst)
	var flags byte
	if released {
		flags = indexReleased
	}
	dst = append(dst, version, flags)
	return seal(binary.AppendUvarint(dst, pos), start, key)
}

// DecodeIndex reads an index.
func DecodeIndex(key, value []byte) (pos uint64, released bool, err error) {
	b, err := unseal(key, value)
	if err != nil {
		return 0, false, err
	}
	f := fields{b: b}
	released = f.byte()&indexReleased != 0
	pos = f.uvarint()
	return pos, released, f.err("index")
}
