package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// Broker is an MQTT server. Its methods are safe for concurrent use.
type Broker struct {
	opts   Options // but for Live
	live   atomic.Pointer[Live]
	log    *slog.Logger
	clock  *clock.Clock
	engine *transport.Engine
	hooks  hook.Chain
	env    session.Env
	stats  Stats

	root       *namespace
	mu         sync.RWMutex
	namespaces map[string]*namespace
	listeners  []*transport.Listener

	nextKey, nextMessage atomic.Uint64
	nextConnection       atomic.Uint64
	// answers is the epoch of what conns have kept of Authorize; ForgetAnswers begins a
	// new one.
	answers   atomic.Uint64
	errands   errands
	proxies   map[*session.Session]*proxy // of errands
	queues    map[queueID]*queue          // guarded by mu
	started   time.Time
	stopping  atomic.Bool
	sys       sysPublisher
	memory    memoryGuard
	backlog   storeGuard
	store     store.Store
	ownClock  bool
	upkeep    clock.Timer
	nextSweep int64 // Unix milliseconds; of the clock's goroutine
	beginning sync.Once
}

// scratch is what one pass of an executor has for itself.
type scratch struct {
	cache  *router.Cache
	frames session.Frames
	pub    packet.Publish
	msg    packet.Message
	fwd    []byte
	buf    []byte
	tally  tally
	suback packet.Suback
	batch  *batch // one to use again; nil: none
	acked  bool   // what has been read acknowledges deliveries
}

// cacheEntries is the size of a pass's match cache: 4,096 topics at 32 ns a hit.
const cacheEntries = 4096

// New makes a broker with DefaultOptions, changed by the given functions. It
// listens nowhere yet.
func New(options ...func(*Options)) (*Broker, error) {
	o := DefaultOptions()
	for _, f := range options {
		f(&o)
	}
	if o.Session.MaxInflight < 1 || o.Session.MaxInflight > 65535 {
		return nil, fmt.Errorf("broker: Session.MaxInflight is %d, it must be 1 to 65535", o.Session.MaxInflight)
	}
	if o.MQTT.MaxQoS > 2 {
		return nil, fmt.Errorf("broker: MQTT.MaxQoS is %d, it must be 0 to 2", o.MQTT.MaxQoS)
	}
	if o.MQTT.ReceiveMaximum == 0 {
		return nil, errors.New("broker: MQTT.ReceiveMaximum is 0, it must be at least 1")
	}
	if o.Store == nil {
		o.Store = new(store.Memory)
	}
	b := &Broker{opts: o, log: o.Logger, clock: o.Clock, namespaces: make(map[string]*namespace), started: time.Now()}
	if b.clock == nil {
		b.clock, b.ownClock = clock.New(), true
	}
	// Ids of messages are unique across nodes and restarts: node, then
	// milliseconds of the start, then a count.
	b.nextMessage.Store(uint64(o.NodeID)<<48 | uint64(b.started.UnixMilli())<<8&(1<<48-1))
	b.store = o.Store
	b.env.Store, b.env.Now, b.env.Drop, b.env.GaveUp = o.Store, b.clock.Now, b.sessionDropped, b.sessionGaveUp
	b.env.Ready, b.env.MayReceive = b.sessionReady, b.sessionMayReceive
	tell := b.delivered
	b.env.Delivered = func() func(*session.Session, *packet.Message, byte) {
		if b.hooks.Wants(hook.Delivered) {
			return tell
		}
		return nil
	}
	b.SetLive(o.Live)
	b.root = b.newNamespace("")
	b.engine = transport.New(transport.Config{
		NewScratch: func() any {
			return &scratch{cache: router.NewCache(cacheEntries), frames: session.Frames{NextID: b.messageID}}
		},
		Settle:    b.settleAll,
		HighWater: o.OutBufferHigh, LowWater: o.OutBufferLow, WriteTimeout: o.WriteTimeout,
		Now: b.clock.Fresh, Driver: o.Driver, Logger: o.Logger,
	})
	b.upkeep.Fire = b.keepUp
	b.memory.timer.Fire = func(now int64) {
		b.memory.check(b)
		b.backlog.check(b)
		b.clock.Arm(&b.memory.timer, now)
	}
	b.clock.Arm(&b.memory.timer, b.clock.Now())
	if err := b.load(); err != nil {
		b.stopClock()
		return nil, fmt.Errorf("load what is stored: %w", err)
	}
	return b, nil
}

