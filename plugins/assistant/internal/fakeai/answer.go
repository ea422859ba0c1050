package fakeai

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sashabaranov/go-openai"
)

// answering is a request on its way to its end.
type answering struct {
	Reply
	w  http.ResponseWriter
	r  *http.Request
	in *Request
}

func (a *answering) serve() {
	if !a.pause(a.First) {
		return
	}
	if a.Status != 0 && a.Status != http.StatusOK {
		if a.RetryAfter != "" {
			a.w.Header().Set("Retry-After", a.RetryAfter)
		}
		refuse(a.w, a.Status, a.Code, a.Message)
		return
	}
	if a.Finish == "" {
		a.Finish = openai.FinishReasonStop
		if len(a.Calls) > 0 {
			a.Finish = openai.FinishReasonToolCalls
		}
	}
	if a.in.Stream {
		a.stream()
	} else {
		a.whole()
	}
}

// pause waits, and reports whether the client is still there.
func (a *answering) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-a.r.Context().Done():
		return false
	}
}

func (a *answering) usage() openai.Usage {
	in := 0
	for _, m := range a.in.Messages {
		in += len(strings.Fields(m.Content)) + 1
		for _, p := range m.MultiContent {
			in += len(strings.Fields(p.Text))
		}
	}
	return openai.Usage{PromptTokens: in, CompletionTokens: len(a.Chunks), TotalTokens: in + len(a.Chunks)}
}

func (a *answering) whole() {
	switch a.Wrong {
	case "stall":
		<-a.r.Context().Done()
		return
	case "cut":
		panic(http.ErrAbortHandler)
	case "raw":
		fmt.Fprint(a.w, a.Raw)
		return
	}
	res := openai.ChatCompletionResponse{ID: "chatcmpl-1", Object: "chat.completion", Model: Model, Choices: []openai.ChatCompletionChoice{{
		Message: openai.ChatCompletionMessage{
			Role: openai.ChatMessageRoleAssistant, Content: strings.Join(a.Chunks, ""), ToolCalls: a.Calls, Refusal: a.Refusal,
		},
		FinishReason: a.Finish,
	}}}
	if !a.NoUsage {
		res.Usage = a.usage()
	}
	a.w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(a.w).Encode(res) // the client has gone
}

func (a *answering) stream() {
	a.w.Header().Set("Content-Type", "text/event-stream")
	deltas := []openai.ChatCompletionStreamChoiceDelta{{Role: openai.ChatMessageRoleAssistant}}
	for _, c := range a.Chunks {
		deltas = append(deltas, openai.ChatCompletionStreamChoiceDelta{Content: c})
	}
	for i, c := range a.Calls { // the arguments in two pieces, as servers send them
		half := len(c.Function.Arguments) / 2
		for j, text := range []string{c.Function.Arguments[:half], c.Function.Arguments[half:]} {
			d := openai.ToolCall{Index: &i, Function: openai.FunctionCall{Arguments: text}}
			if j == 0 {
				d.ID, d.Type, d.Function.Name = c.ID, c.Type, c.Function.Name
			}
			deltas = append(deltas, openai.ChatCompletionStreamChoiceDelta{ToolCalls: []openai.ToolCall{d}})
		}
	}
	if a.Refusal != "" {
		deltas = append(deltas, openai.ChatCompletionStreamChoiceDelta{Refusal: a.Refusal})
	}
	for i := range deltas {
		if a.Wrong != "" && i == a.After+1 {
			a.goWrong()
			if a.Wrong == "stall" || a.r.Context().Err() != nil {
				return
			}
		}
		if i > 0 && !a.pause(a.Between) {
			return
		}
		a.send(openai.ChatCompletionStreamResponse{Choices: []openai.ChatCompletionStreamChoice{{Delta: deltas[i]}}})
	}
	a.send(openai.ChatCompletionStreamResponse{Choices: []openai.ChatCompletionStreamChoice{{FinishReason: a.Finish}}})
	if a.in.StreamOptions != nil && a.in.StreamOptions.IncludeUsage && !a.NoUsage {
		u := a.usage()
		a.send(openai.ChatCompletionStreamResponse{Choices: []openai.ChatCompletionStreamChoice{}, Usage: &u})
	}
	fmt.Fprint(a.w, "data: [DONE]\n\n")
}

func (a *answering) goWrong() {
	switch a.Wrong {
	case "stall":
		<-a.r.Context().Done()
	case "cut":
		panic(http.ErrAbortHandler)
	case "raw":
		fmt.Fprint(a.w, a.Raw)
		a.flush()
	}
}

func (a *answering) send(r openai.ChatCompletionStreamResponse) {
	r.ID, r.Object, r.Model = "chatcmpl-1", "chat.completion.chunk", Model
	b, err := json.Marshal(&r)
	if err != nil {
		panic(err) // go-openai's own types
	}
	fmt.Fprintf(a.w, "data: %s\n\n", b)
	a.flush()
}

func (a *answering) flush() {
	if f, ok := a.w.(http.Flusher); ok {
		f.Flush()
	}
}
