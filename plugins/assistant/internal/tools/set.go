package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/glob"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Options of a Set.
type Options struct {
	Host *sdk.Host
	// Config must have been checked.
	Config *Config
	// Prefix of the assistant's topics. Tools do not publish below it.
	Prefix string
	// Assistants are patterns of the tools of each; one that is not there has all.
	Assistants map[string][]string
	// External has further tools; nil: none.
	External tool.Source
}

// Set has the tools. It is safe for concurrent use.
type Set struct {
	o      Options
	c      *Config
	h      *sdk.Host
	topics []string
	list   []*entry
	named  map[string]*entry
	desk   desk
	recent *recent
	drops  drops
}

var _ tool.Source = (*Set)(nil)

// entry is a tool.
type entry struct {
	tool.Tool
	// prepare reads the arguments and says what is to be done.
	prepare func(ctx context.Context, a *tool.Ask, args json.RawMessage) (deed, error)
	// guarded tools are for clients that may subscribe to their topic below Prefix.
	guarded bool
	timeout time.Duration
}

// deed is a call whose arguments are right.
type deed func(ctx context.Context) (tool.Result, error)

// New makes a Set.
func New(o Options) *Set {
	s := &Set{o: o, c: o.Config, h: o.Host, topics: o.Config.Topics, named: map[string]*entry{}}
	if len(s.topics) == 0 {
		s.topics = []string{"#"}
	}
	s.recent = newRecent(&s.c.Recent)
	for _, e := range append(s.reading(), append(s.operating(), s.acting()...)...) {
		if s.c.uses(e.Name) {
			s.add(e)
		}
	}
	for i := range s.c.Custom {
		s.add(s.custom(&s.c.Custom[i]))
	}
	return s
}

func (s *Set) add(e *entry) {
	if e.timeout == 0 {
		e.timeout = s.c.Timeout.Std()
	}
	s.list, s.named[e.Name] = append(s.list, e), e
}

// Longest is how long a call may take at most, the wait for a person included.
func (c *Config) Longest() time.Duration {
	longest := c.Timeout.Std()
	for i := range c.Custom {
		longest = max(longest, c.Custom[i].Timeout.Std())
	}
	if len(c.Approve) > 0 {
		longest += c.Approval.Timeout.Std()
	}
	return longest
}

// offered reports whether an assistant has a tool.
func (s *Set) offered(assistant, name string) bool {
	patterns, some := s.o.Assistants[assistant]
	return !some || glob.Any(patterns, name)
}

// List implements tool.Source: what is not for the client is not there.
func (s *Set) List(ctx context.Context, a *tool.Ask) ([]tool.Tool, error) {
	if a.ClientID == "" {
		return nil, nil
	}
	var out, guarded []tool.Tool
	for _, e := range s.list {
		switch {
		case !s.offered(a.Assistant, e.Name):
		case e.guarded:
			guarded = append(guarded, e.Tool)
		default:
			out = append(out, e.Tool)
		}
	}
	if s.o.External != nil {
		list, err := s.o.External.List(ctx, a)
		if err != nil {
			return nil, err
		}
		for _, t := range list {
			if s.named[t.Name] == nil && s.offered(a.Assistant, t.Name) {
				guarded = append(guarded, t)
			}
		}
	}
	if len(guarded) == 0 {
		return out, nil
	}
	asked := make([]sdk.Message, len(guarded))
	for i := range guarded {
		asked[i].Topic = s.guard(guarded[i].Name)
	}
	shown, err := s.screen(ctx, a, asked)
	if errors.As(err, new(*tool.Refused)) {
		return out, nil // who has gone has none of them
	}
	if err != nil {
		return nil, err
	}
	for i := range guarded {
		if shown[i] != nil {
			out = append(out, guarded[i])
		}
	}
	return out, nil
}

// guard is the topic to which who may use a tool may subscribe.
func (s *Set) guard(name string) string { return s.o.Prefix + "/tool/" + name }

