package acl

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxFilter is the most that MQTT can carry, in bytes.
const maxFilter = 65535

// checkFilter says what is wrong with a Topic Filter [MQTT-4.7.1-1] [MQTT-4.7.1-2].
func checkFilter(f string) error {
	switch {
	case f == "":
		return errors.New("a Topic Filter is not empty")
	case len(f) > maxFilter:
		return errors.New("a Topic Filter has 65,535 bytes at most")
	case !utf8.ValidString(f) || strings.Contains(f, "\x00"):
		return errors.New("a Topic Filter is UTF-8 without U+0000")
	}
	for rest, more := f, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level != "#" && level != "+" && strings.ContainsAny(level, "+#"):
			return errors.New(`"+" and "#" stand for whole levels, between slashes`)
		case level == "#" && more:
			return errors.New(`"#" is the last level`)
		}
	}
	return nil
}

func startsWild(f string) bool { return f != "" && (f[0] == '+' || f[0] == '#') }

// hidden reports whether a filter with a leading wildcard meets a topic that it does not
// match because that begins with "$" [MQTT-4.7.2-1].
func hidden(filter, other string) bool { return startsWild(filter) && strings.HasPrefix(other, "$") }

// matches reports whether a Topic Name matches a filter.
func matches(filter, name string) bool {
	if hidden(filter, name) {
		return false
	}
	for {
		f, fRest, fMore := strings.Cut(filter, "/")
		n, nRest, nMore := strings.Cut(name, "/")
		switch {
		case f == "#":
			return true
		case f != "+" && f != n:
			return false
		case !nMore:
			return !fMore || fRest == "#" // the parent level too [MQTT-4.7.1-2]
		case !fMore:
			return false
		}
		filter, name = fRest, nRest
	}
}

// covers reports whether every topic that matches inner also matches outer.
func covers(outer, inner string) bool {
	if hidden(outer, inner) {
		return false
	}
	if outer == "+/#" {
		outer = "#" // the same topics: "#" stands for no level too
	}
	for {
		o, oRest, oMore := strings.Cut(outer, "/")
		i, iRest, iMore := strings.Cut(inner, "/")
		switch {
		case o == "#":
			return true
		case i == "#", o != "+" && o != i:
			return false
		case !iMore:
			return !oMore || oRest == "#"
		case !oMore:
			return false
		}
		outer, inner = oRest, iRest
	}
}

// overlaps reports whether some topic matches both filters.
func overlaps(a, b string) bool {
	if hidden(a, b) || hidden(b, a) {
		return false
	}
	for {
		x, xRest, xMore := strings.Cut(a, "/")
		y, yRest, yMore := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case !xMore:
			return !yMore || yRest == "#"
		case !yMore:
			return xRest == "#"
		}
		a, b = xRest, yRest
	}
}
