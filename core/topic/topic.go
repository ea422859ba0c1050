package topic

import (
	"strings"
	"unicode/utf8"
)

// MaxLen is the longest Topic Name or Topic Filter, in bytes [MQTT-4.7.3-3].
const MaxLen = 65535

// Error says why a Topic Name or Topic Filter is not valid. The values below are
// all there are; compare with errors.Is or ==.
type Error byte

// What can be wrong with a Topic Name or Topic Filter.
const (
	ErrEmpty       Error = iota + 1 // [MQTT-4.7.3-1]
	ErrTooLong                      // [MQTT-4.7.3-3]
	ErrNUL                          // [MQTT-4.7.3-2]
	ErrUTF8                         // [MQTT-1.5.4-1]
	ErrWildcard                     // a wildcard in a Topic Name [MQTT-3.3.2-2]
	ErrMultiLevel                   // # not alone in the last level [MQTT-4.7.1-1]
	ErrSingleLevel                  // + not alone in its level [MQTT-4.7.1-2]
	ErrShareName                    // ShareName empty or with a wildcard [MQTT-4.8.2-1, MQTT-4.8.2-2]
	ErrShareFilter                  // no Topic Filter after the ShareName [MQTT-4.8.2-2]
)

// Error returns the reason with the clause of the specification.
func (e Error) Error() string {
	switch e {
	case ErrEmpty:
		return "topic: empty [MQTT-4.7.3-1]"
	case ErrTooLong:
		return "topic: longer than 65,535 bytes [MQTT-4.7.3-3]"
	case ErrNUL:
		return "topic: contains U+0000 [MQTT-4.7.3-2]"
	case ErrUTF8:
		return "topic: not well-formed UTF-8 [MQTT-1.5.4-1]"
	case ErrWildcard:
		return "topic: wildcard in a topic name [MQTT-3.3.2-2]"
	case ErrMultiLevel:
		return "topic: # must be the last level on its own [MQTT-4.7.1-1]"
	case ErrSingleLevel:
		return "topic: + must be a level on its own [MQTT-4.7.1-2]"
	case ErrShareName:
		return "topic: share name empty or with a wildcard [MQTT-4.8.2-1]"
	case ErrShareFilter:
		return "topic: no topic filter after the share name [MQTT-4.8.2-2]"
	}
	return "topic: invalid"
}

// ValidName returns nil if t is a Topic Name that a PUBLISH may carry, else an
// Error.
func ValidName(t []byte) error { return validName(t, utf8.Valid(t)) }

// ValidNameString is ValidName for a string.
func ValidNameString(t string) error { return validName(t, utf8.ValidString(t)) }

func validName[T ~string | ~[]byte](t T, isUTF8 bool) error {
	if err := validText(t, isUTF8); err != 0 {
		return err
	}
	for i := range len(t) {
		if t[i] == '+' || t[i] == '#' {
			return ErrWildcard
		}
	}
	return nil
}

// validText checks what holds for names and filters alike. It returns 0 for text
// that is in order.
func validText[T ~string | ~[]byte](t T, isUTF8 bool) Error {
	switch {
	case len(t) == 0:
		return ErrEmpty
	case len(t) > MaxLen:
		return ErrTooLong
	case !isUTF8:
		return ErrUTF8
	}
	for i := range len(t) {
		if t[i] == 0 {
			return ErrNUL
		}
	}
	return 0
}

// ValidFilter returns nil if f is a Topic Filter, else an Error. It does not look
// into `$share/…`, which is valid as it stands; see ParseFilter.
func ValidFilter(f string) error {
	if err := validText(f, utf8.ValidString(f)); err != 0 {
		return err
	}
	for i := range len(f) {
		switch f[i] {
		case '#':
			if i != len(f)-1 || (i > 0 && f[i-1] != '/') {
				return ErrMultiLevel
			}
		case '+':
			if (i > 0 && f[i-1] != '/') || (i < len(f)-1 && f[i+1] != '/') {
				return ErrSingleLevel
			}
		}
	}
	return nil
}

// SharePrefix begins the Topic Filter of a Shared Subscription.
const SharePrefix = "$share/"

// Filter is a Topic Filter taken apart.
type Filter struct {
	Group  string // the ShareName, "" if not Shared
	Filter string // what Topic Names are matched against
	Shared bool
}

// ParseFilter validates s and takes `$share/{ShareName}/{filter}` apart
// [MQTT-4.8.2-1, MQTT-4.8.2-2]. The result keeps substrings of s. Errors are of
// type Error.
func ParseFilter(s string) (Filter, error) {
	if err := ValidFilter(s); err != nil {
		// The filter behind a ShareName is judged with the whole: a wildcard
		// is misplaced in both or in neither, except one in the ShareName.
		return Filter{}, err
	}
	rest, shared := strings.CutPrefix(s, SharePrefix)
	if !shared {
		return Filter{Filter: s}, nil
	}
	group, filter, ok := strings.Cut(rest, "/")
	switch {
	case group == "" || strings.ContainsAny(group, "+#"):
		return Filter{}, ErrShareName
	case !ok || filter == "":
		return Filter{}, ErrShareFilter
	}
	return Filter{Group: group, Filter: filter, Shared: true}, nil
}

// Levels returns the number of levels in a name or filter: one more than it has
// separators, since a level may be empty.
func Levels(t string) int { return strings.Count(t, "/") + 1 }

// HasWildcard reports whether the filter has a wildcard. f must be valid.
func HasWildcard(f string) bool { return strings.ContainsAny(f, "+#") }

// Match reports whether a valid Topic Filter, without a `$share/…/` in front,
// matches a valid Topic Name. It allocates nothing and takes time linear in the
// shorter of the two. A leading wildcard does not match a name that begins with $
// [MQTT-4.7.2-1].
func Match(filter, name string) bool {
	if name != "" && name[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		if filter == "#" {
			return true
		}
		f, filterRest, filterMore := strings.Cut(filter, "/")
		n, nameRest, nameMore := strings.Cut(name, "/")
		if f != "+" && f != n {
			return false
		}
		if !nameMore {
			// "sport/#" also matches its parent level, "sport".
			return !filterMore || filterRest == "#"
		}
		if !filterMore {
			return false
		}
		filter, name = filterRest, nameRest
	}
}
