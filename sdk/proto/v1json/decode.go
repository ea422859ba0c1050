package v1json

import (
	"strconv"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// maxDepth bounds how deep arrays and objects may nest in what is ignored.
const maxDepth = 64

// DecodeError says where the JSON could not be read, and why.
type DecodeError struct {
	// Offset is where, in bytes from the beginning.
	Offset int
	// Reason says in words what was expected there.
	Reason string
}

// Error returns "json: at byte 17: expected a string".
func (e *DecodeError) Error() string {
	return "json: at byte " + strconv.Itoa(e.Offset) + ": " + e.Reason
}

// UnmarshalJSON reads the JSON form of a message into m, which it resets first. It
// keeps nothing of data. After an error, a *DecodeError, m is in an unspecified state.
func UnmarshalJSON(data []byte, m pluginv1.Proto) error {
	m.Reset()
	d := &decoder{b: data, left: pluginv1.MaxElements}
	readAny(d, m)
	if d.space(); d.err == nil && d.i < len(d.b) {
		d.fail("expected the end")
	}
	if d.err != nil {
		return d.err
	}
	return nil
}

// decoder reads b from i on. After the first error all its methods do nothing.
type decoder struct {
	b    []byte
	i    int
	left int // elements of repeated fields that may still come
	err  *DecodeError
}

func (d *decoder) fail(reason string) {
	if d.err == nil {
		d.err = &DecodeError{d.i, reason}
	}
	d.i = len(d.b)
}

func (d *decoder) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

// peek returns the next byte that is not space, 0 at the end.
func (d *decoder) peek() byte {
	if d.space(); d.i < len(d.b) {
		return d.b[d.i]
	}
	return 0
}

// take passes over c if it is next.
func (d *decoder) take(c byte) bool {
	if d.peek() != c {
		return false
	}
	d.i++
	return true
}

// members goes through an object or array.
type members struct {
	key  string
	seen uint64 // fields of the message, one bit each
	some bool
}

// object begins an object; call next until it returns false.
func (d *decoder) object() (o members) {
	if !d.take('{') {
		d.fail("expected an object")
	}
	return o
}

// next goes on to the value of the next member, whose name is o.key then.
func (d *decoder) next(o *members) bool {
	if !d.more(o, '}') {
		return false
	}
	if d.peek() != '"' {
		d.fail("expected a name")
	}
	o.key = d.text()
	if !d.take(':') {
		d.fail("expected a colon")
	}
	return d.err == nil
}

// field reports whether there is a value to read for the field with this index: not
// null, and not there already.
func (d *decoder) field(o *members, index uint) bool {
	if o.seen&(1<<index) != 0 {
		d.fail(strconv.Quote(o.key) + " is there twice")
		return false
	}
	o.seen |= 1 << index
	if d.peek() == 'n' {
		d.literal("null")
		return false
	}
	return d.err == nil
}

// array begins an array; call element until it returns false.
func (d *decoder) array() (a members) {
	if !d.take('[') {
		d.fail("expected an array")
	}
	return a
}

// element goes on to the next element of an array that has n already.
func (d *decoder) element(a *members, n, limit int) bool {
	if !d.more(a, ']') {
		return false
	}
	if d.left--; d.left < 0 || n >= limit {
		d.fail(tooMany)
	}
	return d.err == nil
}

const tooMany = "more elements, or deeper nested, than the contract allows"

// more goes on to the next member, or past the end of them all.
func (d *decoder) more(m *members, end byte) bool {
	if d.err != nil || d.take(end) {
		return false
	}
	if m.some && !d.take(',') {
		d.fail("expected a comma")
		return false
	}
	m.some = true
	if d.peek() == end || d.i == len(d.b) {
		d.fail("expected a value")
	}
	return d.err == nil
}

func (d *decoder) literal(word string) {
	if d.i+len(word) > len(d.b) || string(d.b[d.i:d.i+len(word)]) != word || d.i+len(word) < len(d.b) && isWord(d.b[d.i+len(word)]) {
		d.fail("expected " + word)
		return
	}
	d.i += len(word)
}

// isWord reports whether c would go on with a literal or number.
func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '+' || c == '-'
}

func (d *decoder) bool() bool {
	if d.peek() == 't' {
		d.literal("true")
		return d.err == nil
	}
	d.literal("false")
	return false
}

// skip passes over a value.
func (d *decoder) skip(depth int) {
	if depth > maxDepth {
		d.fail(tooMany)
		return
	}
	switch d.peek() {
	case '{':
		for o := d.object(); d.next(&o); {
			d.skip(depth + 1)
		}
	case '[':
		for a := d.array(); d.more(&a, ']'); {
			d.skip(depth + 1)
		}
	case '"':
		d.text()
	case 't':
		d.literal("true")
	case 'f':
		d.literal("false")
	case 'n':
		d.literal("null")
	default:
		d.number()
	}
}
