package dump

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// maxLine is above every line that is written: the largest packet of MQTT has
// 256 MiB, and base64 adds a third.
const maxLine = 1 << 30

// sink takes what a reader finds, in the order of the dump. References to
// messages go along.
type sink interface {
	session(s *session) error
	// inflight and queued add to the last session.
	inflight(in *inflight) error
	queued(e *store.Entry) error
	retained(namespace string, m *packet.Message) error
	value(v *value) error
}

// read reads a dump and hands everything to the sink. Errors name the line, from
// 1, those of the sink too. Only with a nil error was the dump whole; what the sink
// got before any other has to be thrown away.
func read(r io.Reader, to sink) (Counts, error) {
	d := &reader{in: bufio.NewReaderSize(r, bufferSize), sink: to, seen: map[uint64]struct{}{}, packetIDs: map[uint16]struct{}{}, seed: maphash.MakeSeed()}
	if err := d.header(); err != nil {
		return d.n, d.at(err)
	}
	for d.end == nil {
		if err := d.next(); err != nil {
			return d.n, d.at(err)
		}
	}
	if _, err := d.line(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("something follows the end line")
		}
		return d.n, d.at(err)
	}
	return d.n, nil
}

type reader struct {
	in     *bufio.Reader
	sink   sink
	long   []byte // a line that is longer than in's buffer
	number int    // of the line
	n      Counts
	end    *Counts

	inSession, waiting bool                // of the session, a waiting message was read
	packetIDs          map[uint16]struct{} // in flight, of the session
	// seen are hashes of the sessions so far, since a second one of the same
	// client would be a fault that shows much later. It is what memory grows by:
	// some tens of bytes for each session.
	seen map[uint64]struct{}
	seed maphash.Seed
}

func (d *reader) at(err error) error { return fmt.Errorf("line %d: %w", d.number, err) }

var errTruncated = errors.New("the export ends here, without its end line: it is not whole")

// line returns the next line; io.EOF when there is none. It is valid until the
// next call.
func (d *reader) line() ([]byte, error) {
	d.number++
	if cap(d.long) > 4*bufferSize {
		d.long = nil
	}
	d.long = d.long[:0]
	for {
		part, err := d.in.ReadSlice('\n')
		switch {
		case err == nil && len(d.long) == 0:
			return part, nil
		case errors.Is(err, bufio.ErrBufferFull) && len(d.long)+len(part) > maxLine:
			return nil, errors.New("longer than any line of an export")
		case err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read: %w", err)
		}
		d.long = append(d.long, part...)
		switch {
		case err == nil:
			return d.long, nil
		case !errors.Is(err, io.EOF):
		case len(d.long) == 0:
			return nil, io.EOF
		default:
			return d.long, nil // the last line, if it is whole
		}
	}
}

func (d *reader) header() error {
	b, err := d.line()
	if errors.Is(err, io.EOF) {
		return errors.New("there is nothing: no export")
	} else if err != nil {
		return err
	}
	var h header
	// Not strict: a later format may say more, and has to be named first.
	if json.Unmarshal(b, &h) != nil || h.Format == 0 {
		return errors.New("not an export of Patchbay: the first line has no patchbay_export")
	}
	if h.Format != formatNumber {
		return fmt.Errorf("written by a newer Patchbay (format %d; this one knows %d)", h.Format, formatNumber)
	}
	return nil
}

// next reads a line and hands it on.
func (d *reader) next() error {
	b, err := d.line()
	if errors.Is(err, io.EOF) {
		return errTruncated
	} else if err != nil {
		return err
	}
	var l line
	if err := decode(b, &l); err != nil {
		if b[len(b)-1] != '\n' {
			return errTruncated
		}
		return err
	}
	return d.hand(&l)
}

// decode is strict: what is not known would be lost.
func decode(b []byte, l *line) error {
	j := json.NewDecoder(bytes.NewReader(b))
	j.DisallowUnknownFields()
	if err := j.Decode(l); err != nil {
		return inWords(err)
	}
	if rest := bytes.TrimSpace(b[j.InputOffset():]); len(rest) > 0 {
		return errors.New("more than one object")
	}
	set := 0
	for _, is := range []bool{l.Session != nil, l.Inflight != nil, l.Queued != nil, l.Retained != nil, l.Value != nil, l.End != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return errors.New("want an object with one of session, inflight, queued, retained, value, end")
	}
	return nil
}

