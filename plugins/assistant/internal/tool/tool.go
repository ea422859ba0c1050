// Package tool has what joins the assistant's engine and the tools that a model may call:
// who asks (Ask), what there is to call (Tool, Source), and what is written down of it
// (Event). It knows no tool. Entry points: Source, and Refuse for tools that say no.
//
// A tool acts for the client of the Ask and must be able to do no more than that client:
// what a model asks for may have been put into its mouth by any text that it has read.
package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Ask says for whom something is done.
type Ask struct {
	// ID names the ask in logs and audit events.
	ID string
	// Namespace, ClientID and Username are those of the client; a ClientID of "" is the
	// broker itself, or a plugin.
	Namespace, ClientID, Username string
	// Assistant is its name.
	Assistant string
	// Conversation is its name; "" for an automation.
	Conversation string
	// Automation is the name of the automation that asks; "" for a client.
	Automation string
	// Hops of the message that asks, for what is published because of it.
	Hops uint32
}

// Tool is something that a model may call.
type Tool struct {
	// Name has 1 to 64 letters, digits, "_" and "-".
	Name string
	// Description is for the model.
	Description string
	// Parameters is a JSON Schema of an object.
	Parameters json.RawMessage
}

// Result is what a call has brought. It is told to the model as data that is not to be
// trusted.
type Result struct {
	// Text is for the model; JSON mostly.
	Text string
	// Note is for the audit event in place of Text, if Text is too long or too private.
	Note string
}

// Source has tools. Its methods are called by many goroutines at once.
type Source interface {
	// List returns the tools that are there for an ask.
	List(ctx context.Context, a *Ask) ([]Tool, error)
	// Call calls one. The arguments are what the model wrote: JSON of any shape, or not
	// even that. An error made by Refuse is a refusal, any other a failure; both are
	// told to the model and to the audit events, by their text.
	Call(ctx context.Context, a *Ask, name string, args json.RawMessage) (Result, error)
}

// Refused is a tool's no.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return r.Reason }

// Refuse makes a Refused.
func Refuse(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// ErrNoTool is returned by Source.Call if it does not have the tool.
var ErrNoTool = errors.New("there is no such tool")

// Sources joins several. The first that has a tool of a name is called.
type Sources []Source

var _ Source = Sources(nil)

// List implements Source.
func (s Sources) List(ctx context.Context, a *Ask) ([]Tool, error) {
	var out []Tool
	seen := map[string]bool{}
	for _, one := range s {
		list, err := one.List(ctx, a)
		if err != nil {
			return nil, err
		}
		for _, t := range list {
			if !seen[t.Name] {
				seen[t.Name] = true
				out = append(out, t)
			}
		}
	}
	return out, nil
}

// Call implements Source.
func (s Sources) Call(ctx context.Context, a *Ask, name string, args json.RawMessage) (Result, error) {
	for _, one := range s {
		r, err := one.Call(ctx, a, name, args)
		if !errors.Is(err, ErrNoTool) {
			return r, err
		}
	}
	return Result{}, ErrNoTool
}

// Outcomes of an Event.
const (
	Done    = "ok"
	Failed  = "failed"
	Denied  = "refused"
	Unknown = "unknown_tool"
)

// Event is an audit event: a tool was called, or was not.
type Event struct {
	Ask       *Ask
	Tool      string
	Arguments string
	// Outcome is one of Done, Failed, Denied, Unknown.
	Outcome string
	// Result is what came of it, or the reason why nothing did.
	Result string
	// Milliseconds that it took.
	Milliseconds int64
}
