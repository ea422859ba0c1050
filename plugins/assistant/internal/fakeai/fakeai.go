// Package fakeai is an OpenAI-compatible server for tests: chat completions, streamed and
// whole, with tool calls, and moderations; and all that goes wrong with a real one: 429
// with Retry-After, 5xx, silence, a stream that is cut, chunks that cannot be read. Its
// requests and responses are go-openai's own types.
//
// Entry points: New, and Server.Answer, which says what becomes of each request. Command
// cmd/fakeai is the server as a program.
package fakeai

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sashabaranov/go-openai"
)

// Model is the name of the model.
const Model = "fake-1"

// Request is a request as it came.
type Request struct {
	openai.ChatCompletionRequest
	// N counts requests from 1.
	N int
	// Key is the bearer token.
	Key string
}

// MaxOutput is the largest answer that is wanted, by either of its names.
func (r *Request) MaxOutput() int {
	//lint:ignore SA1019 clients still send it
	return max(r.MaxTokens, r.MaxCompletionTokens)
}

// Last is the text of the last message of a role, "" if there is none.
func (r *Request) Last(role string) string {
	for _, m := range slices.Backward(r.Messages) {
		if m.Role != role {
			continue
		}
		text := m.Content
		for _, p := range m.MultiContent {
			text += p.Text
		}
		return text
	}
	return ""
}

// Reply is what becomes of a request. The zero value is an empty answer.
type Reply struct {
	// Status other than 0 and 200 refuses, with an error of Code and Message and with
	// RetryAfter as the header, if set.
	Status        int
	Code, Message string
	RetryAfter    string
	// Chunks are the pieces of the answer.
	Chunks []string
	// Calls are tools to call.
	Calls []openai.ToolCall
	// Refusal is the model's no.
	Refusal string
	// Finish is by default "stop", or "tool_calls".
	Finish openai.FinishReason
	// First is a pause before anything is sent, Between one between pieces. They end if the
	// client goes.
	First, Between time.Duration
	// NoUsage leaves the usage out.
	NoUsage bool
	// After that many pieces of the stream: Stall goes silent until the client goes, Cut closes the
	// connection, Raw is written in place of a piece. -1 or Wrong == "": never.
	Wrong string // "stall", "cut" or "raw"
	After int
	Raw   string
}

// Text makes a Reply of words.
func Text(s string) Reply { return Reply{Chunks: strings.SplitAfter(s, " ")} }

// Call makes a Reply that calls a tool.
func Call(name, arguments string) Reply {
	return Reply{Calls: []openai.ToolCall{{
		ID: "call-" + name, Type: openai.ToolTypeFunction, Function: openai.FunctionCall{Name: name, Arguments: arguments},
	}}}
}

// Server is the server. Set the functions before the first request.
type Server struct {
	*httptest.Server
	// Answer says what becomes of a request; nil: Echo.
	Answer func(*Request) Reply
	// Flag says which category of moderation a text falls into; nil or "": none.
	Flag func(text string) string

	mu       sync.Mutex
	requests []*Request
	active   atomic.Int64
	peak     atomic.Int64
}

// New starts a server on a free port of this machine.
func New() *Server { return NewAt(nil) }

// NewAt starts a server with a listener of the caller; nil is a free port.
func NewAt(l net.Listener) *Server {
	s := &Server{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.chat)
	mux.HandleFunc("POST /v1/moderations", s.moderations)
	s.Server = httptest.NewUnstartedServer(mux)
	if l != nil {
		_ = s.Listener.Close() // the one that is not used
		s.Listener = l
	}
	s.Start()
	return s
}

// Base is the base_url.
func (s *Server) Base() string { return s.URL + "/v1" }

// Requests returns the requests until now.
func (s *Server) Requests() []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Active is how many requests are being answered, and how many ever were at once.
func (s *Server) Active() (now, peak int) { return int(s.active.Load()), int(s.peak.Load()) }

// Echo answers with what the last message of the user says, its marks taken off.
func Echo(r *Request) Reply {
	return Text("You said: " + Plain(r.Last(openai.ChatMessageRoleUser)))
}

// Plain takes the marks of package prompt off.
func Plain(s string) string {
	lines := strings.Split(s, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "<client-") || strings.HasPrefix(l, "</client-") || strings.HasPrefix(l, "<data-") || strings.HasPrefix(l, "</data-")
	}), "\n")
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	now := s.active.Add(1)
	for p := s.peak.Load(); now > p && !s.peak.CompareAndSwap(p, now); p = s.peak.Load() {
	}
	defer s.active.Add(-1)
	in := &Request{Key: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}
	if err := json.NewDecoder(r.Body).Decode(&in.ChatCompletionRequest); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_json", err.Error())
		return
	}
	if problem := check(&in.ChatCompletionRequest); problem != "" {
		refuse(w, http.StatusBadRequest, "invalid_request", problem)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, in)
	in.N = len(s.requests)
	s.mu.Unlock()
	answer := s.Answer
	if answer == nil {
		answer = Echo
	}
	a := &answering{w: w, r: r, in: in, Reply: answer(in)}
	a.serve()
}

// check refuses what a real server would.
func check(r *openai.ChatCompletionRequest) string {
	if r.Model == "" || len(r.Messages) == 0 {
		return "model and messages are needed"
	}
	pending := map[string]bool{}
	for i, m := range r.Messages {
		switch m.Role {
		case openai.ChatMessageRoleSystem, openai.ChatMessageRoleUser:
		case openai.ChatMessageRoleAssistant:
			for _, c := range m.ToolCalls {
				pending[c.ID] = true
			}
			continue
		case openai.ChatMessageRoleTool:
			if !pending[m.ToolCallID] {
				return fmt.Sprintf("messages[%d]: no tool call %q", i, m.ToolCallID)
			}
			delete(pending, m.ToolCallID)
			continue
		default:
			return fmt.Sprintf("messages[%d]: role %q", i, m.Role)
		}
		if len(pending) > 0 {
			return fmt.Sprintf("messages[%d]: tool calls before it are not answered", i)
		}
		if m.Content == "" && len(m.MultiContent) == 0 {
			return fmt.Sprintf("messages[%d]: no content", i)
		}
	}
	if len(pending) > 0 {
		return "tool calls are not answered"
	}
	return ""
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(openai.ErrorResponse{Error: &openai.APIError{Code: code, Message: message, Type: "fake"}}) // the client has gone
}

func (s *Server) moderations(w http.ResponseWriter, r *http.Request) {
	var in openai.ModerationRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_json", err.Error())
		return
	}
	category := ""
	if s.Flag != nil {
		category = s.Flag(in.Input)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client has gone
		"id": "modr-1", "model": in.Model,
		"results": []any{map[string]any{"flagged": category != "", "categories": map[string]bool{category: category != ""}}},
	})
}
