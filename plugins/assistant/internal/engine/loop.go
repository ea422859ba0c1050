package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/budget"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/model"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
)

// loop is one request on its way to its answer. It is for one goroutine.
type loop struct {
	e      *Engine
	a      *Assistant
	r      *Request
	answer *Answer

	request openai.ChatCompletionRequest
	known   map[string]bool // tools that were offered
	text    strings.Builder
	first   bool // the first piece was measured
}

func (l *loop) run(ctx context.Context) error {
	if err := l.moderate(ctx, l.r.Moderate); err != nil {
		return err
	}
	if err := l.prepare(ctx); err != nil {
		return err
	}
	for round := 0; ; round++ {
		c, err := l.ask(ctx, round)
		if err != nil {
			return err
		}
		if len(c.Calls) == 0 {
			l.answer.Finish = c.Finish
			break
		}
		if round >= l.a.ToolRounds || l.answer.ToolCalls+len(c.Calls) > l.a.ToolCalls {
			return l.enough(c.Calls)
		}
		l.request.Messages = append(l.request.Messages, openai.ChatCompletionMessage{
			Role: openai.ChatMessageRoleAssistant, Content: c.Text, ToolCalls: c.Calls,
		})
		for i := range c.Calls {
			l.answer.ToolCalls++
			l.request.Messages = append(l.request.Messages, openai.ChatCompletionMessage{
				Role: openai.ChatMessageRoleTool, ToolCallID: c.Calls[i].ID, Content: l.call(ctx, &c.Calls[i].Function),
			})
		}
		if err := ctx.Err(); err != nil {
			return ended(err)
		}
	}
	return l.finish(ctx)
}

// ended is the error for a context that has ended.
func ended(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Timeout, "there was no whole answer in time").Because(err)
	}
	return fault.New(fault.Stopping, "the assistant is being stopped").Because(err)
}

// prepare makes the request of the first round.
func (l *loop) prepare(ctx context.Context) error {
	system := l.a.System
	if l.r.System != "" {
		system += "\n\n" + l.r.System
	}
	system = strings.TrimSpace(system + "\n\n" + l.r.Marks.Rule())
	l.request = openai.ChatCompletionRequest{
		Model: l.a.Model, MaxCompletionTokens: l.a.MaxOutput, ResponseFormat: l.r.Format, ReasoningEffort: l.a.ReasoningEffort,
		Messages: append([]openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleSystem, Content: system}}, l.r.Messages...),
	}
	if l.r.MaxOutput > 0 {
		l.request.MaxCompletionTokens = min(l.r.MaxOutput, l.a.MaxOutput)
	}
	if t := l.r.Temperature; t != nil {
		l.request.Temperature = model.Temperature(*t)
	} else if t := l.a.Temperature; t != nil {
		l.request.Temperature = model.Temperature(*t)
	}
	if l.r.Tools == nil {
		return nil
	}
	list, err := l.r.Tools.List(ctx, l.r.Ask)
	if err != nil {
		return fmt.Errorf("list tools: %w", err)
	}
	l.known = map[string]bool{}
	for _, t := range list {
		l.known[t.Name] = true
		l.request.Tools = append(l.request.Tools, openai.Tool{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
			Name: t.Name, Description: t.Description, Parameters: t.Parameters,
		}})
	}
	return nil
}

// scopes are the accounts of the request.
func (l *loop) scopes() []budget.Scope {
	ask := l.r.Ask
	list := []budget.Scope{
		{Kind: "assistant", Name: l.a.Name, Limits: l.a.Limits},
		{Kind: "namespace", Name: ask.Namespace, Limits: l.e.o.Namespace},
	}
	if ask.Automation == "" {
		list = append(list, budget.Scope{Kind: "client", Name: ask.Namespace + "\x00" + ask.ClientID, Limits: l.e.o.Client})
	}
	return append(list, l.r.Scopes...)
}

// ask makes one request, within the budget.
func (l *loop) ask(ctx context.Context, round int) (*model.Completion, error) {
	in := model.Tokens(&l.request)
	if l.a.MaxInput > 0 && in > l.a.MaxInput {
		return nil, fault.New(fault.TooLarge, "the model would have to read some %d tokens, and may read %d", in, l.a.MaxInput)
	}
	requests := 1
	if round > 0 {
		requests = 0
	}
	res, err := l.e.book.Reserve(ctx, l.scopes(), requests, in+l.request.MaxCompletionTokens, l.a.Price.of(in, l.request.MaxCompletionTokens))
	if err != nil {
		return nil, err
	}
	l.trace("request", l.request.Messages[len(l.request.Messages)-1].Content)
	c, err := l.a.Client.Chat(ctx, l.request, l.part())
	cost := l.a.Price.of(c.In, c.Out)
	if err != nil && c.In+c.Out == 0 {
		res.Settle(0, 0) // the request counts all the same
	} else {
		res.Settle(c.In+c.Out, cost)
	}
	l.answer.In += c.In
	l.answer.Out += c.Out
	l.answer.Cost += cost
	if c.FirstToken > 0 && !l.first {
		l.first = true
		l.e.meters.first.Set(c.FirstToken.Seconds(), label("assistant", l.a.Name))
	}
	if err != nil {
		return nil, err
	}
	l.trace("response", c.Text)
	if c.Text != "" {
		if l.text.Len() > 0 {
			l.text.WriteString(between)
		}
		l.text.WriteString(c.Text)
	}
	return c, nil
}

