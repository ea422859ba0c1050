package plugintest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// State is what a broker has.
type State struct {
	Clients       []pluginv1.Client
	Sessions      []pluginv1.Session
	Subscriptions []pluginv1.ClientSubscription
	Retained      []pluginv1.Message
	// Screen says what a client would be shown of a message. Nil: everything, as it is.
	Screen func(clientID string, m *pluginv1.Message) pluginv1.ScreenResult
	// Secrets by name.
	Secrets map[string]string
}

// Call is a call of a Host.
type Call struct {
	Op pluginv1.HostOp
	// Request is a copy.
	Request pluginv1.Proto
}

// Host is a broker's side for tests. Use NewHost. It is safe for concurrent use.
type Host struct {
	// State is what lists and secrets are answered from. Set it before the plugin starts.
	State State
	// Fetch answers Host.Fetch. Nil: every request is UNAVAILABLE.
	Fetch func(*pluginv1.HTTPFetchRequest) (*pluginv1.HTTPFetchResponse, error)

	mu       sync.Mutex
	changed  *sync.Cond
	now      time.Time
	started  time.Time
	calls    []Call
	changes  int // of what WaitFor waits for
	failures map[pluginv1.HostOp][]error
	denied   map[string]bool
	kv       map[string]value
	version  uint64
	bans     []pluginv1.Ban
	timers   []timer
	verdicts map[uint64]*pluginv1.Verdict
	plugin   instance.Plugin
}

type value struct {
	data    []byte
	version uint64
	expires time.Time // zero: never
}

type timer struct {
	name   string
	due    time.Time
	period time.Duration
	data   []byte
}

var _ v1host.Service = (*Host)(nil)

// NewHost makes a Host whose time is 2030-01-01 00:00 UTC.
func NewHost() *Host {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	h := &Host{
		now: start, started: start, failures: map[pluginv1.HostOp][]error{}, denied: map[string]bool{},
		kv: map[string]value{}, verdicts: map[uint64]*pluginv1.Verdict{},
	}
	h.changed = sync.NewCond(&h.mu)
	return h
}

// Fail makes the next calls of an op fail, one for each error; nil lets one pass.
func (h *Host) Fail(op pluginv1.HostOp, errs ...error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures[op] = append(h.failures[op], errs...)
}

// Deny takes a grant away: calls that need it fail as a broker fails them.
func (h *Host) Deny(grant string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.denied[grant] = true
}

// Calls returns the calls of an op until now, in order.
func (h *Host) Calls(op pluginv1.HostOp) []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Call
	for _, c := range h.calls {
		if c.Op == op {
			out = append(out, c)
		}
	}
	return out
}

// Published returns all messages that were published, in order.
func (h *Host) Published() []pluginv1.Message {
	var out []pluginv1.Message
	for _, c := range h.Calls(pluginv1.HostOpPublish) {
		out = append(out, c.Request.(*pluginv1.PublishRequest).Messages...)
	}
	return out
}

// Logs returns all lines that were logged, in order.
func (h *Host) Logs() []pluginv1.LogRecord {
	var out []pluginv1.LogRecord
	for _, c := range h.Calls(pluginv1.HostOpLog) {
		out = append(out, c.Request.(*pluginv1.LogRequest).Records...)
	}
	return out
}

// Value returns what the plugin has stored under a key, nil if there is nothing.
func (h *Host) Value(key string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, _ := h.value(key)
	return v.data
}

// WaitFor returns when condition holds, which is looked at after every call of the host;
// false if ctx ends first. Condition may call methods of h but WaitFor.
func (h *Host) WaitFor(ctx context.Context, condition func() bool) bool {
	stop := context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.changed.Broadcast()
	})
	defer stop()
	for {
		h.mu.Lock()
		seen := h.changes
		h.mu.Unlock()
		if condition() {
			return true
		}
		h.mu.Lock()
		for h.changes == seen && ctx.Err() == nil {
			h.changed.Wait()
		}
		h.mu.Unlock()
		if ctx.Err() != nil {
			return condition()
		}
	}
}

// Advance lets time pass, and calls the plugin for every timer that runs out, in order.
// It returns the first error of these calls.
func (h *Host) Advance(ctx context.Context, d time.Duration) error {
	h.mu.Lock()
	until := h.now.Add(d)
	h.mu.Unlock()
	for {
		t, ok := h.nextTimer(until)
		if !ok {
			return nil
		}
		_, err := h.plugin.Timer(ctx, &pluginv1.TimerFired{Name: t.name, Data: t.data, DueMs: t.due.UnixMilli()})
		if err != nil {
			return err
		}
	}
}

// nextTimer takes the first timer that is due until then, and sets the time to it.
func (h *Host) nextTimer(until time.Time) (timer, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortStableFunc(h.timers, func(a, b timer) int { return a.due.Compare(b.due) })
	if len(h.timers) == 0 || h.timers[0].due.After(until) {
		h.now = until
		return timer{}, false
	}
	t := h.timers[0]
	h.now = t.due
	if t.period > 0 {
		h.timers[0].due = t.due.Add(t.period)
	} else {
		h.timers = h.timers[1:]
	}
	return t, true
}

// enter records a call and tells whether it is to fail.
func (h *Host) enter(op pluginv1.HostOp, in pluginv1.Proto) error {
	kept := pluginv1.New(in.MessageName())
	if err := kept.Unmarshal(in.AppendTo(nil)); err != nil {
		return &pluginv1.HostError{Code: pluginv1.HostErrorCodeInvalid, Message: err.Error()}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, Call{op, kept})
	h.change()
	if list := h.failures[op]; len(list) > 0 {
		h.failures[op] = list[1:]
		if list[0] != nil {
			return list[0]
		}
	}
	grant := op.Grant()
	if p, ok := in.(*pluginv1.PublishRequest); ok && p.AsClient != "" {
		grant = "publish_as_client"
	}
	if h.denied[grant] {
		return &pluginv1.HostError{
			Code: pluginv1.HostErrorCodeDenied, Message: op.String() + " needs a grant", Grant: grant,
		}
	}
	return nil
}

// change is called with mu held.
func (h *Host) change() {
	h.changes++
	h.changed.Broadcast()
}

// value is called with mu held.
func (h *Host) value(key string) (value, bool) {
	v, ok := h.kv[key]
	if !ok || !v.expires.IsZero() && !v.expires.After(h.now) {
		return value{}, false
	}
	return v, true
}

// page cuts a list; the page is how many were returned before, in decimal.
func page[T any](list []T, from []byte, size uint32, fits func(*T) bool) (out []T, next []byte) {
	at := 0
	for _, c := range from {
		at = 10*at + int(c-'0')
	}
	if size == 0 {
		size = 100
	}
	for ; at < len(list); at++ {
		if !fits(&list[at]) {
			continue
		}
		if len(out) == int(size) {
			return out, []byte(itoa(at))
		}
		out = append(out, list[at])
	}
	return out, nil
}

func sortedKeys(m map[string]value, prefix, after string) []string {
	var keys []string
	for k := range m {
		if strings.HasPrefix(k, prefix) && cmp.Less(after, k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}
