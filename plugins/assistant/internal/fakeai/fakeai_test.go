package fakeai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sashabaranov/go-openai"
)

// client is go-openai's own, as it is.
func client(t *testing.T, answer func(*Request) Reply) (*Server, *openai.Client) {
	s := New()
	t.Cleanup(s.Close)
	s.Answer = answer
	c := openai.DefaultConfig("sk-test")
	c.BaseURL = s.Base()
	return s, openai.NewClientWithConfig(c)
}

func ask(text string) openai.ChatCompletionRequest {
	return openai.ChatCompletionRequest{Model: Model, Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: text}}}
}

// stream reads an answer in pieces, with what it has ended by.
func stream(t *testing.T, c *openai.Client, r openai.ChatCompletionRequest) (m openai.ChatCompletionMessage, finish openai.FinishReason, usage *openai.Usage, err error) {
	t.Helper()
	r.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
	s, err := c.CreateChatCompletionStream(t.Context(), r)
	if err != nil {
		return m, "", nil, err
	}
	defer s.Close()
	for {
		chunk, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return m, finish, usage, nil
		}
		if err != nil {
			return m, finish, usage, err
		}
		if chunk.Usage != nil {
			usage = chunk.Usage
		}
		for _, choice := range chunk.Choices {
			m.Content += choice.Delta.Content
			m.Refusal += choice.Delta.Refusal
			if choice.FinishReason != "" {
				finish = choice.FinishReason
			}
			for _, d := range choice.Delta.ToolCalls {
				if *d.Index == len(m.ToolCalls) {
					m.ToolCalls = append(m.ToolCalls, openai.ToolCall{ID: d.ID, Type: d.Type})
				}
				f := &m.ToolCalls[*d.Index].Function
				f.Name, f.Arguments = f.Name+d.Function.Name, f.Arguments+d.Function.Arguments
			}
		}
	}
}

// go-openai's client sees the same answer whole and in pieces: words, tools and what they took.
func TestAnswers(t *testing.T) {
	_, c := client(t, func(r *Request) Reply {
		switch {
		case r.Key != "sk-test":
			return Reply{Status: 401}
		case strings.Contains(r.Last("user"), "tool") && r.Last("tool") == "":
			a := Call("add", `{"a":1,"b":2}`)
			a.Calls = append(a.Calls, Call("sub", `{}`).Calls...)
			return a
		case strings.Contains(r.Last("user"), "refuse"):
			return Reply{Refusal: "No."}
		}
		return Echo(r)
	})
	whole, err := c.CreateChatCompletion(t.Context(), ask("how are you"))
	if err != nil || whole.Choices[0].Message.Content != "You said: how are you" || whole.Choices[0].FinishReason != openai.FinishReasonStop || whole.Usage.TotalTokens == 0 {
		t.Errorf("%+v, %v", whole, err)
	}
	m, finish, usage, err := stream(t, c, ask("how are you"))
	if err != nil || m.Content != "You said: how are you" || finish != openai.FinishReasonStop || usage == nil || *usage != whole.Usage {
		t.Errorf("%+v %s %+v, %v", m, finish, usage, err)
	}
	if m, _, _, err = stream(t, c, ask("refuse")); err != nil || m.Refusal != "No." || m.Content != "" {
		t.Errorf("%+v, %v", m, err)
	}

	whole, err = c.CreateChatCompletion(t.Context(), ask("tool"))
	if err != nil {
		t.Fatal(err)
	}
	m, finish, _, err = stream(t, c, ask("tool"))
	for _, calls := range [][]openai.ToolCall{whole.Choices[0].Message.ToolCalls, m.ToolCalls} {
		if len(calls) != 2 || calls[0].Function.Name != "add" || calls[0].Function.Arguments != `{"a":1,"b":2}` || calls[0].Type != openai.ToolTypeFunction || calls[1].ID != "call-sub" {
			t.Errorf("%+v, %v", calls, err)
		}
	}
	if finish != openai.FinishReasonToolCalls || whole.Choices[0].FinishReason != finish {
		t.Errorf("%s", finish)
	}
	// Every call wants an answer before the model goes on.
	r := ask("tool")
	r.Messages = append(r.Messages, openai.ChatCompletionMessage{Role: "assistant", ToolCalls: m.ToolCalls}, openai.ChatCompletionMessage{Role: "tool", ToolCallID: "call-add", Content: "3"})
	if _, err := c.CreateChatCompletion(t.Context(), r); err == nil {
		t.Error("a call without an answer is accepted")
	}
	r.Messages = append(r.Messages, openai.ChatCompletionMessage{Role: "tool", ToolCallID: "call-sub", Content: "-1"})
	if _, err := c.CreateChatCompletion(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// What goes wrong is what go-openai's client has errors for.
func TestTrouble(t *testing.T) {
	s, c := client(t, func(r *Request) Reply {
		a := Reply{Chunks: []string{"a ", "b ", "c"}, After: 1}
		switch r.Last("user") {
		case "429":
			return Reply{Status: 429, Code: "rate_limit_exceeded", Message: "slow down", RetryAfter: "7"}
		case "500":
			return Reply{Status: 500}
		case "raw":
			a.Raw = "data: {{{\n\n"
		}
		a.Wrong = r.Last("user")
		return a
	})
	for want, question := range map[int]string{429: "429", 500: "500"} {
		_, err := c.CreateChatCompletion(t.Context(), ask(question))
		var api *openai.APIError
		if !errors.As(err, &api) || api.HTTPStatusCode != want {
			t.Errorf("%s: %v", question, err)
		}
	}
	// go-openai does not tell Retry-After.
	res, err := http.Post(s.Base()+"/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"429"}]}`))
	if err != nil || res.StatusCode != 429 || res.Header.Get("Retry-After") != "7" {
		t.Fatalf("%+v, %v", res, err)
	}
	res.Body.Close()
	for _, wrong := range []string{"cut", "raw"} {
		if m, _, _, err := stream(t, c, ask(wrong)); err == nil || !strings.HasPrefix("a b c", m.Content) {
			t.Errorf("%s: %q, %v", wrong, m.Content, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	stalled, err := c.CreateChatCompletionStream(ctx, ask("stall"))
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	text := ""
	for text != "a " {
		chunk, err := stalled.Recv()
		if err != nil {
			t.Fatal(err)
		}
		text += chunk.Choices[0].Delta.Content
	}
	cancel() // nothing more comes
	if _, err := stalled.Recv(); !errors.Is(err, context.Canceled) {
		t.Errorf("a stream that stalls: %v", err)
	}
}

func TestModerations(t *testing.T) {
	s, c := client(t, nil)
	s.Flag = func(text string) string {
		if strings.Contains(text, "bomb") {
			return "violence"
		}
		return ""
	}
	for text, want := range map[string]bool{"a bomb": true, "a flower": false} {
		res, err := c.Moderations(t.Context(), openai.ModerationRequest{Input: text})
		if err != nil || len(res.Results) != 1 || res.Results[0].Flagged != want || res.Results[0].Categories.Violence != want {
			t.Errorf("%s: %+v, %v", text, res, err)
		}
	}
}
