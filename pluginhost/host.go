package pluginhost

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/pluginhost/process"
	"github.com/patchbay-mq/patchbay/pluginhost/services"
	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Options are what a Host works with. Broker, Install, Values and its two errors, and
// Builtin are required.
type Options struct {
	Broker hook.Broker
	// Install tells the broker what is wanted, each time that it changes.
	Install func(h hook.Host, wants hook.Set)
	// Values keep what plugins store; NotFound and Conflict are its errors.
	Values             services.Values
	NotFound, Conflict error
	// Builtin finds a plugin that is compiled in.
	Builtin func(name string) (sdk.Plugin, bool)
	// Secret returns a secret of the operator.
	Secret func(name string) (value []byte, ok bool)
	// Logger gets what plugins say and what becomes of them; nil discards it.
	Logger *slog.Logger
	// DataDir is where plugins may keep files, below plugin-state; empty: nowhere.
	DataDir string
	// CacheDir keeps compiled WebAssembly; empty: nowhere.
	CacheDir string
	// Compiler compiles WebAssembly in a process of its own; see wasm.Options. Empty: this process does.
	Compiler []string
	// Node and Version are what plugins are told of the broker.
	Node, Version string
	// DefaultAllow decides what a client may do if plugins were asked and none had an
	// opinion.
	DefaultAllow bool
	// Reattach has plugins, by name, that run under a debugger.
	Reattach map[string]process.Reattach
	// Watch is told of every call of a plugin that has ended, for those who watch one at
	// work. It must not block. Nil: nobody watches, and it costs nothing.
	Watch func(Seen)
}

// Host runs plugins and asks them. It implements hook.Host. Its methods are safe for
// concurrent use.
type Host struct {
	o        Options
	log      *slog.Logger
	services *services.Services
	sockets  sockets
	began    time.Time
	table    atomic.Pointer[table]
	tap      atomic.Pointer[tap] // nil: nobody records

	// changing is held while plugins come and go.
	changing sync.Mutex

	permits permits

	// What the runs at the points of every message need, to be used again.
	publishings, authorizings, receivings sync.Pool

	mu      sync.Mutex
	plugins []*plugin // those of the config in its order, then those of the folder by name
	anyBans bool
	made    bool // New has done its work
	closed  bool

	running sync.WaitGroup // goroutines
	ctx     context.Context
	cancel  context.CancelFunc
}

var _ hook.Host = (*Host)(nil)

// New makes a Host without plugins.
func New(o Options) (*Host, error) {
	if o.Broker == nil || o.Install == nil || o.Values == nil || o.Builtin == nil {
		return nil, errors.New("pluginhost: Broker, Install, Values and Builtin are required")
	}
	h := &Host{o: o, log: o.Logger, began: time.Now()}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.table.Store(new(table))
	h.permits.host, h.permits.wake = h, make(chan struct{}, 1)
	var err error
	h.services, err = services.New(services.Options{
		Broker: o.Broker, Values: o.Values, ErrNotFound: o.NotFound, ErrConflict: o.Conflict, Logger: h.log, Secrets: o.Secret,
		BansChanged: h.bansChanged, Invalidated: h.invalidated,
	})
	if err != nil {
		h.cancel()
		return nil, err
	}
	h.mu.Lock()
	h.made = true
	h.mu.Unlock()
	h.rebuild()
	return h, nil
}

// spawn runs f on a goroutine that Close waits for. It reports whether it does: not once
// the host is closed.
func (h *Host) spawn(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.running.Go(f)
	}
	return !h.closed
}

// Services are what plugins, and operators, may ask of the broker.
func (h *Host) Services() *services.Services { return h.services }

// bansChanged is told that there are bans now, or none any more.
func (h *Host) bansChanged(any bool) {
	h.mu.Lock()
	h.anyBans = any
	made := h.made
	h.mu.Unlock()
	if made {
		h.rebuild()
	}
}

// table is what is asked at each point, in the order of the config. It is immutable.
type table struct {
	points [64][]*hooked
}

// at returns the hooks of a point.
func (t *table) at(p pluginv1.Point) []*hooked { return t.points[p] }

// of returns the hook of one plugin at a point, nil if it has none.
func (t *table) of(pl *plugin, p pluginv1.Point) *hooked {
	for _, k := range t.points[p] {
		if k.plugin == pl {
			return k
		}
	}
	return nil
}

// rebuild makes the table anew and tells the broker what is wanted.
func (h *Host) rebuild() {
	if h.retable() {
		// Others say now what those may do who are connected.
		h.permits.again(&pluginv1.InvalidateDecisionsRequest{AllNamespaces: true})
	}
}

// retable does the work of rebuild, and reports whether others than before say what
// clients may do.
func (h *Host) retable() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := new(table)
	var wants hook.Set
	if h.anyBans {
		wants |= hook.SetOf(hook.Authenticate, hook.Connected)
	}
	wants |= h.tap.Load().wants()
	for _, p := range h.plugins {
		for _, k := range p.hooks {
			t.points[k.point] = append(t.points[k.point], k)
			if k.point == pluginv1.PointPermit {
				wants |= hook.SetOf(hook.Authenticate, hook.Connected)
			} else {
				wants |= hook.SetOf(hookPoints[k.point])
			}
		}
	}
	before := h.table.Swap(t)
	if h.closed {
		return false
	}
	h.o.Install(h, wants)
	return !slices.Equal(before.at(pluginv1.PointPermit), t.at(pluginv1.PointPermit))
}

// Authenticates reports whether some plugin decides who may connect. One that only refuses
// does not.
func (h *Host) Authenticates() bool { return decides(h.table.Load().at(pluginv1.PointAuthenticate)) }

// enter pins the generation of a hook for one call. If a new one has taken its place
// since the run began, its hook is returned; nil if the plugin does not hook the point
// any more. alive is false for a generation that has ended by itself: the policy
// answers.
func (h *Host) enter(k *hooked) (now *hooked, alive bool) {
	for !k.gen.enter() {
		next := h.table.Load().of(k.plugin, k.point)
		if next == nil || next == k {
			return next, false
		}
		k = next
	}
	return k, true
}

// emit tells an event of the host's own.
func (h *Host) emit(e *hook.Event) { h.o.Broker.Emit(e) }

// nanos is a clock that only goes forward, from 1 on.
func (h *Host) nanos() int64 { return int64(time.Since(h.began)) + 1 }

// find returns a plugin by its name, nil if there is none.
func (h *Host) find(name string) *plugin {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.IndexFunc(h.plugins, func(p *plugin) bool { return p.name == name }); i >= 0 {
		return h.plugins[i]
	}
	return nil
}

// all returns the plugins in their order.
func (h *Host) all() []*plugin {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.plugins)
}