// inWords says what is wrong with a line to people who know no Go.
func inWords(err error) error {
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("%s: a %s does not belong there", wrong.Field, wrong.Value)
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("no JSON: %w", err)
	}
	return err
}

func (d *reader) hand(l *line) error {
	switch {
	case l.Session != nil:
		return d.session(l.Session)
	case l.Inflight != nil:
		return d.inflight(l.Inflight)
	case l.Queued != nil:
		return d.queued(l.Queued)
	case l.Retained != nil:
		d.inSession = false
		m, err := l.Retained.Message.message()
		if err != nil {
			return err
		}
		d.n.Retained++
		return d.sink.retained(string(l.Retained.Namespace), m)
	case l.Value != nil:
		d.inSession = false
		d.n.Values++
		v := l.Value
		return d.sink.value(&value{string(v.Bucket), string(v.Key), v.Value, v.Version, int64(v.Expires)})
	}
	d.end = l.End
	d.n.Unreadable = l.End.Unreadable
	return d.n.differ(l.End)
}

// differ names the first figure that is not as the end line has it.
func (c Counts) differ(end *Counts) error {
	for _, f := range []struct {
		name      string
		got, want int64
	}{
		{"sessions", c.Sessions, end.Sessions}, {"subscriptions", c.Subscriptions, end.Subscriptions}, {"received", c.Received, end.Received},
		{"inflight", c.Inflight, end.Inflight}, {"queued", c.Queued, end.Queued}, {"retained", c.Retained, end.Retained}, {"values", c.Values, end.Values},
	} {
		if f.got != f.want {
			return fmt.Errorf("the end line counts %d %s, and there are %d: the export is not whole", f.want, f.name, f.got)
		}
	}
	return nil
}

func (d *reader) session(l *sessionLine) error {
	h := d.hash(l.Namespace, l.ClientID)
	if _, twice := d.seen[h]; twice {
		return fmt.Errorf("session: a second one of client %q", l.ClientID)
	}
	d.seen[h] = struct{}{}
	s, err := l.session()
	if err != nil {
		return fmt.Errorf("session of client %q: %w", l.ClientID, err)
	}
	d.inSession, d.waiting = true, false
	clear(d.packetIDs)
	d.n.Sessions++
	d.n.Subscriptions += int64(len(s.subscriptions))
	d.n.Received += int64(len(s.received))
	return d.sink.session(s)
}

// hash tells sessions apart.
func (d *reader) hash(namespace, clientID text) uint64 {
	var h maphash.Hash
	h.SetSeed(d.seed)
	h.WriteString(string(namespace))
	h.WriteByte(0) // in no text of MQTT
	h.WriteString(string(clientID))
	return h.Sum64()
}

func (d *reader) inflight(l *entryLine) error {
	if !d.inSession || d.waiting {
		return errors.New("inflight: not behind its session, before what is queued")
	}
	if _, twice := d.packetIDs[l.PacketID]; l.PacketID == 0 || twice {
		return fmt.Errorf("inflight: packet_id %d, which is 0 or came before", l.PacketID)
	}
	d.packetIDs[l.PacketID] = struct{}{}
	in := &inflight{packetID: l.PacketID, released: l.Released}
	switch {
	case l.Released && (l.Message != nil || l.QoS != 2):
		return errors.New("inflight: released, and yet a message or no QoS 2")
	case !l.Released:
		e, err := l.entry()
		if err != nil {
			return fmt.Errorf("inflight: %w", err)
		}
		if e.QoS == 0 {
			e.Message.Unref()
			return errors.New("inflight: QoS 0")
		}
		in.Entry = e
	}
	d.n.Inflight++
	return d.sink.inflight(in)
}

func (d *reader) queued(l *entryLine) error {
	if !d.inSession {
		return errors.New("queued: no session before it")
	}
	if l.PacketID != 0 || l.Released {
		return errors.New("queued: packet_id or released, which a message has that was sent")
	}
	e, err := l.entry()
	if err != nil {
		return fmt.Errorf("queued: %w", err)
	}
	d.n.Queued++
	d.waiting = true
	return d.sink.queued(&e)
}
