// Package glob matches names with patterns in which "*" stands for any text, also for
// none; every other character stands for itself. There is no escape: what is matched are
// user names, client ids and groups, and who has one with a "*" lists it among others.
package glob

import "strings"

// Match reports whether pattern fits all of s. It takes time in proportion to the product
// of both lengths at worst.
func Match(pattern, s string) bool {
	first, rest, any := strings.Cut(pattern, "*")
	if !any {
		return pattern == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], after
	}
}

// Any reports whether one of the patterns fits.
func Any(patterns []string, s string) bool {
	for _, p := range patterns {
		if Match(p, s) {
			return true
		}
	}
	return false
}
