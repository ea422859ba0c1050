package assistant

import (
	"context"
	"errors"
	"strings"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/chat"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/engine"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/model"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/prompt"
)

// history is what was said before, while a question is being answered.
type history struct {
	p *plugin
	q *question
	c *chat.Conversation // nil: nothing is kept
}

// forget resets a conversation.
func (p *plugin) forget(ctx context.Context, q *question) error {
	if err := p.chats.Reset(ctx, q.chat); err != nil {
		return fault.New(fault.Internal, "the conversation could not be reset").Because(err)
	}
	return nil
}

func (p *plugin) history(ctx context.Context, q *question) (*history, error) {
	h := &history{p: p, q: q}
	if p.config.Conversations.Keep == 0 {
		return h, nil
	}
	var err error
	if h.c, err = p.chats.Load(ctx, q.chat); err != nil {
		return nil, fault.New(fault.Internal, "the conversation cannot be read").Because(err)
	}
	return h, nil
}

// messages are what was said, for the model.
func (h *history) messages(marks prompt.Marks) []openai.ChatCompletionMessage {
	if h.c == nil {
		return nil
	}
	var out []openai.ChatCompletionMessage
	if h.c.Summary != "" {
		out = append(out, userMessage(marks.Data("summary of this conversation until now", h.c.Summary)))
	}
	for _, t := range h.c.Turns {
		out = append(out, userMessage(marks.Client(t.Question)))
		if t.Answer != "" {
			out = append(out, openai.ChatCompletionMessage{Role: openai.ChatMessageRoleAssistant, Content: t.Answer})
		}
	}
	return out
}

// attempts to store a turn that another instance of the plugin gets ahead of, as it can
// while a new one takes over.
const attempts = 5

// add remembers a question and its answer. An answer is worth more than its being
// remembered: if that fails, the log knows.
func (h *history) add(ctx context.Context, q *question, answer string) {
	if h.c == nil {
		return
	}
	question := q.text
	if len(q.images) > 0 {
		question = strings.TrimSpace(question + "\n[with an image that is not kept]")
	}
	turn := chat.Turn{Question: question, Answer: answer, Tokens: model.TextTokens(question) + model.TextTokens(answer)}
	h.store(ctx, func() { h.c.Turns = append(h.c.Turns, turn) })
}

// store changes the conversation as it is stored.
func (h *history) store(ctx context.Context, change func()) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	for n := 0; ; n++ {
		change()
		err := h.p.chats.Save(ctx, h.q.chat, h.c)
		if err == nil {
			return
		}
		if errors.Is(err, chat.ErrChanged) && n < attempts {
			var c *chat.Conversation
			if c, err = h.p.chats.Load(ctx, h.q.chat); err == nil {
				h.c = c
				continue
			}
		}
		h.p.log.Warn("a conversation could not be stored", "ask", h.q.ask.ID, "assistant", h.q.ask.Assistant, "client", h.q.ask.ClientID, "error", err)
		h.c = nil
		return
	}
}

// What is asked of the model for a summary.
const (
	summaryTask   = "Summarise the conversation that you are given as data, in at most 200 words, so that it can be continued: what was asked, what was answered, names, numbers and wishes that matter. Answer with the summary alone."
	summaryTokens = 400
)

// shorten makes a full conversation smaller.
func (h *history) shorten(ctx context.Context) {
	o := &h.p.config.Conversations
	if h.c == nil {
		return
	}
	limits := chat.Limits{Turns: o.MaxTurns, Tokens: o.MaxTokens}
	n := h.c.Full(limits)
	if n == 0 {
		return
	}
	version := len(h.c.Turns)
	summary := ""
	if o.WhenFull == "summary" {
		summary = h.summarise(ctx, n)
	}
	h.store(ctx, func() {
		if n := min(n, max(0, len(h.c.Turns)-version+n)); n > 0 { // another may have folded it
			h.c.Fold(n, summary, model.TextTokens(summary))
		}
	})
}

// summarise has the model make a summary of the oldest n turns; "" if that cannot be had.
func (h *history) summarise(ctx context.Context, n int) string {
	var b strings.Builder
	if h.c.Summary != "" {
		b.WriteString("Before that: " + h.c.Summary + "\n")
	}
	for _, t := range h.c.Turns[:n] {
		b.WriteString("Client: " + t.Question + "\nAssistant: " + t.Answer + "\n")
	}
	text := b.String()
	// What the model cannot read it cannot sum up: the end matters most.
	if most := h.p.config.Conversations.MaxTokens * 3; len(text) > most {
		text = strings.ToValidUTF8(text[len(text)-most:], "")
	}
	marks := prompt.New()
	a, err := h.p.engine.Complete(ctx, &engine.Request{
		Ask: h.q.ask, Marks: marks, System: summaryTask, MaxOutput: summaryTokens,
		Messages: []openai.ChatCompletionMessage{userMessage(marks.Data("conversation", text))},
	})
	if err != nil {
		h.p.log.Info("a conversation was shortened without a summary", "ask", h.q.ask.ID, "assistant", h.q.ask.Assistant, "error", err)
		return ""
	}
	return a.Text
}
