package services

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// fakeBroker is a hook.Broker that remembers what it was asked.
type fakeBroker struct {
	hook.Broker // methods that no test needs panic
	mu          sync.Mutex
	published   []publication
	sessions    []hook.SessionInfo
	gone        []hook.DisconnectRequest
	retained    []*packet.Message
	forgotten   int
	// result answers Publish and PublishAs; nil: Success, at once.
	result func(done func(hook.PublishResult))
}

type publication struct {
	namespace, as string
	message       *packet.Message
}

func (b *fakeBroker) Publish(namespace string, m *packet.Message, done func(hook.PublishResult)) {
	b.PublishAs(namespace, "", m, done)
}

func (b *fakeBroker) PublishAs(namespace, client string, m *packet.Message, done func(hook.PublishResult)) {
	b.mu.Lock()
	b.published = append(b.published, publication{namespace, client, m.Keep(1)})
	b.mu.Unlock()
	if b.result != nil {
		b.result(done)
		return
	}
	done(hook.PublishResult{Receivers: 2, ID: 7})
}

func (b *fakeBroker) Disconnect(r hook.DisconnectRequest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = append(b.gone, r)
	return slices.ContainsFunc(b.sessions, func(i hook.SessionInfo) bool {
		return i.Client.ID == r.ClientID && i.Client.Namespace == r.Namespace && i.Connected
	})
}

func (b *fakeBroker) Sessions(namespace string, all bool, fn func(hook.SessionInfo) bool) {
	for _, i := range b.sessions {
		if !all && i.Client.Namespace != namespace {
			continue
		}
		i.SubscriptionCount, i.Subscriptions, i.Identifiers = len(i.Subscriptions), nil, nil
		if !fn(i) {
			return
		}
	}
}

func (b *fakeBroker) Session(namespace, client string) (hook.SessionInfo, bool) {
	for _, i := range b.sessions {
		if i.Client.Namespace == namespace && i.Client.ID == client {
			return i, true
		}
	}
	return hook.SessionInfo{}, false
}

func (b *fakeBroker) Retained(namespace, filter string, fn func(*packet.Message) bool) {
	for _, m := range b.retained {
		if topic.Match(filter, string(m.Topic)) && !fn(m) {
			return
		}
	}
}

func (b *fakeBroker) ForgetAnswers() { b.forgotten++ }

// fakeInstance is an Instance.
type fakeInstance struct {
	hops  uint32
	late  uint32
	fired func(*pluginv1.TimerFired)
}

func (i *fakeInstance) Complete(*pluginv1.CompleteRequest) uint32 { return i.late }
func (i *fakeInstance) Hops() uint32                              { return i.hops }
func (i *fakeInstance) Timer(t *pluginv1.TimerFired)              { i.fired(t) }

// world is Services with its surroundings.
type world struct {
	*Services
	broker *fakeBroker
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *lockedBuffer) count(s string) int { return strings.Count(b.String(), s) }

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{broker: &fakeBroker{}, log: &lockedBuffer{}}
	o := Options{
		Broker: w.broker, Values: new(store.Memory).Values(), ErrNotFound: store.ErrNotFound, ErrConflict: store.ErrConflict,
		Logger:  slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Secrets: func(name string) ([]byte, bool) { return []byte("of " + name), name == "token" || name == "other" },
	}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w.Services = s
	return w
}

// plugin makes an instance of a plugin with grants.
func (w *world) plugin(t testing.TB, grants ...pluginv1.Grant) *Service {
	t.Helper()
	return w.with(t, Config{Name: "tester", Version: "1.0", Grants: grants}, &fakeInstance{})
}

func (w *world) with(t testing.TB, c Config, i Instance) *Service {
	t.Helper()
	p, err := w.Plugin(c)
	if err != nil {
		t.Fatal(err)
	}
	s := p.Service(i)
	t.Cleanup(s.Close)
	return s
}

// grantsNamed are grants without a scope.
func grantsNamed(names ...string) (list []pluginv1.Grant) {
	for _, n := range names {
		list = append(list, pluginv1.Grant{Name: n})
	}
	return list
}

func code(err error) pluginv1.HostErrorCode {
	var e *pluginv1.HostError
	switch {
	case err == nil:
		return pluginv1.HostErrorCodeNone
	case errors.As(err, &e):
		return e.Code
	}
	return 1
}

// wantCode fails unless err is a HostError of a code whose text says something.
func wantCode(t testing.TB, err error, want pluginv1.HostErrorCode, says string) {
	t.Helper()
	if got := code(err); got != want || err != nil && !strings.Contains(err.Error(), says) {
		t.Errorf("got %v (%v), want %v: …%s…", got, err, want, says)
	}
}
