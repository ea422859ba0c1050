package permission

import (
	"errors"
	"strings"
)

// Who is what placeholders stand for.
type Who struct{ Username, ClientID string }

// value of a placeholder; EMQX writes ${clientid}.
func (w Who) value(name string) (string, bool) {
	switch name {
	case "username":
		return w.Username, true
	case "client_id", "clientid":
		return w.ClientID, true
	}
	return "", false
}

// CheckPlaceholders reports a fault in a text with placeholders.
func CheckPlaceholders(s string) error {
	for {
		_, rest, found := strings.Cut(s, "${")
		if !found {
			return nil
		}
		name, rest, closed := strings.Cut(rest, "}")
		if !closed {
			return errors.New("a ${ without closing }")
		}
		if _, ok := (Who{}).value(name); !ok {
			return errors.New("${" + name + "} is not one of ${username} and ${client_id}")
		}
		s = rest
	}
}

// Fill puts the values in. It reports false if one is empty or unknown: what should have
// been compared with it would fit too much.
func (w Who) Fill(s string) (string, bool) {
	before, rest, found := strings.Cut(s, "${")
	if !found {
		return s, true
	}
	var b strings.Builder
	for found {
		b.WriteString(before)
		name, after, _ := strings.Cut(rest, "}")
		v, ok := w.value(name)
		if !ok || v == "" {
			return "", false
		}
		b.WriteString(v)
		before, rest, found = strings.Cut(after, "${")
	}
	b.WriteString(before)
	return b.String(), true
}

// Topic is Fill for topics: values must not have a level separator or wildcard in them, or
// a client that chooses its own name would choose its topics; and they must not begin a
// topic with "$".
func (w Who) Topic(s string) (string, bool) {
	for _, v := range [...]struct {
		placeholders []string
		value        string
	}{
		{[]string{"${username}"}, w.Username}, {[]string{"${client_id}", "${clientid}"}, w.ClientID},
	} {
		for _, p := range v.placeholders {
			i := strings.Index(s, p)
			if i >= 0 && (strings.ContainsAny(v.value, "+#/\x00") || i == 0 && strings.HasPrefix(v.value, "$")) {
				return "", false
			}
		}
	}
	return w.Fill(s)
}
