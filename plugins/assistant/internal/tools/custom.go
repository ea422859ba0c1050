package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Payload is the template of a payload: of JSON if it looks like it, else of text. It is
// a type for a config.
type Payload struct {
	template.Template
	json bool
}

// UnmarshalText compiles a template.
func (p *Payload) UnmarshalText(b []byte) error {
	if text := bytes.TrimSpace(b); len(text) == 0 || text[0] != '{' && text[0] != '[' {
		t, err := template.ParseText(string(b))
		p.Template = t.Template
		return err
	}
	t, err := template.ParseJSON(string(b))
	p.Template, p.json = t.Template, true
	return err
}

// custom makes a tool of what the operator has written.
func (s *Set) custom(c *Custom) *entry {
	return &entry{
		Tool:    tool.Tool{Name: c.Name, Description: c.Description, Parameters: c.Parameters.parameters()},
		timeout: c.Timeout.Std(),
		prepare: func(_ context.Context, a *tool.Ask, args json.RawMessage) (deed, error) { return s.order(c, a, args) },
	}
}

// order makes a message of arguments.
func (s *Set) order(c *Custom, a *tool.Ask, args json.RawMessage) (deed, error) {
	if len(bytes.TrimSpace(args)) == 0 {
		args = json.RawMessage("{}")
	}
	if err := c.Parameters.check(args); err != nil {
		return nil, err
	}
	var from template.Source
	from.Reset(nil, &sdk.Message{Payload: args, Namespace: a.Namespace}, &sdk.Client{ClientID: a.ClientID, Username: a.Username, Namespace: a.Namespace})
	topic, err := topicOf(&c.Topic, &from)
	if err != nil {
		return nil, fmt.Errorf("the topic: %w", err)
	}
	if err := s.mayWrite(topic); err != nil {
		return nil, err
	}
	m := &sdk.Message{Topic: topic, Payload: args, QoS: uint32(c.QoS), Retain: c.Retain, PayloadFormat: 1}
	if c.Payload.json || c.Payload.Empty() {
		m.ContentType = "application/json"
	}
	if !c.Payload.Empty() {
		if m.Payload, err = c.Payload.Append(nil, &from); err != nil {
			return nil, fmt.Errorf("the payload: %w", err)
		}
	}
	if !c.waits() {
		return s.sending(a, m), nil
	}
	on, private := s.o.Prefix+replyLevel+secret(), true
	if c.Response != nil {
		if on, err = topicOf(c.Response, &from); err != nil {
			return nil, fmt.Errorf("the response topic: %w", err)
		}
		private = false
	}
	return func(ctx context.Context) (tool.Result, error) { return s.exchange(ctx, a, m, on, private) }, nil
}

// topicOf fills a template of a topic in. What is filled in is a part of a level: it begins
// no other, and is no wildcard.
func topicOf(t *template.Text, from *template.Source) (string, error) {
	topic, err := t.Text(from)
	if err != nil {
		return "", err
	}
	want, got := strings.Split(placeholder.ReplaceAllString(t.String(), "x"), "/"), strings.Split(topic, "/")
	if len(want) != len(got) || strings.ContainsAny(topic, "+#\x00") {
		return "", tool.Refuse("an argument in a topic has no \"/\", \"+\" or \"#\": %q", topic)
	}
	for i := range got {
		if got[i] == "" && want[i] != "" {
			return "", tool.Refuse("an argument in a topic is not empty: %q", topic)
		}
	}
	return topic, nil
}
