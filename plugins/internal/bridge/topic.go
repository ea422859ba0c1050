package bridge

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTopic is the most that MQTT can carry, in bytes.
const maxTopic = 65535

// CheckFilter says what is wrong with a Topic Filter [MQTT-4.7.1-1] [MQTT-4.7.1-2].
func CheckFilter(f string) error {
	if err := checkText("Topic Filter", f); err != nil {
		return err
	}
	if strings.HasPrefix(f, "$share/") {
		return fmt.Errorf("%q: a Shared Subscription is not possible here", f)
	}
	for rest, more := f, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level != "#" && level != "+" && strings.ContainsAny(level, "+#"):
			return fmt.Errorf(`%q: "+" and "#" stand for whole levels, between slashes`, f)
		case level == "#" && more:
			return fmt.Errorf(`%q: "#" is the last level`, f)
		}
	}
	return nil
}

// CheckTopic says what is wrong with a Topic Name [MQTT-3.3.2-2].
func CheckTopic(t string) error {
	if err := checkText("Topic Name", t); err != nil {
		return err
	}
	if strings.ContainsAny(t, "+#") {
		return fmt.Errorf("%q: a Topic Name has no wildcards", t)
	}
	return nil
}

func checkText(what, s string) error {
	switch {
	case s == "":
		return errors.New("a " + what + " is not empty")
	case len(s) > maxTopic:
		return errors.New("a " + what + " has 65,535 bytes at most")
	case !utf8.ValidString(s) || strings.Contains(s, "\x00"):
		return errors.New("a " + what + " is UTF-8 without U+0000")
	}
	return nil
}

// Match reports whether a Topic Name matches a valid Topic Filter.
func Match(filter, name string) bool {
	if name != "" && name[0] == '$' && filter != "" && filter[0] != '$' {
		return false // [MQTT-4.7.2-1]; a literal that begins otherwise would not match either
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
