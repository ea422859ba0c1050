package packet

import (
	"errors"
	"fmt"
)

// ErrTooLarge is wrapped by errors of the Append methods: a field is longer than
// 65,535 bytes, or the packet longer than MaxRemaining.
var ErrTooLarge = errors.New("too long for MQTT")

// sizer adds up a packet's Remaining Length before it is written, and remembers
// the first field that does not fit.
type sizer struct {
	n   int
	t   Type
	bad string
}

func (s *sizer) str(n int, field string) {
	s.n += 2 + n
	if n > maxString && s.bad == "" {
		s.bad = field
	}
}

// properties counts p with the length in front, which it returns, by the rules of
// packet of.
func (s *sizer) properties(p *Properties, of Type) (length int) {
	length, ok := p.size(of)
	if !ok && s.bad == "" {
		s.bad = "a property"
	}
	s.n += sizeVar(length) + length
	return length
}

// begin appends the Fixed Header, or returns an error that wraps ErrTooLarge and
// leaves dst as it is.
func (s *sizer) begin(dst []byte) ([]byte, error) {
	if s.bad == "" && s.n > MaxRemaining {
		s.bad = "the packet"
	}
	if s.bad != "" {
		return dst, fmt.Errorf("packet: %v: %s is %w", s.t, s.bad, ErrTooLarge)
	}
	return appendVar(append(dst, byte(s.t)<<4|requiredFlags[s.t]), s.n), nil
}