func (b *Broker) messageID() uint64 { return b.nextMessage.Add(1) }

// SetLive changes the options that can be changed while the broker runs. What
// was agreed with connected clients (Receive Maximum and the like) stays until
// they connect again.
func (b *Broker) SetLive(l Live) {
	limits := l.Session.Limits
	b.env.Limits.Store(&limits)
	b.live.Store(&l)
	if b.root != nil {
		b.eachNamespace(func(n *namespace) { n.retained.SetLimits(l.Retained.Limits) })
	}
}

// Live returns the present live options.
func (b *Broker) Live() Live { return *b.live.Load() }

// Install makes h the host that is called at the points of wants.
func (b *Broker) Install(h hook.Host, wants hook.Set) { b.hooks.Install(h, wants) }

// Stats returns the broker's counters.
func (b *Broker) Stats() *Stats { return &b.stats }

// Listen opens a listener; clients are served from then on. The error names the
// address.
func (b *Broker) Listen(l Listener) (*transport.Listener, error) {
	b.begin()
	l.Transport.User = &l
	tl, err := b.engine.Listen(l.Transport, func(t *transport.Conn) transport.Handler { return b.accept(t, &l) })
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.listeners = append(b.listeners, tl)
	b.mu.Unlock()
	return tl, nil
}

// Listeners returns the open listeners in the order of their opening.
func (b *Broker) Listeners() []*transport.Listener {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return append([]*transport.Listener(nil), b.listeners...)
}

// Serve runs until ctx ends and then shuts down, taking at most grace for it: no
// new connections, DISCONNECT 0x8B to MQTT 5 clients, what is written is flushed,
// the store is closed.
func (b *Broker) Serve(ctx context.Context, grace time.Duration) error {
	b.begin()
	b.event(hook.Event{Point: hook.BrokerStarted})
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	return b.Close(end)
}

// Close shuts down in order, at the latest when ctx ends.
func (b *Broker) Close(ctx context.Context) error {
	if !b.stopping.CompareAndSwap(false, true) {
		return nil
	}
	b.event(hook.Event{Point: hook.BrokerStopping})
	for _, l := range b.Listeners() {
		l.Stop()
	}
	b.eachNamespace(func(n *namespace) {
		n.eachSession(func(s *session.Session) {
			if c, ok := s.Link().(*conn); ok {
				c.disconnect(packet.ServerShuttingDown, "")
			}
		})
	})
	err := b.engine.Close(ctx)
	b.errands.close(ctx)
	b.stopClock()
	if serr := b.store.Close(); err == nil && serr != nil {
		err = fmt.Errorf("close the store: %w", serr)
	}
	return err
}

func (b *Broker) stopClock() {
	if b.ownClock {
		b.clock.Stop()
		return
	}
	b.clock.Disarm(&b.upkeep)
	b.clock.Disarm(&b.memory.timer)
}

// sweepMillis is how often retained messages that have expired are looked for.
const sweepMillis = 10_000

// keepUp does every second what has to be done now and then.
func (b *Broker) keepUp(now int64) {
	if b.stopping.Load() {
		return
	}
	live := b.live.Load()
	if now >= b.nextSweep {
		b.nextSweep = now + sweepMillis
		b.eachNamespace(func(n *namespace) {
			n.retained.Sweep(now, func(topic string) {
				b.event(hook.Event{Point: hook.RetainedCleared, Topic: topic, Namespace: n.name})
			})
		})
	}
	b.sys.tick(b, live, now)
	if b.hooks.Wants(hook.Tick) {
		b.event(hook.Event{Point: hook.Tick})
	}
	b.clock.Arm(&b.upkeep, now+1000)
}

// newClientID makes a Client Identifier for a client that brought none
// [MQTT-3.1.3-6].
func newClientID() string {
	var b [10]byte
	rand.Read(b[:])
	return "auto-" + hex.EncodeToString(b[:])
}

var errTooManySessions = refuse(packet.QuotaExceeded, "session.max_sessions is reached")
