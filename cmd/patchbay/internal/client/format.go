package client

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/paho"
)

// maxWidth bounds field widths; a typing error must not print megabytes.
const maxWidth = 10000

// format is a compiled -F string. It is immutable.
type format struct {
	parts  []part
	pretty bool // of %j and %J
}

// part is a literal or one sequence of a format.
type part struct {
	kind      byte // 0 literal, '%' or '@'
	verb      byte
	literal   string
	width     int
	precision int // -1: none
	left      bool
	zero      bool
}

// percentVerbs are those of mosquitto_sub(1).
const percentVerbs = "%ACDEFIJPRSUXjlmpqrtx"

var escapes = map[byte]string{'\\': "\\", '0': "\x00", 'a': "\a", 'e': "\x1b", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}

// compileFormat reads the -F language of mosquitto_sub.
func compileFormat(s string, pretty bool) (*format, error) {
	f := &format{pretty: pretty}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			f.parts = append(f.parts, part{literal: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) {
				return nil, fmt.Errorf("a format cannot end with %q", `\`)
			}
			text, known := escapes[s[i]]
			if !known {
				return nil, fmt.Errorf("unknown escape %q; known are \\\\ \\0 \\a \\e \\n \\r \\t \\v", s[i-1:i+1])
			}
			literal.WriteString(text)
		case '@':
			if i++; i == len(s) {
				return nil, fmt.Errorf("a format cannot end with %q", "@")
			}
			flush()
			f.parts = append(f.parts, part{kind: '@', verb: s[i]})
		case '%':
			p, n, err := parseSequence(s[i:])
			if err != nil {
				return nil, err
			}
			flush()
			f.parts = append(f.parts, p)
			i += n - 1
		default:
			literal.WriteByte(s[i])
		}
	}
	flush()
	return f, nil
}

// parseSequence reads %[flags][width][.precision]verb at the start of s; n is its length.
func parseSequence(s string) (p part, n int, err error) {
	p = part{kind: '%', precision: -1}
	i := 1
	for ; i < len(s) && (s[i] == '-' || s[i] == '0'); i++ {
		p.left, p.zero = p.left || s[i] == '-', p.zero || s[i] == '0'
	}
	start := i
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		if p.width = p.width*10 + int(s[i]-'0'); p.width > maxWidth {
			return p, 0, fmt.Errorf("width in %q is above %d", s[:i+1], maxWidth)
		}
	}
	if i < len(s) && s[i] == '.' {
		p.precision = 0
		i++
		start = i
		for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
			if p.precision = p.precision*10 + int(s[i]-'0'); p.precision > maxWidth {
				return p, 0, fmt.Errorf("maximum width in %q is above %d", s[:i+1], maxWidth)
			}
		}
		if i == start {
			return p, 0, fmt.Errorf("%q: a number must follow the dot", s[:i])
		}
	}
	if i == len(s) {
		return p, 0, fmt.Errorf("a format cannot end with %q", s)
	}
	if p.verb = s[i]; strings.IndexByte(percentVerbs, p.verb) < 0 {
		return p, 0, fmt.Errorf("unknown sequence %q; see mosquitto_sub(1) or --help", s[:i+1])
	}
	return p, i + 1, nil
}

// append formats m, received at now. It fails for %J only, when the payload is not JSON.
func (f *format) append(dst []byte, m *paho.Publish, now time.Time) ([]byte, error) {
	var err error
	for i := range f.parts {
		switch p := &f.parts[i]; p.kind {
		case 0:
			dst = append(dst, p.literal...)
		case '@':
			dst = appendTime(dst, p.verb, now)
		default:
			if dst, err = f.appendVerb(dst, p, m, now); err != nil {
				return dst, err
			}
		}
	}
	return dst, nil
}

func (f *format) appendVerb(dst []byte, p *part, m *paho.Publish, now time.Time) ([]byte, error) {
	props := m.Properties
	switch p.verb {
	case '%':
		return append(dst, '%'), nil
	case 'A':
		return appendOptional(dst, p, props.TopicAlias), nil
	case 'C':
		return p.appendText(dst, props.ContentType), nil
	case 'D':
		return append(dst, props.CorrelationData...), nil
	case 'E':
		return appendOptional(dst, p, props.MessageExpiry), nil
	case 'F':
		return appendOptional(dst, p, props.PayloadFormat), nil
	case 'I':
		return p.appendText(dst, now.Format("2006-01-02T15:04:05-0700")), nil
	case 'j':
		return appendJSON(dst, m, now, false, f.pretty)
	case 'J':
		return appendJSON(dst, m, now, true, f.pretty)
	case 'l':
		return p.appendNumber(dst, len(m.Payload)), nil
	case 'm':
		return p.appendNumber(dst, int(m.PacketID)), nil
	case 'P':
		for i, user := range props.User {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = append(append(append(dst, user.Key...), ':'), user.Value...)
		}
		return dst, nil
	case 'p':
		return p.appendPayload(dst, m.Payload), nil
	case 'q':
		return append(dst, '0'+m.QoS), nil
	case 'R':
		return p.appendText(dst, props.ResponseTopic), nil
	case 'r':
		return append(dst, '0'+bit(m.Retain)), nil
	case 'S':
		return appendOptional(dst, p, props.SubscriptionIdentifier), nil
	case 't':
		return p.appendText(dst, m.Topic), nil
	case 'U':
		return fmt.Appendf(dst, "%d.%09d", now.Unix(), now.Nanosecond()), nil
	case 'x', 'X':
		return p.appendHex(dst, m.Payload), nil
	}
	return dst, nil
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// appendText cuts to the precision and pads with blanks, both in characters.
func (p *part) appendText(dst []byte, s string) []byte {
	if p.precision >= 0 {
		for i := range s {
			if utf8.RuneCountInString(s[:i]) == p.precision {
				s = s[:i]
				break
			}
		}
	}
	return p.pad(dst, ' ', s, utf8.RuneCountInString(s))
}

func (p *part) appendNumber(dst []byte, n int) []byte {
	s := strconv.Itoa(n)
	return p.pad(dst, p.fill(), s, len(s))
}

// appendOptional pads where there is no value, so that columns stay in line.
func appendOptional[T uint16 | uint32 | byte | int](dst []byte, p *part, value *T) []byte {
	if value == nil {
		return p.pad(dst, p.fill(), "", 0)
	}
	return p.appendNumber(dst, int(*value))
}

// appendPayload also cuts to the width, as mosquitto_sub does for %p, %x and %X.
func (p *part) appendPayload(dst, payload []byte) []byte {
	if p.width > 0 && len(payload) > p.width {
		payload = payload[:p.width]
	}
	return p.pad(dst, p.fill(), string(payload), len(payload))
}

func (p *part) appendHex(dst, payload []byte) []byte {
	if p.width > 0 && len(payload) > p.width/2 {
		// mosquitto_sub 2.0 cuts the bytes to the width first and halves what is left, so that a short
		// payload loses half of itself; we print as many whole bytes as fit.
		payload = payload[:p.width/2]
	}
	s := hex.EncodeToString(payload)
	if p.verb == 'X' {
		s = strings.ToUpper(s)
	}
	return p.pad(dst, p.fill(), s, len(s))
}

// fill is what stands left of numbers and payloads.
func (p *part) fill() byte {
	if p.zero && !p.left {
		return '0'
	}
	return ' '
}

func (p *part) pad(dst []byte, fill byte, s string, length int) []byte {
	if p.left {
		dst = append(dst, s...)
	}
	for n := length; n < p.width; n++ {
		dst = append(dst, fill)
	}
	if !p.left {
		dst = append(dst, s...)
	}
	return dst
}
