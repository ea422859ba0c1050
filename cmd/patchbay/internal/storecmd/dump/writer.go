package dump

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// formatNumber is in the header of every dump.
const formatNumber = 1

// session is a session without its messages, which follow it in a dump.
type session struct {
	store.Record
	subscriptions []store.Subscribed
	received      []uint16
}

// inflight is a message that was sent to the client and is not settled. With
// released set, of the Entry nothing is used.
type inflight struct {
	store.Entry
	packetID uint16
	released bool
}

// value is an entry of store.Values. expires is in Unix milliseconds, 0 never.
type value struct {
	bucket, key string
	value       []byte
	version     uint64
	expires     int64
}

// writer writes a dump. Nothing that it is given is kept. Its methods return the
// errors of the io.Writer.
type writer struct {
	buf *bufio.Writer
	enc *json.Encoder
	n   Counts
}

const bufferSize = 64 << 10

// newWriter writes the header. version is that of the program, created the time
// of the state.
func newWriter(w io.Writer, version string, created time.Time) (*writer, error) {
	d := &writer{buf: bufio.NewWriterSize(w, bufferSize)}
	d.enc = json.NewEncoder(d.buf)
	d.enc.SetEscapeHTML(false)
	if err := d.enc.Encode(header{Format: formatNumber, Version: version, Created: stamp(created.UnixMilli())}); err != nil {
		return nil, err
	}
	return d, d.buf.Flush() // whoever waits sees that it begins
}

// session begins a session.
func (d *writer) session(s *session) error {
	d.n.Sessions++
	d.n.Subscriptions += int64(len(s.subscriptions))
	d.n.Received += int64(len(s.received))
	return d.enc.Encode(line{Session: ofSession(s)})
}

// inflight writes the next message in flight of the session.
func (d *writer) inflight(in *inflight) error {
	d.n.Inflight++
	if in.released {
		return d.enc.Encode(line{Inflight: &entryLine{PacketID: in.packetID, Released: true, QoS: 2}})
	}
	l := ofEntry(&in.Entry)
	l.PacketID = in.packetID
	return d.enc.Encode(line{Inflight: l})
}

// queued writes the next waiting message of the session.
func (d *writer) queued(e *store.Entry) error {
	d.n.Queued++
	return d.enc.Encode(line{Queued: ofEntry(e)})
}

// retained writes a retained message.
func (d *writer) retained(namespace string, m *packet.Message) error {
	d.n.Retained++
	return d.enc.Encode(line{Retained: &retainedLine{text(namespace), ofMessage(m)}})
}

// value writes an entry of store.Values.
func (d *writer) value(v *value) error {
	d.n.Values++
	return d.enc.Encode(line{Value: &valueLine{text(v.bucket), text(v.key), v.version, stamp(v.expires), v.value}})
}

// end writes the end line; without it a dump is not whole. unreadable is what is
// missing because it could not be read.
func (d *writer) end(unreadable int64) (Counts, error) {
	d.n.Unreadable = unreadable
	if err := d.enc.Encode(line{End: &d.n}); err != nil {
		return d.n, err
	}
	if err := d.buf.Flush(); err != nil {
		return d.n, fmt.Errorf("write the end: %w", err)
	}
	return d.n, nil
}
