package authcert

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"
)

// fingerprint is the SHA-256 of a certificate in DER.
type fingerprint [sha256.Size]byte

// pin says who the holder of one certificate is. It is immutable.
type pin struct {
	username, clientID, namespace string
	groups, clientIDs             []string
	deny                          bool
	where                         string // for messages
}

// parseFingerprint reads hexadecimal digits, with or without colons between bytes.
func parseFingerprint(s string) (f fingerprint, err error) {
	digits := s
	if rest, ok := strings.CutPrefix(s, "sha256:"); ok {
		digits = rest
	}
	if len(digits) == 3*len(f)-1 {
		for i := 2; i < len(digits); i += 3 {
			if digits[i] != ':' {
				return f, errFingerprint
			}
		}
		digits = strings.ReplaceAll(digits, ":", "")
	}
	if len(digits) != 2*len(f) {
		return f, errFingerprint
	}
	if _, err := hex.Decode(f[:], []byte(digits)); err != nil {
		return f, errFingerprint
	}
	return f, nil
}

var errFingerprint = errors.New("a fingerprint is the SHA-256 of a certificate, 64 hexadecimal digits with or without colons")

// pin adds a pin to those that a policy has.
func (p *policy) pin(f fingerprint, x *pin) error {
	if other := p.pins[f]; other != nil {
		return fmt.Errorf("the certificate is at %s already", other.where)
	}
	p.pins[f] = x
	return nil
}

// fault says what is wrong with a pin; "" if it is well.
func (x *pin) fault() string {
	switch {
	case x.deny && (x.username != "" || x.clientID != "" || x.namespace != "" || x.groups != nil || x.clientIDs != nil):
		return "a certificate that is refused has nothing else"
	case x.deny:
		return ""
	case !isName(x.username):
		return "the user name is missing, or not UTF-8 without U+0000"
	}
	for _, g := range x.groups {
		if !isGroup(g) {
			return fmt.Sprintf("%q: a group has a name without commas, and without blanks at its ends", g)
		}
	}
	return ""
}

// isGroup reports whether a text can be a group: groups are told as a list with commas.
func isGroup(s string) bool {
	return isName(s) && strings.TrimSpace(s) == s && !strings.Contains(s, ",")
}

// with returns the policy with the pins of a file too. Errors name the line.
func (p *policy) with(content []byte) (*policy, error) {
	out := *p
	out.pins = maps.Clone(p.pins)
	line := 0
	for raw := range bytes.Lines(content) {
		line++
		f, x, err := parseLine(string(raw))
		if err == nil && x != nil {
			x.where = fmt.Sprintf("%s:%d", p.file, line)
			err = out.pin(f, x)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", p.file, line, err)
		}
	}
	return &out, nil
}

// parseLine reads a line of the file:
//
//	FINGERPRINT USERNAME [namespace=NAME] [client_id=ID] [groups=A,B]
//	!FINGERPRINT
//
// It returns nil for comments and blank lines.
func parseLine(s string) (f fingerprint, x *pin, err error) {
	words := strings.Fields(s)
	if len(words) == 0 || words[0][0] == '#' {
		return f, nil, nil
	}
	if !utf8.ValidString(s) {
		return f, nil, errors.New("it is not UTF-8")
	}
	digits, deny := strings.CutPrefix(words[0], "!")
	if f, err = parseFingerprint(digits); err != nil {
		return f, nil, err
	}
	x = &pin{deny: deny}
	for i, w := range words[1:] {
		if i == 0 {
			x.username = w
			continue
		}
		name, value, _ := strings.Cut(w, "=")
		switch {
		case name == "namespace" && value != "" && x.namespace == "":
			x.namespace = value
		case name == "client_id" && value != "" && x.clientID == "":
			x.clientID = value
		case name == "groups" && value != "" && x.groups == nil:
			x.groups = strings.Split(value, ",")
		default:
			return f, nil, fmt.Errorf("%q is none of namespace=NAME, client_id=ID and groups=A,B, each once", w)
		}
	}
	if why := x.fault(); why != "" {
		return f, nil, errors.New(why)
	}
	return f, x, nil
}
