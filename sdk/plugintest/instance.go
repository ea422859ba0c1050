package plugintest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// limit bounds every call of a plugin, so that a test ends.
const limit = 20 * time.Second

// Instance is a started plugin. Its methods fail the test where the plugin fails; those
// with Err in their names return that instead. It is safe for concurrent use.
type Instance struct {
	// Plugin is the boundary that a broker uses.
	Plugin instance.Plugin
	// Host that the plugin calls.
	Host *Host
	// Manifest of the plugin.
	Manifest *pluginv1.Manifest

	events  atomic.Uint64
	runtime pluginv1.Runtime
}

// Runner opens plugins of one runtime.
type Runner struct {
	// Name of the runtime, as it is in the names of tests.
	Name string
	// Open makes an instance.
	Open instance.Open

	runtime pluginv1.Runtime
}

// Builtin opens a plugin by value.
func Builtin(p sdk.Plugin) Runner { return Runner{"builtin", p.Open, pluginv1.RuntimeBuiltin} }

// Start opens, describes and starts a plugin with a config in JSON. It is stopped at the
// end of the test.
func Start(t testing.TB, r Runner, h *Host, config string) *Instance {
	t.Helper()
	in, res := StartResponse(t, r, h, config)
	if len(res.Problems) > 0 {
		t.Fatalf("%s: the config is refused: %v", r.Name, res.Problems)
	}
	return in
}

// StartResponse is Start for configs that may be refused.
func StartResponse(t testing.TB, r Runner, h *Host, config string) (*Instance, *pluginv1.StartResponse) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	p, err := r.Open(ctx, h)
	if err != nil {
		t.Fatalf("%s: open: %v", r.Name, err)
	}
	h.mu.Lock()
	h.plugin = p
	h.mu.Unlock()
	info := &pluginv1.HostInfo{
		BrokerVersion: "0.0.0-test", Node: "test", Runtime: r.runtime, Features: []string{"permit", "consumer_patterns", "screen"},
	}
	m, err := p.Describe(ctx, &pluginv1.DescribeRequest{Host: info})
	if err != nil {
		t.Fatalf("%s: describe: %v", r.Name, err)
	}
	in := &Instance{Plugin: p, Host: h, Manifest: m, runtime: r.runtime}
	res, err := p.Start(ctx, &pluginv1.StartRequest{
		Name: m.Name, Config: config, Grants: m.Grants, Host: info, Worker: true,
	})
	if err != nil {
		t.Fatalf("%s: start: %v", r.Name, err)
	}
	t.Cleanup(func() { in.stop(t, len(res.Problems) == 0) })
	return in, res
}

func (in *Instance) stop(t testing.TB, started bool) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if started {
		if _, err := in.Plugin.Stop(ctx, &pluginv1.StopRequest{Reason: pluginv1.StopReasonShutdown, DeadlineMs: 5000}); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if err := in.Plugin.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// ProcessErr asks for the verdicts on a batch. The batch gets event ids if it has none.
func (in *Instance) ProcessErr(b *pluginv1.Batch) (*pluginv1.Answer, error) {
	for i := range b.Events {
		if b.Events[i].ID == 0 && b.Point.Mode() != pluginv1.Observation {
			b.Events[i].ID = in.events.Add(1)
		}
	}
	a := &pluginv1.Answer{}
	return a, wait(func(done func(error)) (bool, error) { return in.Plugin.Process(b, a, done) })
}

// wait makes an asynchronous call and waits for its end.
func wait(call func(done func(error)) (bool, error)) error {
	end := make(chan error, 1)
	if answered, err := call(func(err error) { end <- err }); answered {
		return err
	}
	select {
	case err := <-end:
		return err
	case <-time.After(limit):
		return context.DeadlineExceeded
	}
}

// Process is ProcessErr for batches that must not fail.
func (in *Instance) Process(t testing.TB, b *pluginv1.Batch) *pluginv1.Answer {
	t.Helper()
	a, err := in.ProcessErr(b)
	if err == nil && a.Error != "" {
		t.Fatalf("%v: %s", b.Point, a.Error)
	}
	if err != nil {
		t.Fatalf("%v: %v", b.Point, err)
	}
	return a
}

// Decide asks about one event, and returns the verdict: that of a deferral if it has been
// completed already, and an empty one (ACTION_CONTINUE) if there is none.
func (in *Instance) Decide(t testing.TB, p pluginv1.Point, c *pluginv1.Client, e pluginv1.Event) *pluginv1.Verdict {
	t.Helper()
	b := &pluginv1.Batch{Point: p, Events: []pluginv1.Event{e}}
	if c != nil {
		b.Clients = []pluginv1.Client{*c}
		b.Events[0].Client = 1
	}
	a := in.Process(t, b)
	if len(a.Verdicts) == 0 {
		return &pluginv1.Verdict{}
	}
	v := &a.Verdicts[0]
	if v.Action == pluginv1.ActionDefer {
		if late := in.Host.completed(b.Events[0].ID); late != nil {
			return late
		}
	}
	return v
}

// LastEvent is the id of the event that was asked about last, for Completed.
func (in *Instance) LastEvent() uint64 { return in.events.Load() }

func (h *Host) completed(event uint64) *pluginv1.Verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.verdicts[event]
}

// Completed waits until the deferred verdict on an event is there.
func (in *Instance) Completed(t testing.TB, event uint64) *pluginv1.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if !in.Host.WaitFor(ctx, func() bool { return in.Host.completed(event) != nil }) {
		t.Fatalf("event %d was not completed", event)
	}
	return in.Host.completed(event)
}

// Authenticate asks about a client. Its CONNECT is a.
func (in *Instance) Authenticate(t testing.TB, c *pluginv1.Client, a *pluginv1.Authentication) *pluginv1.Verdict {
	t.Helper()
	return in.Decide(t, pluginv1.PointAuthenticate, c, pluginv1.Event{Authentication: a})
}

// Permit asks what a client may do.
func (in *Instance) Permit(t testing.TB, c *pluginv1.Client) *pluginv1.Verdict {
	t.Helper()
	return in.Decide(t, pluginv1.PointPermit, c, pluginv1.Event{})
}

// Publish asks about a message on its way in.
func (in *Instance) Publish(t testing.TB, c *pluginv1.Client, m *pluginv1.Message) *pluginv1.Verdict {
	t.Helper()
	return in.Decide(t, pluginv1.PointInterceptPublish, c, pluginv1.Event{Message: m})
}

// Subscribe asks about a SUBSCRIBE.
func (in *Instance) Subscribe(t testing.TB, c *pluginv1.Client, s ...pluginv1.Subscription) *pluginv1.Verdict {
	t.Helper()
	return in.Decide(t, pluginv1.PointInterceptSubscribe, c, pluginv1.Event{Subscriptions: s})
}

// ConsumeErr hands messages over.
func (in *Instance) ConsumeErr(b *pluginv1.ConsumeBatch) (*pluginv1.ConsumeResult, error) {
	r := &pluginv1.ConsumeResult{}
	return r, wait(func(done func(error)) (bool, error) { return in.Plugin.Consume(b, r, done) })
}