// between stands between what the model says before and after it has called a tool.
const between = "\n\n"

// part is what the model's text is given to as it comes; nil if nobody may see it before
// it is whole.
func (l *loop) part() func(string) error {
	if l.r.Part == nil || l.outputModerated() {
		return nil
	}
	begun := l.text.Len() == 0
	return func(s string) error {
		if !begun {
			begun = true
			s = between + s
		}
		return l.r.Part(s)
	}
}

func (l *loop) outputModerated() bool { return l.a.Moderation != nil && l.a.Moderation.Output }

// finish is what there is to do when the answer is there.
func (l *loop) finish(ctx context.Context) error {
	text := l.text.String()
	if l.outputModerated() {
		if err := l.moderate(ctx, text); err != nil {
			return err
		}
		if l.r.Part != nil && text != "" {
			if err := l.r.Part(text); err != nil {
				return err
			}
		}
	}
	l.answer.Text = text
	return nil
}

func (l *loop) moderate(ctx context.Context, text string) error {
	m := l.a.Moderation
	if m == nil || text == "" {
		return nil
	}
	unwanted, why, err := m.Client.Moderate(ctx, m.Model, text)
	switch {
	case err != nil && m.Open:
		l.e.o.Host.Logger().Warn("a text was not looked at by the moderation", "assistant", l.a.Name, "error", err)
		return nil
	case err != nil:
		return fault.New(fault.Unavailable, "the moderation cannot be asked").Because(err)
	case unwanted && why != "":
		return fault.New(fault.Moderated, "the moderation refuses this: %s", why)
	case unwanted:
		return fault.New(fault.Moderated, "the moderation refuses this")
	}
	return nil
}

// enough refuses calls past the limit, and with them the question.
func (l *loop) enough(calls []openai.ToolCall) error {
	for i := range calls {
		f := &calls[i].Function
		l.wrote(&tool.Event{Ask: l.r.Ask, Tool: f.Name, Arguments: f.Arguments, Outcome: tool.Denied, Result: "past the limit of calls for one question"})
	}
	return fault.New(fault.ToolLimit, "the model went on calling tools")
}

// wrote counts an event and has it written down.
func (l *loop) wrote(ev *tool.Event) {
	name := ev.Tool
	if !l.known[name] {
		name = "unknown" // the model may invent names without end
	}
	l.e.meters.calls.Add(1, label("assistant", l.a.Name), label("tool", name), label("outcome", ev.Outcome))
	if l.e.o.Audit != nil {
		l.e.o.Audit(ev)
	}
}

// call calls a tool and returns what the model is told.
func (l *loop) call(ctx context.Context, f *openai.FunctionCall) string {
	ev := &tool.Event{Ask: l.r.Ask, Tool: f.Name, Arguments: f.Arguments, Outcome: tool.Done}
	began := time.Now()
	var res tool.Result
	err := error(tool.ErrNoTool)
	if l.known[f.Name] {
		ctx, cancel := context.WithTimeout(ctx, l.a.ToolTimeout)
		res, err = l.r.Tools.Call(ctx, l.r.Ask, f.Name, json.RawMessage(f.Arguments))
		cancel()
	}
	ev.Milliseconds = time.Since(began).Milliseconds()
	text, source := res.Text, "tool "+f.Name
	ev.Result = res.Note
	if ev.Result == "" {
		ev.Result = text
	}
	if err != nil {
		switch {
		case errors.As(err, new(*tool.Refused)):
			ev.Outcome = tool.Denied
		case errors.Is(err, tool.ErrNoTool):
			ev.Outcome = tool.Unknown
		default:
			ev.Outcome = tool.Failed
		}
		ev.Result = err.Error()
		text = ev.Outcome + ": " + err.Error()
	}
	if n := l.a.ToolResult; n > 0 && len(text) > n {
		text = strings.ToValidUTF8(text[:n], "") + "\n(cut after " + fmt.Sprint(n) + " bytes)"
	}
	l.wrote(ev)
	return l.r.Marks.Data(source, text)
}

func (l *loop) trace(what, text string) {
	if l.e.o.Trace != nil {
		l.e.o.Trace(l.r.Ask, what, text)
	}
}
