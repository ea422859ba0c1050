package broker

import (
	"fmt"
	"sync"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// This file is where the broker and its Store meet: what was stored comes back,
// answers wait until something is safe, and a full disk holds publishers back.

// load takes over what the Store has.
func (b *Broker) load() error {
	now := b.clock.Now()
	var mu sync.Mutex
	var connected []*session.Session
	var opened []*queue
	err := b.store.Load(store.Loader{
		Session: func(saved store.Saved) store.Owner {
			if saved.Namespace == queueNamespace {
				q := b.restoreQueue(saved)
				if saved.Detached == 0 {
					mu.Lock()
					opened = append(opened, q)
					mu.Unlock()
				}
				return q
			}
			s := b.restore(saved, now)
			if saved.Detached == 0 {
				mu.Lock()
				connected = append(connected, s)
				mu.Unlock()
			}
			return s
		},
		Retained: func(namespace string, m *packet.Message) { b.namespace(namespace).retained.Restore(m) },
		Orphan: func(namespace string, e store.Entry) {
			b.engine.Do(func(p *transport.Pass) { b.redispatch(p, b.namespace(namespace), nil, e) })
		},
	})
	if err != nil {
		return err
	}
	for _, s := range connected {
		s.Save() // it is not connected any more
	}
	for _, q := range opened {
		q.save()
	}
	return nil
}

// restore puts a stored session back into the tables.
func (b *Broker) restore(saved store.Saved, now int64) *session.Session {
	n := b.namespace(saved.Namespace)
	s := session.Restore(&b.env, saved, b.nextKey.Add(1), now)
	sh := n.shardOf(saved.ClientID)
	sh.mu.Lock()
	sh.sessions[saved.ClientID] = s
	sh.mu.Unlock()
	b.stats.Sessions.Add(1)
	for _, sub := range saved.Subscriptions {
		f, err := topic.ParseFilter(sub.Filter)
		if err != nil {
			b.log.Error("a stored subscription is invalid and is left out", "client", saved.ClientID, "filter", sub.Filter, "error", err)
			continue
		}
		n.router.Subscribe(s, f.Group, f.Filter, router.Options{
			QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished, RetainHandling: sub.RetainHandling, ID: sub.ID,
		})
	}
	return s
}

// begin starts what is done by time, once the first listener opens: that of
// restored sessions too, in whose Wills a host has a say that is installed by now.
func (b *Broker) begin() {
	b.beginning.Do(func() {
		b.clock.Arm(&b.upkeep, b.clock.Now()+1000)
		b.eachNamespace(func(n *namespace) {
			n.eachSession(func(s *session.Session) {
				if at := s.NextDue(); at != 0 {
					b.armSession(n, s, at)
				}
			})
		})
	})
}

// sessionReady is told that a session can go on that waited for the Store.
func (b *Broker) sessionReady(s *session.Session) {
	if c, ok := s.Link().(*conn); ok {
		c.signal(wakeStore)
	}
}

func (b *Broker) sessionMayReceive(s *session.Session, m *packet.Message, qos byte, retain bool) bool {
	cl := s.Client.Load()
	return cl == nil || cl.Permissions.MayReceive(string(m.Topic), qos, retain, b.clock.Now())
}

// together makes what fn changes safe together or not at all.
func (b *Broker) together(p *transport.Pass, fn func()) {
	sc := p.Scratch.(*scratch)
	b.store.Begin()
	sc.frames.Together()
	fn()
	sc.frames.Receipt()
	b.store.End()
}

// whenSafe runs next when everything is safe that the client's session has
// changed; nothing is read meanwhile.
func (c *conn) whenSafe(p *transport.Pass, next func(p *transport.Pass)) {
	if !c.durable || ackBeforeCommit {
		next(p)
		return
	}
	c.awaitSync(p, next)
}

func (c *conn) awaitSync(p *transport.Pass, next func(p *transport.Pass)) {
	var failed error
	start := func(done func()) bool {
		return c.b.store.Sync(func(err error) {
			failed = err
			done()
		})
	}
	c.await(p, start, func(p *transport.Pass) {
		if failed != nil {
			c.fail(fmt.Errorf("what the client asked for could not be stored: %w", failed))
			return
		}
		next(p)
	})
}

// noted returns what an answer to a repeated QoS 2 PUBLISH has to wait for.
func (c *conn) noted(id uint16) *store.Receipt {
	if !c.durable {
		return nil
	}
	r := store.NewReceipt()
	c.sess.Received(id, r)
	return r
}

// wouldStore reports whether a message would have to be stored. Of shared
// subscriptions it does not know which member will get it.
func (c *conn) wouldStore(sc *scratch, pub *packet.Publish) bool {
	return pub.Retain || wouldStore(c.publisher().last.Lookup(c.ns.router, sc.cache, pub.Topic), pub.QoS)
}

func wouldStore(targets router.Targets, qos byte) bool {
	for _, t := range targets {
		if t.Group != nil {
			return true
		}
		switch s := t.Sub.(type) {
		case *session.Session:
			if s.Durable() && min(t.QoS, qos) > 0 {
				return true
			}
		case *queue:
			if qos >= s.spec.Load().MinQoS {
				return true
			}
		}
	}
	return false
}

// refuseFull answers a PUBLISH that there is no room for.
func (c *conn) refuseFull(p *transport.Pass, m *packet.Message, id uint16) {
	c.b.dropped(c.ns.name, c.client, m, m.QoS, hook.DropStoreFull)
	c.denyPublish(p, m.QoS, id, packet.QuotaExceeded, reasonFull)
}

// heldBack pauses an MQTT 3 client that sends what there is no room for: it has
// no way to be told. The packet is read again later.
func (c *conn) heldBack(sc *scratch, h packet.Header, body []byte) bool {
	if packet.DecodePublish(&sc.pub, c.version, h, body, false) != nil {
		return false // handlePublish says so
	}
	return sc.pub.QoS > 0 && c.wouldStore(sc, &sc.pub) && c.b.backlog.hold(c)
}

// storeGuard holds MQTT 3 publishers back while the Store is full.
type storeGuard struct {
	mu     sync.Mutex
	paused map[*conn]struct{}
	full   bool // as last seen; of the clock's goroutine
}

// check is called with each tick of the clock.
func (g *storeGuard) check(b *Broker) {
	full := b.store.Full()
	if full && !g.full {
		b.limitReached(nil, "store")
	}
	g.full = full
	if full {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.paused {
		c.Resume(pauseStore)
	}
	g.paused = nil
}

func (g *storeGuard) hold(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.b.store.Full() {
		return false
	}
	if g.paused == nil {
		g.paused = make(map[*conn]struct{})
	}
	g.paused[c] = struct{}{}
	c.Pause(pauseStore)
	return true
}

func (g *storeGuard) forget(c *conn) {
	g.mu.Lock()
	delete(g.paused, c)
	g.mu.Unlock()
}
