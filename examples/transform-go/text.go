package transform

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// source is what ${…} is filled in from.
type source struct {
	topic  string
	levels []string
	client *sdk.Client
}

// text is a text with placeholders, split into parts.
type text []part

// part is literal, or if value is set a placeholder.
type part struct {
	literal string
	value   func(*source) string
}

// names are the placeholders, ${topic[n]} aside.
var names = map[string]func(*source) string{
	"topic":     func(s *source) string { return s.topic },
	"client_id": func(s *source) string { return s.client.ClientID },
	"username":  func(s *source) string { return s.client.Username },
	"time":      func(*source) string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00") },
}

// parse splits a text into parts.
func parse(s string) (t text, err error) {
	for s != "" {
		literal, rest, found := strings.Cut(s, "${")
		if literal != "" {
			t = append(t, part{literal: literal})
		}
		if !found {
			return t, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("has ${%s without a }", rest)
		}
		value, ok := names[name]
		if level, is := strings.CutPrefix(name, "topic["); is {
			value, ok = topicLevel(strings.TrimSuffix(level, "]"))
		}
		if !ok {
			return nil, fmt.Errorf("has ${%s}; there are ${topic}, ${topic[1]} and so on, ${client_id}, ${username}, ${time}", name)
		}
		t, s = append(t, part{value: value}), after
	}
	return t, nil
}

// topicLevel is ${topic[n]}: the n-th level, from 1, empty where the topic has not as many.
func topicLevel(number string) (func(*source) string, bool) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return nil, false
	}
	return func(s *source) string {
		if n > len(s.levels) {
			return ""
		}
		return s.levels[n-1]
	}, true
}

// fill fills the text in.
func (t text) fill(from *source) string {
	var b strings.Builder
	for i := range t {
		if t[i].value != nil {
			b.WriteString(t[i].value(from))
		} else {
			b.WriteString(t[i].literal)
		}
	}
	return b.String()
}
