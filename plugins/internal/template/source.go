package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Scope is what templates know beside the message. It is immutable while in use.
type Scope struct {
	// Plugin, Route and Node are the names of the bridge, its route, and the broker.
	Plugin, Route, Node string
	// Codec says what the variable payload is.
	Codec Codec
}

// Source is what a template reads: a message with its publisher. Reset makes it another
// one's. It is for one goroutine, and valid as long as the message is.
type Source struct {
	Scope   *Scope
	Message *sdk.Message
	Client  *sdk.Client

	parsed bool
	json   any
	err    error
}

var (
	noClient sdk.Client
	noScope  Scope
)

// Reset has s read another message. A nil client is an unknown one.
func (s *Source) Reset(scope *Scope, m *sdk.Message, c *sdk.Client) {
	if c == nil {
		c = &noClient
	}
	if scope == nil {
		scope = &noScope
	}
	*s = Source{Scope: scope, Message: m, Client: c}
}

// errNoJSON is said of payloads that a template looks into.
var errNoJSON = errors.New("the payload is no JSON")

// document returns the payload as JSON, parsed once; numbers are json.Number.
func (s *Source) document() (any, error) {
	if s.parsed {
		return s.json, s.err
	}
	s.parsed = true
	d := json.NewDecoder(bytes.NewReader(s.Message.Payload))
	d.UseNumber()
	if err := d.Decode(&s.json); err != nil {
		s.err = errNoJSON
	} else if _, err := d.Token(); err != io.EOF {
		s.json, s.err = nil, errNoJSON
	}
	return s.json, s.err
}

// at walks a path; nil if it leads nowhere.
func at(v any, path []step) any {
	for _, s := range path {
		if s.name != "" {
			m, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			v = m[s.name]
			continue
		}
		list, ok := v.([]any)
		i := s.index
		if i < 0 {
			i += len(list)
		}
		if !ok || i < 0 || i >= len(list) {
			return nil
		}
		v = list[i]
	}
	return v
}

// level returns a level of a topic, from 1, or from the end with -1.
func level(topic string, n int) (string, bool) {
	if n < 0 {
		n += strings.Count(topic, "/") + 2
	}
	if n < 1 {
		return "", false
	}
	for ; n > 1; n-- {
		_, rest, ok := strings.Cut(topic, "/")
		if !ok {
			return "", false
		}
		topic = rest
	}
	first, _, _ := strings.Cut(topic, "/")
	return first, true
}

// rest returns the levels of a topic from the n-th on.
func rest(topic string, n int) (string, bool) {
	if n < 0 {
		n = max(n+strings.Count(topic, "/")+2, 1)
	}
	for ; n > 1; n-- {
		_, after, ok := strings.Cut(topic, "/")
		if !ok {
			return "", false
		}
		topic = after
	}
	return topic, true
}
