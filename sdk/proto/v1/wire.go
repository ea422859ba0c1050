package pluginv1

import (
	"errors"
	"math"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// MaxElements bounds the elements of all repeated fields of a message together,
// nested ones included, so that a few bytes of input cannot ask for much memory.
const MaxElements = 65_536

// DecodeError says which field could not be read, and why: one of the Err… values.
type DecodeError struct {
	// Message and Field are names of the .proto files; Field is empty if it is not
	// one of those that the message has.
	Message, Field string
	Err            error
}

// Error returns "Batch.events: the input ends too early".
func (e *DecodeError) Error() string {
	if e.Field == "" {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message + "." + e.Field + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *DecodeError) Unwrap() error { return e.Err }

// Why a message could not be read.
var (
	ErrTruncated = errors.New("the input ends too early")
	ErrOverflow  = errors.New("a varint has more than 64 bits")
	ErrTag       = errors.New("not a field number and wire type")
	ErrUTF8      = errors.New("a string is not UTF-8")
	ErrLimit     = errors.New("more elements, or deeper nested, than the contract allows")
)

// Positions below 0 stand for errors.
const (
	truncated = -1 - iota
	overflow
	badTag
	badUTF8
	tooMany
)

var failures = [...]error{ErrTruncated, ErrOverflow, ErrTag, ErrUTF8, ErrLimit}

// fail makes the error that code stands for. names are the message's fields in the
// order of their numbers, separated by spaces. An error from a message within goes on
// as it is: it names the innermost field.
func fail(message, names string, tag uint64, code int) error {
	field := ""
	for n, at := uint64(1), 0; n <= tag>>3 && at < len(names); n++ {
		end := at
		for end < len(names) && names[end] != ' ' {
			end++
		}
		if n == tag>>3 {
			field = names[at:end]
		}
		at = end + 1
	}
	return &DecodeError{message, field, failures[-1-code]}
}

// Writing goes from the end to the beginning, since the length of what is nested is
// known after it has been written; so Size is computed once for each message.

func sizeVarint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// sizeBytes is the size of a length and as many bytes.
func sizeBytes(n int) int { return sizeVarint(uint64(n)) + n }

// putVarint writes v so that it ends at end, and returns where it begins.
func putVarint(b []byte, end int, v uint64) int {
	if v < 0x80 {
		end--
		b[end] = byte(v)
		return end
	}
	return putLong(b, end, v)
}

func putLong(b []byte, end int, v uint64) int {
	end -= sizeVarint(v)
	at := end
	for ; v >= 0x80; v >>= 7 {
		b[at] = byte(v) | 0x80
		at++
	}
	b[at] = byte(v)
	return end
}

// putUint writes a varint with its tag before it; also the length of what has been
// written already.
func putUint(b []byte, end int, tag, v uint64) int {
	return putVarint(b, putVarint(b, end, v), tag)
}

// putString writes s with its tag and length.
func putString(b []byte, end int, tag uint64, s string) int {
	end -= len(s)
	copy(b[end:], s)
	return putUint(b, end, tag, uint64(len(s)))
}

func putBytes(b []byte, end int, tag uint64, s []byte) int {
	end -= len(s)
	copy(b[end:], s)
	return putUint(b, end, tag, uint64(len(s)))
}

func putDouble(b []byte, end int, v float64) int {
	end -= 8
	w := math.Float64bits(v)
	for i := range 8 {
		b[end+i] = byte(w >> (8 * i))
	}
	return end
}

// varint reads a varint at i and returns where it ends, or an error below 0.
func varint(b []byte, i int) (uint64, int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	return longVarint(b, i)
}

// longVarint reads a varint of any length, up to eight bytes without a loop: it keeps
// what comes before the first byte without the upper bit, and pushes groups of seven
// bits together.
func longVarint(b []byte, i int) (uint64, int) {
	if len(b)-i >= 8 {
		v := word(b[i:])
		if stop := ^v & 0x8080_8080_8080_8080; stop != 0 {
			v &= (stop ^ (stop - 1)) & 0x7F7F_7F7F_7F7F_7F7F
			v = v&0x007F_007F_007F_007F | v&0x7F00_7F00_7F00_7F00>>1
			v = v&0x0000_3FFF_0000_3FFF | v&0x3FFF_0000_3FFF_0000>>2
			v = v&0x0000_0000_0FFF_FFFF | v&0x0FFF_FFFF_0000_0000>>4
			return v, i + bits.TrailingZeros64(stop)>>3 + 1
		}
	}
	return slowVarint(b, i)
}

func slowVarint(b []byte, i int) (uint64, int) {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		if i >= len(b) {
			return 0, truncated
		}
		c := b[i]
		i++
		if shift == 63 && c > 1 {
			return 0, overflow
		}
		v |= uint64(c&0x7F) << shift
		if c < 0x80 {
			return v, i
		}
	}
	return 0, overflow
}

// word reads 64 bits, little-endian. encoding/binary has it too, but brings package
// reflect along, which is 0.5 MB in a guest.
func word(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// text makes a string that points to b.
func text(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// isText reports whether b is UTF-8. Most strings are short and ASCII; utf8.Valid
// takes twice as long for these.
func isText(b []byte) bool {
	const high = 0x8080_8080_8080_8080
	n := len(b)
	if n < 8 {
		var or byte
		for _, c := range b {
			or |= c
		}
		return or < 0x80 || utf8.Valid(b)
	}
	or := word(b[n-8:])
	for i := 0; i < n-8; i += 8 {
		or |= word(b[i:])
	}
	return or&high == 0 || utf8.Valid(b)
}

// addText appends an element that came before i, and returns i or an error below 0.
func addText(list []string, s []byte, limit int, left *int, i int) ([]string, int) {
	if *left--; *left < 0 || len(list) >= limit {
		return list, tooMany
	}
	if !isText(s) {
		return list, badUTF8
	}
	return append(list, text(s)), i
}

// addBytes is addText for bytes.
func addBytes(list [][]byte, s []byte, limit int, left *int, i int) ([][]byte, int) {
	if *left--; *left < 0 || len(list) >= limit {
		return list, tooMany
	}
	return append(list, s), i
}

// toDouble makes a double of its 64 bits.
func toDouble(v uint64) float64 { return math.Float64frombits(v) }

// fixed64 reads 64 bits at i.
func fixed64(b []byte, i int) (uint64, int) {
	if len(b)-i < 8 {
		return 0, truncated
	}
	return word(b[i:]), i + 8
}

const (
	// maxField is the largest field number.
	maxField = 1<<29 - 1
	// maxGroups is how deep groups may nest in what is skipped. The contract has none.
	maxGroups = 16
)

// skip passes over a value that is neither a varint nor length-delimited, and returns
// where it ends, and what it is if it has 64 bits.
func skip(b []byte, i int, tag uint64) (uint64, int) {
	switch tag & 7 {
	case 1:
		return fixed64(b, i)
	case 3:
		return 0, skipGroup(b, i, tag, 1)
	case 5:
		if len(b)-i < 4 {
			return 0, truncated
		}
		return 0, i + 4
	}
	return 0, badTag
}

// skipGroup passes over what stands between start and its end, which no field of the
// contract is.
func skipGroup(b []byte, i int, start uint64, depth int) int {
	if depth > maxGroups {
		return tooMany
	}
	for {
		var tag uint64
		if tag, i = varint(b, i); i < 0 {
			return i
		}
		var n uint64
		switch tag & 7 {
		case 0:
			_, i = varint(b, i)
		case 2:
			if n, i = varint(b, i); i >= 0 && n > uint64(len(b)-i) {
				return truncated
			}
			if i >= 0 {
				i += int(n)
			}
		case 3:
			i = skipGroup(b, i, tag, depth+1)
		case 4:
			if tag != start+1 {
				return badTag
			}
			return i
		default:
			_, i = skip(b, i, tag)
		}
		if i < 0 {
			return i
		}
		if tag>>3-1 >= maxField {
			return badTag
		}
	}
}

// floatBits is for telling minus zero from zero.
func floatBits(v float64) uint64 { return math.Float64bits(v) }
