package packet

import (
	"bytes"
	"encoding/binary"
)

// reader takes the fields of a packet off its body, for the packets that are
// decoded into strings. The first fault sticks in err; from then on everything
// reads as zero.
type reader struct {
	b   []byte
	t   Type
	err error
}

func (r *reader) fail(err *Error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// take returns the next n bytes, nil if there are not as many.
func (r *reader) take(n int, field string) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.b) {
		r.fail(malformed("", r.t.String()+": ends within "+field))
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte(field string) byte {
	if b := r.take(1, field); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16(field string) uint16 {
	if b := r.take(2, field); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// view is Binary Data without a copy.
func (r *reader) view(field string) []byte {
	return r.take(int(r.uint16(field)), field)
}

func (r *reader) binary(field string) []byte { return bytes.Clone(r.view(field)) }

// text is a UTF-8 Encoded String without a copy; clause is the statement that says
// it must be one.
func (r *reader) text(field, clause string) []byte {
	b := r.view(field)
	if f := checkText(b); f != "" {
		if f == faultNUL {
			clause = f.clause()
		}
		r.fail(malformed(clause, r.t.String()+": "+field+" "+string(f)))
		return nil
	}
	return b
}

// packetID is a Packet Identifier, which is never 0 [MQTT-2.2.1-3].
func (r *reader) packetID() uint16 {
	id := r.uint16("packet identifier")
	if r.err == nil && id == 0 {
		r.fail(protocolError("MQTT-2.2.1-3", r.t.String()+": packet identifier is 0"))
	}
	return id
}

// properties reads properties with their length in front into p, which is zero. of
// is the packet by whose rules they are judged. It returns a view of them.
func (r *reader) properties(p *Properties, of Type) []byte {
	if r.err != nil {
		return nil
	}
	n, size, err := readVar(r.b)
	switch {
	case err != nil:
		r.err, r.b = err, nil
		return nil
	case size == 0:
		r.fail(malformed("", packetName(of)+": ends within property length"))
		return nil
	}
	r.b = r.b[size:]
	raw := r.take(int(n), "properties")
	if r.err == nil {
		if err := p.decode(raw, of); err != nil {
			r.err, r.b = err, nil
			return nil
		}
	}
	return raw
}

// end returns the first fault, or one if there are bytes left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(malformed("", r.t.String()+": bytes after its end"))
	}
	return r.err
}
