package packet

import (
	"bytes"
	"testing"
)

func TestReadHeader(t *testing.T) {
	for _, c := range []struct {
		bytes     string
		remaining int
		n         int
	}{
		{"", 0, 0}, {"30", 0, 0}, {"30 80", 0, 0}, {"30 ff ff ff", 0, 0},
		{"30 00", 0, 2}, {"30 7f 01", 127, 2}, {"30 80 01", 128, 3}, {"30 ff 7f", 16383, 3}, {"30 80 80 01", 16384, 4},
		{"30 ff ff 7f", 2097151, 4}, {"30 80 80 80 01", 2097152, 5}, {"30 ff ff ff 7f ff", MaxRemaining, 5},
	} {
		h, n, err := ReadHeader(wire(t, c.bytes))
		if err != nil || n != c.n || h.Remaining != c.remaining {
			t.Errorf("%s: %+v, %d, %v; want %d, %d", c.bytes, h, n, err, c.remaining, c.n)
		}
		if n > 0 && (h.Type != TypePublish || h.Flags != 0) {
			t.Errorf("%s: %+v", c.bytes, h)
		}
	}
}

// The first byte is judged by Table 2-2 as soon as it is there.
func TestReadHeaderFirstByte(t *testing.T) {
	for first := range 256 {
		typ, flags := Type(first>>4), first&15
		ok, ok31 := flags == 0, flags == 0
		switch typ {
		case 0:
			ok, ok31 = false, false
		case TypePublish:
			ok = flags&6 != 6 && flags&14 != 8
			ok31 = ok
		case TypePubrel, TypeSubscribe, TypeUnsubscribe:
			ok, ok31 = flags == 2, flags == 2 || flags == 10
		}
		for _, tail := range [][]byte{nil, {0}} {
			frame := append([]byte{byte(first)}, tail...)
			h, n, err := ReadHeader(frame)
			if (err == nil) != ok {
				t.Errorf("0x%02x: %v", first, err)
			}
			if n > 0 && (h.Type != typ || int(h.Flags) != flags) {
				t.Errorf("0x%02x: %+v", first, h)
			}
			if _, _, err := ReadHeaderV31(frame); (err == nil) != ok31 {
				t.Errorf("0x%02x in 3.1: %v", first, err)
			}
		}
	}
}

func TestVar(t *testing.T) {
	for v := 0; v <= MaxRemaining; v += 1 + v/97 {
		b := appendVar(nil, v)
		got, n, err := readVar(append(b, 0xAA))
		if err != nil || int(got) != v || n != len(b) || n != sizeVar(v) {
			t.Fatalf("%d is %x, which reads as %d, %d, %v; size %d", v, b, got, n, err, sizeVar(v))
		}
		// The algorithm of §1.5.5, as it stands there.
		value, multiplier := 0, 1
		for _, c := range b {
			value += int(c&127) * multiplier
			multiplier *= 128
		}
		if value != v {
			t.Fatalf("%x is %d by the specification, not %d", b, value, v)
		}
	}
	if b := appendVar(nil, MaxRemaining); !bytes.Equal(b, []byte{0xFF, 0xFF, 0xFF, 0x7F}) {
		t.Errorf("largest value is %x", b)
	}
}
