package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrCorrupt is what all errors of decoding wrap.
var ErrCorrupt = errors.New("corrupt record")

// version is that of all values so far.
const version = 1

const overhead = 1 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// seal ends the value that begins at dst[start:] with its checksum.
func seal(dst []byte, start int, key []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, checksum(key, dst[start:]))
}

// unseal returns the fields of a value.
func unseal(key, value []byte) ([]byte, error) {
	if len(value) < overhead {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(value))
	}
	n := len(value) - 4
	if got, want := checksum(key, value[:n]), binary.LittleEndian.Uint32(value[n:]); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, not %08x", ErrCorrupt, got, want)
	}
	if value[0] != version {
		return nil, fmt.Errorf("%w: version %d", ErrCorrupt, value[0])
	}
	return value[1:n], nil
}

// fields reads the fields of a value; what is missing reads as zero and makes it
// bad.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) uvarint() uint64 {
	n, k := binary.Uvarint(f.b)
	if k <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[k:]
	return n
}

// time reads a time in Unix milliseconds.
func (f *fields) time() int64 {
	n := f.uvarint()
	if n > 1<<62 {
		f.fail()
		return 0
	}
	return int64(n)
}

func (f *fields) uint32() uint32 {
	n := f.uvarint()
	if n > 1<<32-1 {
		f.fail()
		return 0
	}
	return uint32(n)
}

func (f *fields) byte() byte {
	if len(f.b) == 0 {
		f.fail()
		return 0
	}
	c := f.b[0]
	f.b = f.b[1:]
	return c
}

func (f *fields) bytes() []byte {
	n := f.uvarint()
	if n > uint64(len(f.b)) {
		f.fail()
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) fail() { f.bad, f.b = true, nil }

// err is nil if all fields were there and nothing is left over.
func (f *fields) err(what string) error {
	switch {
	case f.bad:
		return fmt.Errorf("%w: %s is cut short", ErrCorrupt, what)
	case len(f.b) > 0:
		return fmt.Errorf("%w: %d bytes behind %s", ErrCorrupt, len(f.b), what)
	}
	return nil
}

func appendBytes[T ~string | ~[]byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// appendTime takes a time before 1970 for 1970: none of those that are stored
// can be.
func appendTime(dst []byte, t int64) []byte {
	return binary.AppendUvarint(dst, uint64(max(t, 0)))
}
