package engine

import (
	"context"
	"sync"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/budget"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fair"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/model"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/prompt"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Price of a million tokens. The currency is the operator's.
type Price struct{ Input, Output float64 }

// of is what tokens cost.
func (p Price) of(in, out int) float64 { return (float64(in)*p.Input + float64(out)*p.Output) / 1e6 }

// Moderation asks whether a text is unwanted.
type Moderation struct {
	Client *model.Client
	Model  string
	// Output has answers looked at too.
	Output bool
	// Open lets texts pass while the hook cannot be asked.
	Open bool
}

// Assistant is one of those that are there. It must not be changed after New.
type Assistant struct {
	Name   string
	Client *model.Client
	Model  string
	// System is what the operator has the model do.
	System          string
	Temperature     *float64
	ReasoningEffort string
	// MaxInput bounds what the model reads, in tokens by estimate; MaxOutput what it writes.
	MaxInput, MaxOutput int
	Price               Price
	Limits              budget.Limits
	Moderation          *Moderation // nil: none
	// ToolRounds is how often the model may ask for tools before it has to answer,
	// ToolCalls how many calls it may make in all, ToolTimeout bounds each, and ToolResult
	// what a call tells the model, in bytes.
	ToolRounds, ToolCalls int
	ToolTimeout           time.Duration
	ToolResult            int
}

// Options of an Engine.
type Options struct {
	Host       *sdk.Host
	Assistants []*Assistant
	// Queue of each assistant, but for Changed, which is the engine's. Each has places of its own,
	// so that one whose endpoint hangs holds up no other.
	Queue fair.Options
	// Client and Namespace are limits of each.
	Client, Namespace budget.Limits
	// Audit is told about each tool call. It must not block for long.
	Audit func(*tool.Event)
	// Trace is given what goes to a model and what comes back, for the log; nil: nothing is
	// logged.
	Trace func(a *tool.Ask, what, text string)
}

// Engine is safe for concurrent use.
type Engine struct {
	o          Options
	assistants map[string]*Assistant
	queues     map[string]*fair.Queue // by assistant
	book       *budget.Book
	meters     *meters
}

// New makes an engine. Nothing is sent before the first question.
func New(o Options) *Engine {
	log := o.Host.Logger()
	e := &Engine{
		o: o, assistants: map[string]*Assistant{}, queues: map[string]*fair.Queue{}, meters: newMeters(o.Host),
		book: budget.New(o.Host.KV(), time.Now, func(err error) { log.Error("the accounts cannot be stored", "error", err) }),
	}
	o.Queue.Changed = func() { e.meters.load(e.Load) }
	for _, a := range o.Assistants {
		e.assistants[a.Name] = a
		e.queues[a.Name] = fair.New(o.Queue)
		a.Client.Retried = func(why error) {
			e.meters.retries.Add(1, label("assistant", a.Name))
			log.Debug("a request is made again", "assistant", a.Name, "error", why)
		}
	}
	return e
}

// Assistant finds one by its name; nil if there is none.
func (e *Engine) Assistant(name string) *Assistant { return e.assistants[name] }

// Job is a question on its way.
type Job struct {
	Ask *tool.Ask
	// Lane groups jobs of a namespace that run one after the other, in order.
	Lane string
	// Deadline ends the waiting and the context of Run.
	Deadline time.Time
	// Run or Drop is called, once. The error is a *fault.Error.
	Run  func(ctx context.Context)
	Drop func(err error)
}

// Submit takes a job of an assistant that is there, and does not wait.
func (e *Engine) Submit(j *Job) {
	e.queues[j.Ask.Assistant].Put(&fair.Job{Namespace: j.Ask.Namespace, Lane: j.Lane, Deadline: j.Deadline, Run: j.Run, Drop: j.Drop})
}

// Request is a question to a model.
type Request struct {
	Ask   *tool.Ask
	Marks prompt.Marks
	// System is added to the assistant's own system message. It is the operator's text.
	System string
	// Messages without a system message, texts of others in Marks.
	Messages []openai.ChatCompletionMessage
	// Moderate is the text to be looked at by the moderation; "": none.
	Moderate string
	Format   *openai.ChatCompletionResponseFormat
	// Temperature and MaxOutput in place of the assistant's, if they are set.
	Temperature *float64
	MaxOutput   int
	// Tools that the model may call; nil: none.
	Tools tool.Source
	// Scopes are further accounts to keep.
	Scopes []budget.Scope
	// Part is given the text as it comes; nil: it is not wanted before it is whole. An error
	// ends the request.
	Part func(text string) error
}

// Answer is what came of it.
type Answer struct {
	Text string
	// Finish is "stop" or "length".
	Finish    string
	In, Out   int
	Cost      float64
	ToolCalls int
}

// Complete asks the model, and has it call tools until it answers. The error is a
// *fault.Error. The answer is never nil: with an error it says what was used up.
func (e *Engine) Complete(ctx context.Context, r *Request) (*Answer, error) {
	a := e.assistants[r.Ask.Assistant]
	if a == nil {
		return &Answer{}, fault.New(fault.NoAssistant, "there is no assistant of that name")
	}
	began := time.Now()
	l := &loop{e: e, a: a, r: r, answer: &Answer{}}
	err := l.run(ctx)
	if err != nil {
		err = fault.Of(err)
	}
	e.meters.done(a.Name, l.answer, time.Since(began), err)
	return l.answer, err
}

// Load is how many questions are being answered and how many wait.
func (e *Engine) Load() (running, waiting int) {
	for _, q := range e.queues {
		r, w := q.Len()
		running, waiting = running+r, waiting+w
	}
	return running, waiting
}

// Refused counts a question that did not get as far as Complete.
func (e *Engine) Refused(assistant string, err error) {
	if e.assistants[assistant] == nil {
		assistant = "unknown"
	}
	e.meters.refused(assistant, err)
}

// Health says whether all endpoints are in use; nil if they are.
func (e *Engine) Health() error {
	for _, a := range e.o.Assistants {
		if err := a.Client.Health(); err != nil {
			return sdk.Degraded("the endpoint of assistant " + a.Name + ": " + err.Error())
		}
	}
	return nil
}

// Close takes nothing new, lets what runs go on until ctx ends, and stores the accounts.
// What waits is dropped at once, or if drain is set, when ctx ends.
func (e *Engine) Close(ctx context.Context, drain bool) {
	var closing sync.WaitGroup
	for _, q := range e.queues {
		closing.Go(func() { q.Close(ctx, drain) })
	}
	closing.Wait()
	e.book.Close()
	for _, a := range e.o.Assistants {
		a.Client.Close()
	}
}
