package broker

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/retained"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/store"
)

// shards spread the locking of the session table over the client ids.
const shards = 64

// namespace holds everything that one namespace's clients share.
type namespace struct {
	name     string
	router   *router.Router
	retained *retained.Messages
	// queueFilters counts the Topic Filters of queues among those of the router.
	queueFilters atomic.Int64
	queueRoute   *store.Route // of messages without a client
	shard        [shards]shard
}

type shard struct {
	mu       sync.Mutex
	sessions map[string]*session.Session
}

var shardSeed = maphash.MakeSeed()

func (n *namespace) shardOf(clientID string) *shard {
	return &n.shard[maphash.String(shardSeed, clientID)%shards]
}

// namespace finds or makes a namespace.
func (b *Broker) namespace(name string) *namespace {
	if name == "" {
		return b.root
	}
	b.mu.RLock()
	n := b.namespaces[name]
	b.mu.RUnlock()
	if n != nil {
		return n
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n = b.namespaces[name]; n == nil {
		n = b.newNamespace(name)
		b.namespaces[name] = n
	}
	return n
}

// newNamespace makes one; b.mu is held, unless it is the first.
func (b *Broker) newNamespace(name string) *namespace {
	n := &namespace{
		name:     name,
		router:   router.New(router.Config{Strategy: b.opts.SharedStrategy}),
		retained: retained.New(name, b.store, b.live.Load().Retained.Limits),

		queueRoute: &store.Route{Filter: name},
	}
	none := new(hook.QueueSpec)
	for _, q := range b.queues {
		n.subscribeQueue(q, none, q.spec.Load())
	}
	for i := range n.shard {
		n.shard[i].sessions = make(map[string]*session.Session)
	}
	return n
}

// eachNamespace calls fn for all of them, the default one first.
func (b *Broker) eachNamespace(fn func(*namespace)) {
	b.mu.RLock()
	all := make([]*namespace, 0, 1+len(b.namespaces))
	all = append(all, b.root)
	for _, n := range b.namespaces {
		all = append(all, n)
	}
	b.mu.RUnlock()
	for _, n := range all {
		fn(n)
	}
}

// claim returns the session that a client is to use: the one that exists, if it
// may be resumed [MQTT-3.1.2-5], else a new one in its place [MQTT-3.1.2-4]. The
// session that had to give way comes back as ended, for the caller to end.
func (b *Broker) claim(n *namespace, clientID string, cleanStart bool) (s *session.Session, present bool, ended *session.Session, err error) {
	sh := n.shardOf(clientID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old := sh.sessions[clientID]
	if old != nil && !cleanStart && old.Resumable(b.clock.Now()) {
		return old, true, nil, nil
	}
	if old == nil {
		if max := b.live.Load().Session.MaxSessions; max > 0 && b.stats.Sessions.Load() >= int64(max) {
			return nil, false, nil, errTooManySessions
		}
		b.stats.Sessions.Add(1)
	}
	s = session.New(&b.env, n.name, clientID, b.nextKey.Add(1))
	sh.sessions[clientID] = s
	return s, false, old, nil
}

// armSession has the session's timer call sessionDue. Most sessions of clients that are connected
// never need it.
func (b *Broker) armSession(n *namespace, s *session.Session, at int64) {
	if s.Timer.Fire == nil {
		s.Timer.Fire = func(now int64) { b.sessionDue(n, s, now) }
	}
	b.clock.Arm(&s.Timer, at)
}

// forget takes s out of the table if it still is the client's session.
func (b *Broker) forget(n *namespace, s *session.Session) {
	sh := n.shardOf(s.ID())
	sh.mu.Lock()
	if sh.sessions[s.ID()] == s {
		delete(sh.sessions, s.ID())
		b.stats.Sessions.Add(-1)
	}
	sh.mu.Unlock()
}

// lookup finds a client's session.
func (n *namespace) lookup(clientID string) *session.Session {
	sh := n.shardOf(clientID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.sessions[clientID]
}

// connection returns the open connection of a client and its session, nil if there is
// none. The connection may be attaching still, and not know its session yet.
func (n *namespace) connection(clientID string) (*conn, *session.Session) {
	if s := n.lookup(clientID); s != nil {
		if c, ok := s.Link().(*conn); ok {
			return c, s
		}
	}
	return nil, nil
}

// eachSession calls fn for a snapshot of the sessions, without holding a lock.
func (n *namespace) eachSession(fn func(*session.Session)) {
	var batch []*session.Session
	for i := range n.shard {
		sh := &n.shard[i]
		sh.mu.Lock()
		batch = batch[:0]
		for _, s := range sh.sessions {
			batch = append(batch, s)
		}
		sh.mu.Unlock()
		for _, s := range batch {
			fn(s)
		}
	}
}
