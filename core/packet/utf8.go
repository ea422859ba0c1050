package packet

import (
	"encoding/binary"
	"unicode/utf8"
)

// textFault is what is wrong with a UTF-8 Encoded String, "" for nothing. It is
// the end of a sentence that begins with the field's name.
type textFault string

const (
	faultNUL      textFault = "contains U+0000"
	faultUTF8     textFault = "is not well-formed UTF-8"
	faultWildcard textFault = "contains a wildcard"
)

// clause is the normative statement that faultNUL or faultUTF8 breaks.
func (f textFault) clause() string {
	if f == faultNUL {
		return "MQTT-1.5.4-2"
	}
	return "MQTT-1.5.4-1"
}

// ValidUTF8 returns nil if b may stand in a UTF-8 Encoded String (§1.5.4):
// well-formed, so without surrogates and over-long forms [MQTT-1.5.4-1], and
// without U+0000 [MQTT-1.5.4-2]. A U+FEFF is ordinary text [MQTT-1.5.4-3]. Other
// control characters and non-characters, which the specification only advises
// against, are allowed. The length is not checked. It allocates nothing for
// valid text.
func ValidUTF8(b []byte) error {
	if f := checkText(b); f != "" {
		return malformed(f.clause(), "string "+string(f))
	}
	return nil
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// zeroByte is nonzero if one of the eight bytes of w is 0, and among ASCII only
// then: a byte above 0x80 may be reported too, which callers test for in the same
// breath.
func zeroByte(w uint64) uint64 { return (w - ones) & highs }

// suspectText is nonzero if w, eight bytes of text, may hold something other than
// ASCII without U+0000.
func suspectText(w uint64) uint64 { return (w | zeroByte(w)) & highs }

// suspectTopicName is suspectText that also suspects + and #: for ASCII, a byte
// equal to c is a zero byte of w XOR c.
func suspectTopicName(w uint64) uint64 {
	return (w | zeroByte(w) | zeroByte(w^(ones*'+')) | zeroByte(w^(ones*'#'))) & highs
}

// checkText is ValidUTF8 with the fault as a value.
func checkText(b []byte) textFault {
	rest := b
	for len(rest) >= 8 {
		if suspectText(binary.LittleEndian.Uint64(rest)) != 0 {
			return checkRunes(rest, false)
		}
		rest = rest[8:]
	}
	// The tail is read together with bytes already found to be in order.
	if len(b) >= 8 && suspectText(binary.LittleEndian.Uint64(b[len(b)-8:])) == 0 {
		return ""
	}
	return checkRunes(rest, false)
}

// checkTopicName is checkText that also refuses + and #, in the same pass over
// the bytes since every PUBLISH goes through it.
func checkTopicName(b []byte) textFault {
	rest := b
	for len(rest) >= 8 {
		if suspectTopicName(binary.LittleEndian.Uint64(rest)) != 0 {
			return checkRunes(rest, true)
		}
		rest = rest[8:]
	}
	if len(b) >= 8 && suspectTopicName(binary.LittleEndian.Uint64(b[len(b)-8:])) == 0 {
		return ""
	}
	return checkRunes(rest, true)
}

// checkRunes is the slow path: the tail of a string, or one with something other
// than harmless ASCII in it.
func checkRunes(b []byte, topicName bool) textFault {
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return faultUTF8
			}
			i += n
			continue
		case c == 0:
			return faultNUL
		case topicName && (c == '+' || c == '#'):
			return faultWildcard
		}
		i++
	}
	return ""
}
