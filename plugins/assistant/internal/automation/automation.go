package automation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/budget"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/engine"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Rule is an automation of a checked config.
type Rule struct {
	Config
	// Limits of the account that the automation has beside those of its namespace and its
	// assistant.
	Limits budget.Limits
}

// Options of a Set.
type Options struct {
	Host   *sdk.Host
	Engine *engine.Engine
	// Rules, whose assistants are there.
	Rules []Rule
	// Redact makes of an error what may be logged.
	Redact func(string) string
}

// Set is all automations at work. It is safe for concurrent use.
type Set struct {
	byQueue map[string]*automation
	queues  []sdk.Queue
}

// New makes a set. Nothing is done before the first batch.
func New(o Options) *Set {
	s := &Set{byQueue: map[string]*automation{}}
	m := &meters{
		messages: o.Host.Counter("automation_messages", "Messages of automations, by what has become of them."),
		requests: o.Host.Counter("automation_requests", "Requests of automations, by what came of them: ok or the code of an error."),
		cost:     o.Host.Counter("automation_cost", "What automations have cost, by the price table."),
	}
	for i := range o.Rules {
		q := o.Rules[i].queue()
		s.queues = append(s.queues, q)
		s.byQueue[q.Name] = newAutomation(&o, &o.Rules[i], m)
	}
	return s
}

// Queues are what the host is to keep.
func (s *Set) Queues() []sdk.Queue { return s.queues }

// Consume takes a batch of one of the queues. It returns when it is known what has become
// of all its messages, or when there is no more time.
func (s *Set) Consume(ctx context.Context, b *sdk.ConsumeBatch) error {
	a := s.byQueue[b.Queue]
	if a == nil {
		return fmt.Errorf("queue %q is of no automation", b.Queue)
	}
	a.consume(ctx, b)
	return nil
}

// meters are metrics of all automations.
type meters struct{ messages, requests, cost *sdk.Metric }

func label(name, value string) sdk.Pair { return sdk.Pair{Name: name, Value: value} }

// automation is a rule at work.
type automation struct {
	*Rule
	host   *sdk.Host
	engine *engine.Engine
	redact func(string) string
	meters *meters
	scope  template.Scope
	// do makes one request and publishes its answer; worker is which of those at once it is.
	do func(ctx context.Context, r *run, worker int) error

	// consuming is held during a batch. There is one at a time, unless one has been given
	// up by the host and is not over yet.
	consuming sync.Mutex
	chooser   *chooser
	// settled are messages that are done with, out of turn, by offset; not "": a dead
	// letter, and why. They come again with those before them.
	settled  map[uint64]string
	attempts map[uint64]int // by offset
	backoff  bridge.Backoff
	waits    bool // the log has been told
}

const (
	// firstPause and lastPause bound how long a queue waits after a failure of the moment.
	firstPause = 500 * time.Millisecond
	lastPause  = time.Minute
)

func newAutomation(o *Options, r *Rule, m *meters) *automation {
	a := &automation{
		Rule: r, host: o.Host, engine: o.Engine, redact: o.Redact, meters: m,
		scope:   template.Scope{Plugin: o.Host.Name(), Route: r.Name, Node: o.Host.Info().Node},
		chooser: newChooser(&r.Config), settled: map[uint64]string{}, attempts: map[uint64]int{},
		backoff: bridge.Backoff{Min: firstPause, Max: lastPause},
	}
	a.do = a.request
	return a
}

// count counts messages by what has become of them.
func (a *automation) count(what string, n int) {
	if n > 0 {
		a.meters.messages.Add(float64(n), label("automation", a.Name), label("outcome", what))
	}
}
