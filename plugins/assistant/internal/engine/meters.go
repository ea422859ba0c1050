package engine

import (
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/sdk"
)

// meters are the plugin's metrics.
type meters struct {
	requests, refusals, tokens, cost, retries, calls *sdk.Metric
	first, took                                      *sdk.Metric
	waiting, running                                 *sdk.Metric

	loading sync.Mutex // so that the last value that is set is the last one
}

// seconds are the bounds of both histograms: models take their time.
var seconds = []float64{0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120}

func newMeters(h *sdk.Host) *meters {
	return &meters{
		requests: h.Counter("requests", "Questions, by what came of them: ok or the code of an error."),
		refusals: h.Counter("refusals", "Questions that were refused, by code."),
		tokens:   h.Counter("tokens", "Tokens of models, by direction: in or out."),
		cost:     h.Counter("cost", "What models have cost, by the price table."),
		retries:  h.Counter("retries", "Requests to endpoints that were made again."),
		calls:    h.Counter("tool_calls", "Tools that models have called, by outcome."),
		first:    h.Histogram("first_token_seconds", "Time to the first piece of an answer.", seconds...),
		took:     h.Histogram("answer_seconds", "Time to the whole answer, without waiting for a place.", seconds...),
		waiting:  h.Gauge("waiting", "Questions that wait for a place."),
		running:  h.Gauge("running", "Questions that are being answered."),
	}
}

func label(name, value string) sdk.Pair { return sdk.Pair{Name: name, Value: value} }

func (m *meters) load(get func() (running, waiting int)) {
	m.loading.Lock()
	defer m.loading.Unlock()
	running, waiting := get()
	m.running.Set(float64(running))
	m.waiting.Set(float64(waiting))
}

func (m *meters) done(assistant string, a *Answer, took time.Duration, err error) {
	l := label("assistant", assistant)
	if a.In > 0 {
		m.tokens.Add(float64(a.In), l, label("direction", "in"))
	}
	if a.Out > 0 {
		m.tokens.Add(float64(a.Out), l, label("direction", "out"))
	}
	if a.Cost > 0 {
		m.cost.Add(a.Cost, l)
	}
	if err != nil {
		m.refused(assistant, err)
		return
	}
	m.took.Set(took.Seconds(), l)
	m.requests.Add(1, l, label("result", "ok"))
}

// refusal are the codes by which a question is refused, in place of failing.
var refusal = map[fault.Code]bool{
	fault.BadRequest: true, fault.NotAllowed: true, fault.TooLarge: true, fault.NoAssistant: true, fault.NoResponse: true,
	fault.Expired: true, fault.Busy: true, fault.RateLimited: true, fault.Exhausted: true, fault.Filtered: true, fault.Moderated: true,
	fault.ToolLimit: true,
}

func (m *meters) refused(assistant string, err error) {
	l, code := label("assistant", assistant), fault.Of(err).Code
	m.requests.Add(1, l, label("result", string(code)))
	if refusal[code] {
		m.refusals.Add(1, l, label("code", string(code)))
	}
}
