package model

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sashabaranov/go-openai"
)

const (
	// maxAnswer bounds an answer's text, and the arguments of its calls, in bytes.
	maxAnswer = 1 << 20
	// maxCalls bounds the tool calls of one answer.
	maxCalls = 64
	// maxEmpty is how many lines without data, as comments that keep a connection open, may
	// come between two pieces.
	maxEmpty = 10_000
)

// What an endpoint can do wrong with status 200.
var (
	errStalled  = errors.New("the endpoint has gone silent")
	errCut      = errors.New("the stream has ended before the answer has")
	errTooLong  = errors.New("the answer is too long")
	errNoChoice = errors.New("the response has no choice")
)

// refusedError is the model's or the endpoint's no to the content.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// attempt is one request to the endpoint.
type attempt struct {
	c       *Client
	request openai.ChatCompletionRequest
	part    func(string) error
	out     *Completion
	began   time.Time
	passed  bool // something was given to part, so that the request cannot be made again

	text     strings.Builder
	refusal  strings.Builder
	calls    []openai.ToolCall
	size     int
	finish   openai.FinishReason
	usage    *openai.Usage
	answered bool
}

// partError is what part has returned.
type partError struct{ error }

func (e *partError) Unwrap() error { return e.error }

// run makes the request, and books what it has used up, also if it fails.
func (a *attempt) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(a.c.s.FirstToken, func() { cancel(errStalled) })
	defer watch.Stop()
	var err error
	if a.c.s.Whole {
		watch.Stop() // the first piece is the last one, too
		err = a.whole(ctx)
	} else {
		err = a.stream(ctx, watch)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.As(err, new(*partError)) {
		err = cause // what the transport says of it is less
	}
	a.book()
	if err == nil {
		err = a.verdict()
	}
	if err != nil {
		return err
	}
	a.out.Text, a.out.Calls, a.out.Finish = a.text.String(), a.calls, string(a.finish)
	return nil
}

func (a *attempt) stream(ctx context.Context, watch *time.Timer) error {
	a.request.Stream = true
	if !a.c.s.NoUsage {
		a.request.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
	}
	s, err := a.c.api.CreateChatCompletionStream(ctx, a.request)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		chunk, err := s.Recv()
		watch.Reset(a.c.s.Idle)
		if errors.Is(err, io.EOF) {
			switch {
			case a.finish != "":
				return nil
			case a.answered:
				return errCut
			}
			return errNoChoice
		}
		if err != nil {
			if a.finish != "" {
				return nil // all has come but the mark of its end
			}
			return err
		}
		if err := a.chunk(&chunk); err != nil {
			return err
		}
	}
}

func (a *attempt) chunk(r *openai.ChatCompletionStreamResponse) error {
	a.answered = true
	if r.Usage != nil {
		a.usage = r.Usage
	}
	for i := range r.Choices {
		choice := &r.Choices[i]
		if choice.Index != 0 {
			continue
		}
		if choice.FinishReason != "" && choice.FinishReason != openai.FinishReasonNull {
			a.finish = choice.FinishReason
		}
		d := &choice.Delta
		a.refusal.WriteString(d.Refusal)
		if a.size += len(d.Content) + len(d.Refusal); a.size > maxAnswer {
			return errTooLong
		}
		for j := range d.ToolCalls {
			if err := a.call(&d.ToolCalls[j]); err != nil {
				return err
			}
		}
		if err := a.say(d.Content); err != nil {
			return err
		}
	}
	return nil
}

// say passes text on.
func (a *attempt) say(text string) error {
	if text == "" {
		return nil
	}
	if a.out.FirstToken == 0 {
		a.out.FirstToken = time.Since(a.began)
	}
	a.text.WriteString(text)
	if a.part == nil {
		return nil
	}
	a.passed = true
	if err := a.part(text); err != nil {
		return &partError{err}
	}
	return nil
}

// call adds a piece of a tool call.
func (a *attempt) call(d *openai.ToolCall) error {
	if a.out.FirstToken == 0 {
		a.out.FirstToken = time.Since(a.began)
	}
	at := len(a.calls)
	switch {
	case d.Index != nil:
		at = *d.Index
	case d.ID == "" && at > 0:
		at-- // some servers number the first piece only
	}
	if at < 0 || at > len(a.calls) || at >= maxCalls {
		return errors.New("the response numbers its tool calls wrongly")
	}
	if at == len(a.calls) {
		a.calls = append(a.calls, openai.ToolCall{Type: openai.ToolTypeFunction, ID: "call_" + strconv.Itoa(at)})
	}
	c := &a.calls[at]
	if d.ID != "" {
		c.ID = d.ID
	}
	c.Function.Name += d.Function.Name
	c.Function.Arguments += d.Function.Arguments
	if a.size += len(d.Function.Name) + len(d.Function.Arguments); a.size > maxAnswer {
		return errTooLong
	}
	return nil
}

func (a *attempt) whole(ctx context.Context) error {
	r, err := a.c.api.CreateChatCompletion(ctx, a.request)
	if err != nil {
		return err
	}
	a.answered = true
	if r.Usage.TotalTokens > 0 {
		a.usage = &r.Usage
	}
	if len(r.Choices) == 0 {
		return errNoChoice
	}
	choice := &r.Choices[0]
	a.finish = choice.FinishReason
	if a.finish == "" {
		a.finish = openai.FinishReasonStop
	}
	a.refusal.WriteString(choice.Message.Refusal)
	for i := range choice.Message.ToolCalls {
		c := choice.Message.ToolCalls[i]
		c.Index = nil
		if err := a.call(&c); err != nil {
			return err
		}
	}
	return a.say(choice.Message.Content)
}

// verdict tells an answer from a refusal.
func (a *attempt) verdict() error {
	switch {
	case a.finish == openai.FinishReasonContentFilter:
		return &refusedError{"the model's endpoint has filtered the answer"}
	case a.refusal.Len() > 0 && a.text.Len() == 0:
		return &refusedError{"the model refuses: " + a.refusal.String()}
	}
	return nil
}

// book adds what was used up: as the endpoint says, or if it does not, by estimate.
func (a *attempt) book() {
	if a.usage != nil {
		a.out.In += max(0, a.usage.PromptTokens)
		a.out.Out += max(0, a.usage.CompletionTokens)
		return
	}
	if !a.answered {
		return // it has refused, or not been there
	}
	a.out.Estimated = true
	a.out.In += Tokens(&a.request)
	a.out.Out += textTokens(a.size)
}

// adapt has a request fit its model: reasoning models refuse a temperature, and all
// others know the limit of an answer by its older name.
func adapt(r *openai.ChatCompletionRequest) {
	for _, prefix := range []string{"o1", "o3", "o4", "gpt-5", "gpt-6"} {
		if strings.HasPrefix(r.Model, prefix) {
			r.Temperature = 0
			return
		}
	}
	//lint:ignore SA1019 other servers than OpenAI's know this name alone
	r.MaxTokens, r.MaxCompletionTokens = r.MaxCompletionTokens, 0
}

// coldest stands for a temperature of 0, which go-openai leaves out. It is as good as 0, and
// large enough to divide by: with the smallest float32 llama.cpp answers noise.
const coldest = 0.001

// Temperature is a temperature as a request has it.
func Temperature(t float64) float32 { return float32(max(t, coldest)) }
