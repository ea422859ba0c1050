package meter

import (
	"fmt"
	"unicode/utf8"
)

// reader reads a module front to back. The first fault sticks: it is kept in err, and every read after it returns
// zero values, so that callers check once per item and loops end.
type reader struct {
	data     []byte // the whole module: offsets in errors count from its beginning
	pos, end int    // end bounds what is being read: the module, a section, a function body
	section  string
	function int
	err      *Error
}

// fail records a fault at off. The reader is at its end from then on.
func (r *reader) fail(kind Kind, off int, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{Kind: kind, Section: r.section, Function: r.function, Offset: off, Reason: fmt.Sprintf(format, args...)}
	}
	r.pos = r.end
}

func (r *reader) ok() bool { return r.err == nil }

func (r *reader) byte() byte {
	if r.pos >= r.end {
		r.fail(Malformed, r.pos, "ends in the middle of an item")
		return 0
	}
	b := r.data[r.pos]
	r.pos++
	return b
}

// bytes returns the next n bytes, a part of the module.
func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.end-r.pos) {
		r.fail(Malformed, r.pos, "%d bytes announced, %d left", n, r.end-r.pos)
		return nil
	}
	b := r.data[r.pos : r.pos+int(n) : r.pos+int(n)]
	r.pos += int(n)
	return b
}

// u32 reads an unsigned LEB128 of at most 32 bits. Padding with zeros to five bytes is allowed, as linkers do.
func (r *reader) u32() uint32 {
	start, v := r.pos, uint32(0)
	for shift := 0; r.pos < r.end; shift += 7 {
		b := r.data[r.pos]
		r.pos++
		if shift == 28 && b > 0x0f {
			r.fail(Malformed, start, "integer longer than 32 bits")
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	r.fail(Malformed, start, "ends in the middle of an integer")
	return 0
}

// signed skips a signed LEB128 of at most bits bits. In the last byte that fits, the bits past the number must
// repeat its sign.
func (r *reader) signed(bits int) {
	start := r.pos
	for left := bits; r.pos < r.end; left -= 7 {
		b := r.data[r.pos]
		r.pos++
		if left <= 7 {
			past := int8(b<<1) >> left // sign bit and what is beyond, spread
			if b >= 0x80 || past != 0 && past != -1 {
				r.fail(Malformed, start, "integer longer than %d bits", bits)
			}
			return
		}
		if b < 0x80 {
			return
		}
	}
	r.fail(Malformed, start, "ends in the middle of an integer")
}

// count reads the length of a vector whose items take at least size bytes each, so that what a caller reserves
// is bounded by the bytes that are there.
func (r *reader) count(size int) int {
	start := r.pos
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(r.end-r.pos) {
		r.fail(Malformed, start, "%d items announced, %d bytes left", n, r.end-r.pos)
		return 0
	}
	return int(n)
}

// each reads a vector: read is called for every item, until one fails. It returns how many items there are.
func (r *reader) each(size, most int, read func()) int {
	at := r.pos
	n := r.count(size)
	if n > most {
		r.fail(TooLarge, at, "%d items, the limit is %d", n, most)
	}
	for i := 0; i < n && r.ok(); i++ {
		read()
	}
	return n
}

func (r *reader) name() string {
	start := r.pos
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.fail(Malformed, start, "a name that is not UTF-8")
		return ""
	}
	return string(b)
}
