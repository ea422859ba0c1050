package assistant

import (
	"context"
	"encoding/base64"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/engine"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/prompt"
)

// answer brings a question from its turn to its answer.
func (p *plugin) answer(ctx context.Context, q *question) {
	if q.reset {
		if err := p.forget(ctx, q); err != nil {
			p.refuse(ctx, q, err)
			return
		}
		if q.text == "" {
			p.confirm(ctx, q)
			return
		}
	}
	h, err := p.history(ctx, q)
	if err != nil {
		p.refuse(ctx, q, err)
		return
	}
	r := &engine.Request{
		Ask: q.ask, Marks: prompt.New(), Format: q.format, Temperature: q.temperature, MaxOutput: q.maxOutput,
		Moderate: q.text, Tools: p.tools,
	}
	r.Messages = h.messages(r.Marks)
	if err := p.addQuestion(ctx, q, r); err != nil {
		p.refuse(ctx, q, err)
		return
	}
	var s *streamer
	if q.stream {
		s = &streamer{p: p, q: q, every: p.config.Answers.StreamInterval.Std()}
		r.Part = func(text string) error { return s.part(ctx, text) }
	}
	a, err := p.engine.Complete(ctx, r)
	if s != nil {
		s.end(ctx, a.Finish, err)
	}
	if err != nil {
		p.fail(ctx, q, err)
		return
	}
	h.add(ctx, q, a.Text)
	p.tell(ctx, q, a)
	h.shorten(ctx)
}

// confirm tells that a conversation was forgotten.
func (p *plugin) confirm(ctx context.Context, q *question) {
	body := encode(&answerBody{ID: q.ask.ID, Conversation: q.ask.Conversation, Reset: true})
	if err := p.send(ctx, q, "", "ok", typeJSON, body, false); err != nil {
		p.undelivered(ctx, q, err)
	}
}

// addQuestion adds what the client says to a request: always as data in messages of the
// user, whatever it calls itself.
func (p *plugin) addQuestion(ctx context.Context, q *question, r *engine.Request) error {
	if q.system != "" {
		r.Moderate = q.system + "\n" + r.Moderate
		r.Messages = append(r.Messages, userMessage(r.Marks.Client("How the client would like to be answered: "+q.system)))
	}
	m := userMessage(r.Marks.Client(q.text))
	if len(q.images) > 0 {
		m.MultiContent, m.Content = []openai.ChatMessagePart{{Type: openai.ChatMessagePartTypeText, Text: m.Content}}, ""
	}
	for _, i := range q.images {
		if i.topic != "" {
			data, contentType, err := p.readRetained(ctx, q.ask, i.topic)
			if err != nil {
				return err
			}
			i.url = "data:" + contentType + ";base64," + base64.StdEncoding.EncodeToString(data)
			if err := checkDataURL(i.url); err != nil {
				return fault.New(fault.BadRequest, "the topic %s has no image: its Content Type is %q", cut(i.topic, 200), cut(contentType, 50))
			}
		}
		m.MultiContent = append(m.MultiContent, openai.ChatMessagePart{
			Type: openai.ChatMessagePartTypeImageURL, ImageURL: &openai.ChatMessageImageURL{URL: i.url},
		})
	}
	r.Messages = append(r.Messages, m)
	return nil
}

func userMessage(text string) openai.ChatCompletionMessage {
	return openai.ChatCompletionMessage{Role: openai.ChatMessageRoleUser, Content: text}
}
