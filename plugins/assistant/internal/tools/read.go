package tools

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// defaultLimit and maxLimit are how many messages, topics or clients a call shows.
	defaultLimit, maxLimit = 20, 100
	// maxScreened is the size at which the broker is asked about messages, in bytes.
	maxScreened = 8 << 20
	// maxLooked is at how many retained messages a call looks.
	maxLooked = 2000
)

// filterArgs are the arguments of reading tools.
type filterArgs struct {
	TopicFilter string `json:"topic_filter"`
	Limit       int    `json:"limit"`
}

const filterSchema = `{"type":"object","properties":{"topic_filter":{"type":"string","description":"MQTT Topic Filter, + and # allowed"},` +
	`"limit":{"type":"integer","minimum":1,"maximum":100}},"required":["topic_filter"],"additionalProperties":false}`

// read reads filterArgs.
func (f *filterArgs) read(args json.RawMessage) error {
	if err := decode(args, f); err != nil {
		return err
	}
	if err := bridge.CheckFilter(f.TopicFilter); err != nil {
		return fmt.Errorf("topic_filter: %w", err)
	}
	f.Limit = limited(f.Limit)
	return nil
}

func limited(n int) int {
	if n <= 0 {
		return defaultLimit
	}
	return min(n, maxLimit)
}

// reading are the tools that read topics.
func (s *Set) reading() []*entry {
	by := func(look func(context.Context, *tool.Ask, filterArgs) (tool.Result, error)) func(context.Context, *tool.Ask, json.RawMessage) (deed, error) {
		return func(ctx context.Context, a *tool.Ask, args json.RawMessage) (deed, error) {
			var f filterArgs
			if err := f.read(args); err != nil {
				return nil, err
			}
			if !wild(f.TopicFilter) {
				if !s.open(f.TopicFilter) {
					return nil, tool.Refuse("tools are not used on the topic %s here", f.TopicFilter)
				}
				if err := s.mayRead(ctx, a, f.TopicFilter); err != nil {
					return nil, err
				}
			}
			return func(ctx context.Context) (tool.Result, error) { return look(ctx, a, f) }, nil
		}
	}
	return []*entry{
		{
			Tool: tool.Tool{Name: readRetained, Description: "Reads retained messages: the last known value of each topic that matches.", Parameters: json.RawMessage(filterSchema)},
			prepare: by(func(ctx context.Context, a *tool.Ask, f filterArgs) (tool.Result, error) {
				return s.retained(ctx, a, f, s.open)
			}),
		},
		{
			Tool:    tool.Tool{Name: readRecent, Description: "Reads the messages that were published lately on topics that match, newest first.", Parameters: json.RawMessage(filterSchema)},
			prepare: by(s.readRecent),
		},
		{
			Tool:    tool.Tool{Name: listTopics, Description: "Lists the topics that match and have a retained message or a recent one.", Parameters: json.RawMessage(filterSchema)},
			prepare: by(s.listTopics),
		},
		{
			Tool: tool.Tool{Name: brokerMetrics, Description: "Reads the broker's figures: clients, messages, bytes, load, memory, by topic below $SYS/broker.", Parameters: noParameters},
			prepare: func(_ context.Context, a *tool.Ask, args json.RawMessage) (deed, error) {
				if err := decode(args, &struct{}{}); err != nil {
					return nil, err
				}
				all := func(string) bool { return true }
				return func(ctx context.Context) (tool.Result, error) {
					return s.retained(ctx, a, filterArgs{TopicFilter: "$SYS/broker/#", Limit: maxLooked}, all)
				}, nil
			},
		},
	}
}

func wild(filter string) bool {
	for i := range len(filter) {
		if filter[i] == '+' || filter[i] == '#' {
			return true
		}
	}
	return false
}

