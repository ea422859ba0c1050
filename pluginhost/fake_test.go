package pluginhost

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// fakeBroker is what a Host may ask, without a broker.
type fakeBroker struct {
	mu           sync.Mutex
	sessions     []hook.SessionInfo
	permissions  map[uint64]*access.Permissions
	disconnected []hook.DisconnectRequest
	events       []hook.Event
	forgotten    int
	host         hook.Host
	wants        hook.Set
}

func (b *fakeBroker) Publish(_ string, _ *packet.Message, done func(hook.PublishResult)) {
	done(hook.PublishResult{})
}

func (b *fakeBroker) PublishAs(_, _ string, _ *packet.Message, done func(hook.PublishResult)) {
	done(hook.PublishResult{})
}

func (b *fakeBroker) Disconnect(r hook.DisconnectRequest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disconnected = append(b.disconnected, r)
	return true
}

func (b *fakeBroker) SetPermissions(_, _ string, connection uint64, p *access.Permissions) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.permissions == nil {
		b.permissions = map[uint64]*access.Permissions{}
	}
	b.permissions[connection] = p
	return true
}

func (b *fakeBroker) Sessions(namespace string, all bool, fn func(hook.SessionInfo) bool) {
	b.mu.Lock()
	list := b.sessions
	b.mu.Unlock()
	for _, s := range list {
		if (all || s.Client.Namespace == namespace) && !fn(s) {
			return
		}
	}
}

func (b *fakeBroker) Session(string, string) (hook.SessionInfo, bool) {
	return hook.SessionInfo{}, false
}

func (b *fakeBroker) Retained(string, string, func(*packet.Message) bool) {}

func (b *fakeBroker) Screen(_, _ string, list []*packet.Message, done func([]hook.Screened)) {
	done(make([]hook.Screened, len(list)))
}

func (b *fakeBroker) OpenQueue(hook.QueueSpec, func()) (hook.Queue, error) {
	return nil, errors.New("the fake has no queues")
}

func (b *fakeBroker) Queues() []hook.QueueInfo { return nil }

func (b *fakeBroker) RemoveQueue(string, string) bool { return false }

func (b *fakeBroker) ForgetAnswers() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgotten++
}

func (b *fakeBroker) Emit(e *hook.Event) {
	b.mu.Lock()
	b.events = append(b.events, *e)
	h, wanted := b.host, b.wants.Has(e.Point)
	b.mu.Unlock()
	if wanted {
		h.Observe(e)
	}
}

func (b *fakeBroker) install(h hook.Host, wants hook.Set) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host, b.wants = h, wants
}

// states are the states that a plugin has been in, in order.
func (b *fakeBroker) states(plugin string) (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Point == hook.PluginStateChanged && e.Plugin == plugin {
			list = append(list, stateName(pluginv1.PluginState(e.State)))
		}
	}
	return list
}

// newTestHost makes a Host on a fakeBroker. plugins are those that are compiled in.
func newTestHost(t testing.TB, plugins ...sdk.Plugin) (*Host, *fakeBroker) {
	t.Helper()
	b := new(fakeBroker)
	h, err := New(Options{
		Broker: b, Install: b.install, Values: new(store.Memory).Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) {
			for _, p := range plugins {
				if p.Name == name {
					return p, true
				}
			}
			return sdk.Plugin{}, false
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, b
}

func closeHost(t testing.TB, h *Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// fakeInstance is an instance that answers batches as answer says.
type fakeInstance struct {
	process func(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error)
	health  func(context.Context) (*pluginv1.HealthResponse, error)
	http    func(*pluginv1.HTTPRequest) *pluginv1.HTTPResponse
	exited  chan struct{}
	closed  chan struct{}
	once    sync.Once
}

func newFake(process func(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error)) *fakeInstance {
	return &fakeInstance{process: process, exited: make(chan struct{}), closed: make(chan struct{})}
}

func (f *fakeInstance) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	return new(pluginv1.Manifest), nil
}

func (f *fakeInstance) Start(context.Context, *pluginv1.StartRequest) (*pluginv1.StartResponse, error) {
	return new(pluginv1.StartResponse), nil
}

func (f *fakeInstance) Configure(context.Context, *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	return new(pluginv1.ConfigureResponse), nil
}

func (f *fakeInstance) Stop(context.Context, *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	return new(pluginv1.StopResponse), nil
}

func (f *fakeInstance) Health(ctx context.Context, _ *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	if f.health != nil {
		return f.health(ctx)
	}
	return new(pluginv1.HealthResponse), nil
}

func (f *fakeInstance) Process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	return f.process(b, a, done)
}

func (f *fakeInstance) Consume(*pluginv1.ConsumeBatch, *pluginv1.ConsumeResult, func(error)) (bool, error) {
	return true, errors.New("the fake does not consume")
}

func (f *fakeInstance) HTTP(_ context.Context, in *pluginv1.HTTPRequest) (*pluginv1.HTTPResponse, error) {
	return f.http(in), nil
}

func (f *fakeInstance) Timer(context.Context, *pluginv1.TimerFired) (*pluginv1.TimerResponse, error) {
	return new(pluginv1.TimerResponse), nil
}

func (f *fakeInstance) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

func (f *fakeInstance) Exited() <-chan struct{} { return f.exited }

// serve lets an instance serve as a plugin of h with the hooks, as if it had been
// started. early says that it may complete what it puts off before its answer comes.
func serve(t testing.TB, h *Host, name string, inst *fakeInstance, early bool, m *pluginv1.Manifest) *plugin {
	t.Helper()
	spec := &Spec{Name: name, Source: "test"}
	p := h.find(name)
	if p == nil {
		p = newPlugin(h, spec)
		h.mu.Lock()
		h.plugins = append(h.plugins, p)
		h.mu.Unlock()
	}
	for i := range m.Hooks {
		if err := checkHook(&m.Hooks[i], false); err != nil {
			t.Fatal(err)
		}
	}
	access, err := h.services.Plugin(grantsFor(spec))
	if err != nil {
		t.Fatal(err)
	}
	g := &generation{
		plugin: p, spec: spec, inst: inst, started: true, manifest: m, config: "{}", idle: make(chan struct{}), calls: map[uint64]*call{},
		early: early, access: access,
	}
	g.service = access.Service(g)
	if err := g.want(nil); err != nil {
		t.Fatal(err)
	}
	p.life.Lock()
	defer p.life.Unlock()
	p.switchIn(t.Context(), g)
	return p
}

// keep makes a kept message.
func keep(topic, payload string, qos byte) *packet.Message {
	m := &packet.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, Received: time.Now().UnixMilli()}
	return m.Keep(1)
}