// Call implements tool.Source.
func (s *Set) Call(ctx context.Context, a *tool.Ask, name string, args json.RawMessage) (tool.Result, error) {
	if a.ClientID == "" {
		return tool.Result{}, tool.Refuse("nobody asks for whom a tool could act")
	}
	if !s.offered(a.Assistant, name) {
		return tool.Result{}, tool.ErrNoTool
	}
	e := s.named[name]
	if e == nil {
		if e = s.external(name); e == nil {
			return tool.Result{}, tool.ErrNoTool
		}
	}
	if e.guarded {
		if err := s.mayRead(ctx, a, s.guard(name)); err != nil {
			return tool.Result{}, tool.Refuse("the client may not use this tool")
		}
	}
	do, err := e.prepare(ctx, a, args)
	if err != nil {
		return tool.Result{}, err
	}
	if glob.Any(s.c.DryRun, name) {
		return tool.Result{Text: "This is a dry run: nothing was done. Tell the user what would have been done.", Note: "dry run: nothing was done"}, nil
	}
	by := ""
	if glob.Any(s.c.Approve, name) {
		if by, err = s.approve(ctx, a, name, args); err != nil {
			return tool.Result{}, err
		}
		if err := s.still(ctx, a); err != nil { // it may have taken minutes
			return tool.Result{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	res, err := do(ctx)
	if by != "" {
		if res.Note == "" {
			res.Note = res.Text
		}
		res.Note = "approved by " + by + ": " + res.Note
	}
	return res, err
}

// external is a tool of others: what it does is not the broker's, so that it is guarded.
func (s *Set) external(name string) *entry {
	if s.o.External == nil {
		return nil
	}
	return &entry{
		Tool: tool.Tool{Name: name}, guarded: true, timeout: s.c.Timeout.Std(),
		prepare: func(_ context.Context, a *tool.Ask, args json.RawMessage) (deed, error) {
			var object map[string]json.RawMessage
			if err := decode(args, &object); err != nil {
				return nil, err
			}
			return func(ctx context.Context) (tool.Result, error) { return s.o.External.Call(ctx, a, name, args) }, nil
		},
	}
}

// decode reads arguments. What is unknown or wrong is told to the model.
func decode(args json.RawMessage, v any) error {
	if len(bytes.TrimSpace(args)) == 0 {
		args = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("the arguments: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the arguments: there is something behind the JSON")
	}
	return nil
}

// encode makes a result of something that can be written as JSON.
func encode(v any) (tool.Result, error) {
	b, err := json.Marshal(v)
	return tool.Result{Text: string(b)}, err
}

// screened is the most messages that the broker is asked about at once.
const screened = 200

// still refuses if the client is not any more who has asked: somebody else's connection
// with that Client Identifier may have other rights.
func (s *Set) still(ctx context.Context, a *tool.Ask) error {
	session, err := s.h.Session(ctx, a.Namespace, a.ClientID, 0)
	switch {
	case err != nil:
		return fmt.Errorf("ask who the client is: %w", err)
	case session == nil || session.Client == nil:
		return tool.Refuse("the client has gone, and so have its rights")
	case session.Client.Username != a.Username:
		return tool.Refuse("the client is not any more who has asked")
	}
	return nil
}

// screen returns what the client of an ask would be shown of messages: nil in place of
// what it may not see.
func (s *Set) screen(ctx context.Context, a *tool.Ask, list []sdk.Message) ([]*sdk.Message, error) {
	if err := s.still(ctx, a); err != nil {
		return nil, err
	}
	out := make([]*sdk.Message, 0, len(list))
	for from := 0; from < len(list); from += screened {
		part := list[from:min(from+screened, len(list))]
		results, err := s.h.Screen(ctx, a.Namespace, a.ClientID, part...)
		if err != nil {
			return nil, fmt.Errorf("ask what the client may read: %w", err)
		}
		if len(results) != len(part) {
			return nil, fmt.Errorf("ask what the client may read: %d answers for %d questions", len(results), len(part))
		}
		for i := range results {
			switch m := results[i].Message; {
			case results[i].ReasonCode >= 0x80:
				out = append(out, nil)
			case m != nil:
				out = append(out, m)
			default:
				out = append(out, &part[i])
			}
		}
	}
	return out, nil
}

// mayRead refuses what the client may not subscribe to or receive.
func (s *Set) mayRead(ctx context.Context, a *tool.Ask, topic string) error {
	shown, err := s.screen(ctx, a, []sdk.Message{{Topic: topic}})
	if err != nil {
		return err
	}
	if shown[0] == nil {
		return tool.Refuse("the client may not read the topic %s", topic)
	}
	return nil
}

// open reports whether a topic is one that tools may be used on.
func (s *Set) open(topic string) bool {
	for _, f := range s.topics {
		if bridge.Match(f, topic) {
			return true
		}
	}
	return false
}

// own reports whether a topic is the assistant's own.
func (s *Set) own(topic string) bool {
	return below(topic, s.o.Prefix) || below(topic, s.approvalTopic())
}

func below(topic, prefix string) bool {
	return topic == prefix || strings.HasPrefix(topic, prefix+"/")
}