// shown is a message as the model is told.
type shown struct {
	Topic       string `json:"topic"`
	Payload     string `json:"payload"`
	Base64      bool   `json:"base64,omitempty"`
	Cut         bool   `json:"cut,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	At          string `json:"at,omitempty"`
}

// describe makes a message what the model is told, its payload cut.
func (s *Set) describe(m *sdk.Message) shown {
	out := shown{Topic: m.Topic, ContentType: m.ContentType}
	if m.ReceivedMs > 0 {
		out.At = time.UnixMilli(m.ReceivedMs).UTC().Format(time.RFC3339)
	}
	p := m.Payload
	out.Cut = int(m.PayloadSize) > len(p)
	if most := int(s.c.Recent.MaxPayload); len(p) > most {
		p, out.Cut = p[:most], true
		for len(p) > 0 && !utf8.RuneStart(m.Payload[len(p)]) {
			p = p[:len(p)-1]
		}
	}
	if out.Payload = string(p); !utf8.Valid(p) {
		out.Payload, out.Base64 = base64.StdEncoding.EncodeToString(p), true
	}
	return out
}

// messages is the result of a tool that reads.
type messages struct {
	Messages []shown `json:"messages"`
	// More says that there is more than the limit.
	More bool `json:"more,omitempty"`
}

// result tells the audit how much the client was not shown. The model does not learn
// that there is something.
func (l *messages) result(withheld int) (tool.Result, error) {
	r, err := encode(l)
	if withheld > 0 {
		r.Note = fmt.Sprintf("%d withheld, which the client may not read: %s", withheld, r.Text)
	}
	return r, err
}

// retained reads retained messages of topics that are open.
func (s *Set) retained(ctx context.Context, a *tool.Ask, f filterArgs, open func(topic string) bool) (tool.Result, error) {
	out, withheld := messages{Messages: []shown{}}, 0
	err := s.look(ctx, a, f.TopicFilter, sdk.FieldPayload|sdk.FieldProperties, open, func(m *sdk.Message) bool {
		switch {
		case m == nil:
			withheld++
		case len(out.Messages) == f.Limit:
			out.More = true
			return false
		default:
			out.Messages = append(out.Messages, s.describe(m))
		}
		return true
	})
	if err != nil {
		return tool.Result{}, err
	}
	return out.result(withheld)
}

// look shows retained messages to fn, as the client may see them and nil for those that it
// may not, until fn returns false.
func (s *Set) look(ctx context.Context, a *tool.Ask, filter string, fields sdk.Field, open func(string) bool, fn func(*sdk.Message) bool) error {
	var part []sdk.Message
	show := func() (more bool, err error) {
		list, err := s.screen(ctx, a, part)
		part = part[:0]
		for _, m := range list {
			if !fn(m) {
				return false, err
			}
		}
		return true, err
	}
	looked, size := 0, 0
	for m, err := range s.h.Retained(ctx, sdk.RetainedRequest{Namespace: a.Namespace, TopicFilter: filter, Fields: uint32(fields), PageSize: screened}) {
		if err != nil {
			return fmt.Errorf("read retained messages: %w", err)
		}
		if looked++; looked > maxLooked {
			break
		}
		if !open(m.Topic) {
			continue
		}
		one := *m
		one.Retain = true
		size += len(m.Payload)
		if part = append(part, one); len(part) == screened || size > maxScreened {
			size = 0
			if more, err := show(); err != nil || !more {
				return err
			}
		}
	}
	_, err := show()
	return err
}

// readRecent reads what was published lately.
func (s *Set) readRecent(ctx context.Context, a *tool.Ask, f filterArgs) (tool.Result, error) {
	list := slices.DeleteFunc(s.recent.find(a.Namespace, f.TopicFilter), func(m sdk.Message) bool { return !s.open(m.Topic) })
	slices.SortStableFunc(list, func(x, y sdk.Message) int { return int(y.ReceivedMs - x.ReceivedMs) })
	out, withheld := messages{Messages: []shown{}}, 0
	for from := 0; from < len(list) && !out.More; from += screened {
		part, err := s.screen(ctx, a, list[from:min(from+screened, len(list))])
		if err != nil {
			return tool.Result{}, err
		}
		for _, m := range part {
			switch {
			case m == nil:
				withheld++
			case len(out.Messages) == f.Limit:
				out.More = true
			default:
				out.Messages = append(out.Messages, s.describe(m))
			}
		}
	}
	return out.result(withheld)
}

// listTopics lists topics with something on them.
func (s *Set) listTopics(ctx context.Context, a *tool.Ask, f filterArgs) (tool.Result, error) {
	topics, withheld := map[string]bool{}, 0
	note := func(m *sdk.Message) bool {
		if m == nil {
			withheld++
		} else {
			topics[m.Topic] = true
		}
		return true
	}
	if err := s.look(ctx, a, f.TopicFilter, 0, s.open, note); err != nil {
		return tool.Result{}, err
	}
	var list []sdk.Message
	for _, t := range s.recent.topics(a.Namespace, f.TopicFilter) {
		if s.open(t) && !topics[t] {
			list = append(list, sdk.Message{Topic: t})
		}
	}
	part, err := s.screen(ctx, a, list)
	if err != nil {
		return tool.Result{}, err
	}
	for _, m := range part {
		note(m)
	}
	all := make([]string, 0, len(topics))
	for t := range topics {
		all = append(all, t)
	}
	slices.Sort(all)
	r, err := encode(map[string]any{"topics": all[:min(len(all), f.Limit)], "more": len(all) > f.Limit})
	if withheld > 0 {
		r.Note = fmt.Sprintf("%d withheld, which the client may not read: %s", withheld, r.Text)
	}
	return r, err
}

// One reads the retained message of a topic as a client may: its payload and Content Type.
func (s *Set) One(ctx context.Context, a *tool.Ask, topic string) (*sdk.Message, error) {
	if a.ClientID == "" {
		return nil, tool.Refuse("nobody asks for whom a topic could be read")
	}
	if err := bridge.CheckTopic(topic); err != nil {
		return nil, err
	}
	if err := s.mayRead(ctx, a, topic); err != nil {
		return nil, err
	}
	var found *sdk.Message
	err := s.look(ctx, a, topic, sdk.FieldPayload|sdk.FieldProperties, func(string) bool { return true }, func(m *sdk.Message) bool {
		found = m
		return false
	})
	return found, err
}
