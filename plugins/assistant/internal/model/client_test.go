package model

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

const wait = time.Minute

// settings are quick ones for a server.
func settings(s *fakeai.Server) Settings {
	return Settings{
		BaseURL: s.Base(), Key: "sk-secret", Transport: &http.Transport{}, FirstToken: wait, Idle: wait, Retries: 3,
		RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond,
	}
}

func server(t *testing.T) *fakeai.Server {
	s := fakeai.New()
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, s Settings) *Client {
	c := New(s)
	t.Cleanup(c.Close)
	return c
}

func ask(text string) openai.ChatCompletionRequest {
	return openai.ChatCompletionRequest{Model: fakeai.Model, Messages: []openai.ChatCompletionMessage{{Role: "user", Content: text}}}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(cancel)
	return ctx
}

// Both ways to answer bring the same.
func TestAnswer(t *testing.T) {
	s := server(t)
	for _, whole := range []bool{false, true} {
		o := settings(s)
		o.Whole = whole
		var parts []string
		got, err := client(t, o).Chat(within(t), ask("how are you"), func(p string) error { parts = append(parts, p); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if got.Text != "You said: how are you" || strings.Join(parts, "") != got.Text || got.Finish != "stop" ||
			got.In != 4 || got.Out != 5 || got.Estimated || got.FirstToken <= 0 {
			t.Errorf("whole %t: %+v, parts %q", whole, got, parts)
		}
	}
	if r := s.Requests()[0]; r.Key != "sk-secret" || !r.Stream || s.Requests()[1].Stream {
		t.Errorf("%+v", r)
	}
}

func TestToolCalls(t *testing.T) {
	s := server(t)
	s.Answer = func(*fakeai.Request) fakeai.Reply {
		a := fakeai.Call("publish", `{"topic":"a/b","payload":"21"}`)
		a.Calls = append(a.Calls, fakeai.Call("read", `{}`).Calls...)
		return a
	}
	for _, whole := range []bool{false, true} {
		o := settings(s)
		o.Whole = whole
		got, err := client(t, o).Chat(within(t), ask("do it"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Calls) != 2 || got.Calls[0].Function.Arguments != `{"topic":"a/b","payload":"21"}` || got.Calls[0].ID != "call-publish" ||
			got.Calls[1].Function.Name != "read" || got.Finish != "tool_calls" {
			t.Errorf("whole %t: %+v", whole, got)
		}
	}
}

// Everything that goes wrong before the first piece is tried again, if that may help.
func TestTrouble(t *testing.T) {
	busy := fakeai.Reply{Status: 429, RetryAfter: "0.001", Message: "slow down"}
	for _, c := range []struct {
		name    string
		replies []fakeai.Reply // then an answer
		code    fault.Code     // "": an answer
		tries   int
	}{
		{"429", []fakeai.Reply{busy, busy}, "", 3},
		{"429 without end", []fakeai.Reply{busy, busy, busy, busy, busy}, fault.UpstreamRate, 4},
		{"no quota", []fakeai.Reply{{Status: 429, Code: "insufficient_quota"}}, fault.UpstreamRate, 1},
		{"500", []fakeai.Reply{{Status: 500}, {Status: 503, Message: "x"}}, "", 3},
		{"500 without end", []fakeai.Reply{{Status: 500}, {Status: 500}, {Status: 500}, {Status: 500}}, fault.Unavailable, 4},
		{"wrong key", []fakeai.Reply{{Status: 401, Message: "Incorrect API key provided: sk-secret"}}, fault.UpstreamDeny, 1},
		{"bad request", []fakeai.Reply{{Status: 400, Message: "bad"}}, fault.UpstreamDeny, 1},
		{"too long", []fakeai.Reply{{Status: 400, Code: "context_length_exceeded"}}, fault.TooLarge, 1},
		{"redirect", []fakeai.Reply{{Status: 302, Message: "elsewhere"}}, fault.UpstreamDeny, 1},
		{"filtered", []fakeai.Reply{{Finish: openai.FinishReasonContentFilter}}, fault.Filtered, 1},
		{"refused", []fakeai.Reply{{Refusal: "I will not."}}, fault.Filtered, 1},
		{"silent", []fakeai.Reply{{First: wait}}, "", 2},
		{"stalls", []fakeai.Reply{{Chunks: []string{"a"}, Wrong: "stall"}}, "", 2},
		{"cut", []fakeai.Reply{{Chunks: []string{"a"}, Wrong: "cut"}}, "", 2},
		{"ends early", []fakeai.Reply{{Chunks: []string{"a"}, Wrong: "raw", Raw: "data: [DONE]\n\n"}}, "", 2},
		{"malformed", []fakeai.Reply{{Chunks: []string{"a"}, Wrong: "raw", Raw: "data: {\"choices\": [{\n\n"}}, "", 2},
		{"wrong type", []fakeai.Reply{{Chunks: []string{"a"}, Wrong: "raw", Raw: "data: {\"choices\": 7}\n\n"}}, "", 2},
		{"error inside", []fakeai.Reply{{Chunks: []string{"a"}, Wrong: "raw", Raw: "data: {\"error\":{\"message\":\"overloaded\"}}\n\n"}}, "", 2},
		{"wild index", []fakeai.Reply{{Chunks: []string{"a"}, Wrong: "raw", Raw: "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":7}]}}]}\n\n"}}, "", 2},
		{"endless comments", []fakeai.Reply{{Chunks: []string{"a"}, Wrong: "raw", Raw: strings.Repeat(": ping\n\n", maxEmpty)}}, "", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			s.Answer = func(r *fakeai.Request) fakeai.Reply {
				if r.N <= len(c.replies) {
					return c.replies[r.N-1]
				}
				return fakeai.Text("at last")
			}
			o := settings(s)
			if c.name == "silent" || c.name == "stalls" {
				o.FirstToken, o.Idle = 300*time.Millisecond, 300*time.Millisecond
			}
			got, err := client(t, o).Chat(within(t), ask("x"), nil)
			switch {
			case c.code == "" && (err != nil || got.Text != "at last"):
				t.Errorf("%+v, %v", got, err)
			case c.code != "" && !fault.Is(err, c.code):
				t.Errorf("%v in place of %s", err, c.code)
			case err != nil && strings.Contains(err.Error(), "sk-secret"):
				t.Errorf("the key is told: %v", err)
			}
			// A loaded machine may be silent once more.
			if n := len(s.Requests()); n != c.tries && o.Idle == wait {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// Once a piece has been passed on, there is no second attempt.
func TestInterrupted(t *testing.T) {
	for _, wrong := range []fakeai.Reply{
		{Chunks: []string{"a ", "b ", "c "}, Wrong: "cut", After: 2},
		{Chunks: []string{"a ", "b ", "c "}, Wrong: "stall", After: 2},
		{Chunks: []string{"a ", "b ", "c "}, Wrong: "raw", Raw: "data: }\n\n", After: 2},
	} {
		s := server(t)
		s.Answer = func(*fakeai.Request) fakeai.Reply { return wrong }
		o := settings(s)
		o.Idle = 300 * time.Millisecond
		var parts []string
		got, err := client(t, o).Chat(within(t), ask("x"), func(p string) error { parts = append(parts, p); return nil })
		if !fault.Is(err, fault.Interrupted) || strings.Join(parts, "") != "a b " || len(s.Requests()) != 1 {
			t.Errorf("%s: %v, %q, %d requests", wrong.Wrong, err, parts, len(s.Requests()))
		}
		if got.Out == 0 || !got.Estimated {
			t.Errorf("%s: what was used up is not known: %+v", wrong.Wrong, got)
		}
	}
}

// An error of the caller's ends the call and comes back.
func TestPartFails(t *testing.T) {
	s := server(t)
	gone := fault.New(fault.Internal, "nobody listens")
	_, err := client(t, settings(s)).Chat(within(t), ask("a b c"), func(string) error { return gone })
	if !errors.Is(err, gone) || len(s.Requests()) != 1 {
		t.Error(err)
	}
}

func TestDeadline(t *testing.T) {
	s := server(t)
	s.Answer = func(*fakeai.Request) fakeai.Reply { return fakeai.Reply{First: wait} }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client(t, settings(s)).Chat(ctx, ask("x"), nil); !fault.Is(err, fault.Timeout) {
		t.Error(err)
	}
	// Retry-After past the deadline: no use in waiting.
	s = server(t)
	s.Answer = func(*fakeai.Request) fakeai.Reply { return fakeai.Reply{Status: 429, RetryAfter: "3600"} }
	began := time.Now()
	_, err := client(t, settings(s)).Chat(within(t), ask("x"), nil)
	if !fault.Is(err, fault.UpstreamRate) || fault.Of(err).RetryAfter != time.Hour || time.Since(began) > wait/2 {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := client(t, settings(s)).Chat(ctx, ask("x"), nil); !fault.Is(err, fault.Stopping) {
		t.Error(err)
	}
}

func TestBreaker(t *testing.T) {
	s := server(t)
	bad := true
	s.Answer = func(r *fakeai.Request) fakeai.Reply {
		if bad {
			return fakeai.Reply{Status: 500}
		}
		return fakeai.Text("well again")
	}
	o := settings(s)
	o.Retries, o.BreakerFailures, o.BreakerPause = 0, 3, time.Hour
	c := client(t, o)
	for range 3 {
		if _, err := c.Chat(within(t), ask("x"), nil); !fault.Is(err, fault.Unavailable) {
			t.Fatal(err)
		}
	}
	_, err := c.Chat(within(t), ask("x"), nil)
	if !fault.Is(err, fault.Unavailable) || fault.Of(err).RetryAfter < time.Minute || len(s.Requests()) != 3 || c.Health() == nil {
		t.Errorf("an open breaker: %v, %d requests, %v", err, len(s.Requests()), c.Health())
	}
	bad = false
	c.breaker.until = time.Now() // the pause is over
	if _, err := c.Chat(within(t), ask("x"), nil); err != nil || c.Health() != nil {
		t.Error(err, c.Health())
	}
}

func TestNobodyThere(t *testing.T) {
	s := fakeai.New()
	s.Close()
	o := settings(s)
	var again int
	c := client(t, o)
	c.Retried = func(error) { again++ }
	if _, err := c.Chat(within(t), ask("x"), nil); !fault.Is(err, fault.Unavailable) || again != 3 {
		t.Error(err, again)
	}
}

func TestModerate(t *testing.T) {
	s := server(t)
	s.Flag = func(text string) string {
		if strings.Contains(text, "bad") {
			return "violence"
		}
		return ""
	}
	c := client(t, settings(s))
	for text, want := range map[string]string{"good": "", "bad": "violence"} {
		unwanted, why, err := c.Moderate(within(t), "", text)
		if err != nil || unwanted != (want != "") || why != want {
			t.Errorf("%s: %t, %q, %v", text, unwanted, why, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "0.5": 500 * time.Millisecond, "-1": 0, "x": 0, "NaN": 0, "1e300": 0,
		"Tue, 01 Jan 2030 00:01:00 GMT": time.Minute, "Mon, 31 Dec 2029 00:01:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("%q: %s", v, got)
		}
	}
	if got := retryAfter(http.Header{"Retry-After": {"7"}, "Retry-After-Ms": {"120"}}, now); got != 120*time.Millisecond {
		t.Error(got)
	}
}

// Reasoning models get what they take, and others all.
func TestAdapt(t *testing.T) {
	for model, whole := range map[string]bool{"gpt-4o-mini": true, "llama3": true, "o3-mini": false, "gpt-5-nano": false} {
		r := openai.ChatCompletionRequest{Model: model, MaxCompletionTokens: 100, Temperature: Temperature(0)}
		adapt(&r)
		if (r.Temperature > 0) != whole || (r.MaxCompletionTokens == 100) == whole {
			t.Errorf("%s: %+v", model, r)
		}
	}
}

// Whatever a server streams, a call ends with an answer or an error that has a code.
func FuzzStream(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"))
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"x\"}}]}}]}\n\n"))
	f.Add([]byte("data: {\"error\":{\"message\":[1]}}\n"))
	f.Add([]byte("<html>"))
	f.Add([]byte("data:\n\n: \ndata: null\ndata: [DONE]"))
	body := &script{}
	c := New(Settings{BaseURL: "http://fake/v1", Transport: body, FirstToken: wait, Idle: wait})
	f.Fuzz(func(t *testing.T, b []byte) {
		body.text = string(b)
		got, err := c.Chat(t.Context(), ask("x"), func(string) error { return nil })
		if err == nil && got.Finish == "" || err != nil && fault.Of(err).Code == fault.Internal {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// script is an http.RoundTripper that answers always the same.
type script struct{ text string }

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(s.text)), Request: r}, nil
}
