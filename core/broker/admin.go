package broker

import (
	"slices"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// ClientInfo is what operators see of a client's session, connected or not.
type ClientInfo struct {
	ID          string            `json:"client_id"`
	Namespace   string            `json:"namespace,omitempty"`
	Username    string            `json:"username,omitempty"`
	Online      bool              `json:"online"`
	Remote      string            `json:"remote,omitempty"`
	Listener    string            `json:"listener,omitempty"`
	Transport   string            `json:"transport,omitempty"`
	Version     string            `json:"version,omitempty"`
	KeepAlive   uint16            `json:"keep_alive"`     // seconds
	Expiry      uint32            `json:"session_expiry"` // seconds
	ConnectedAt time.Time         `json:"connected_at,omitzero"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	// DisconnectedAt is zero for a client that is connected.
	DisconnectedAt time.Time          `json:"disconnected_at,omitzero"`
	Inflight       int                `json:"inflight"`
	Queued         int                `json:"queued"`
	QueuedBytes    int64              `json:"queued_bytes"`
	OutBuffer      int                `json:"out_buffer_bytes"`
	Subscriptions  []SubscriptionInfo `json:"subscriptions,omitempty"`
	// SubscriptionCount stands in for Subscriptions in lists.
	SubscriptionCount int `json:"subscription_count"`
}

// SubscriptionInfo is one subscription of a client.
type SubscriptionInfo struct {
	Filter            string `json:"filter"`
	QoS               byte   `json:"qos"`
	NoLocal           bool   `json:"no_local,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
	RetainHandling    byte   `json:"retain_handling,omitempty"`
	ID                uint32 `json:"id,omitempty"`
}

// Clients calls fn for all sessions until it returns false, in no order. Those
// that come or go meanwhile may be missing.
func (b *Broker) Clients(fn func(ClientInfo) bool) {
	more := true
	b.eachNamespace(func(n *namespace) {
		n.eachSession(func(s *session.Session) {
			if more {
				more = fn(clientInfo(s, false))
			}
		})
	})
}

// Client describes one session with its subscriptions.
func (b *Broker) Client(namespace, clientID string) (ClientInfo, bool) {
	n := b.findNamespace(namespace)
	if n == nil {
		return ClientInfo{}, false
	}
	s := n.lookup(clientID)
	if s == nil {
		return ClientInfo{}, false
	}
	return clientInfo(s, true), true
}

func clientInfo(s *session.Session, subscriptions bool) ClientInfo {
	st := s.Stats()
	info := ClientInfo{
		ID: s.ID(), Namespace: s.Namespace(), Online: s.Online(), Expiry: st.Expiry, Inflight: st.Inflight,
		Queued: st.Queued, QueuedBytes: st.QueuedBytes, SubscriptionCount: st.Subscriptions,
	}
	if cl := s.Client.Load(); cl != nil {
		info.Username, info.Listener, info.Transport = cl.Username, cl.Listener, cl.Transport
		info.KeepAlive, info.Attributes = cl.KeepAlive, cl.Attributes
		if cl.Version != 0 {
			info.Version = cl.Version.String()
		}
		if cl.ConnectedAt != 0 { // else it has not connected since the restart
			info.ConnectedAt = time.UnixMilli(cl.ConnectedAt)
		}
		if cl.Remote != nil {
			info.Remote = cl.Remote.String()
		}
	}
	if c, ok := s.Link().(*conn); ok {
		info.OutBuffer = c.Buffered()
	} else if st.Detached != 0 {
		info.DisconnectedAt = time.UnixMilli(st.Detached)
	}
	if subscriptions {
		for _, sub := range s.Subscriptions() {
			info.Subscriptions = append(info.Subscriptions, SubscriptionInfo{
				Filter: sub.Filter, QoS: sub.QoS, NoLocal: sub.NoLocal, RetainAsPublished: sub.RetainAsPublished,
				RetainHandling: sub.RetainHandling, ID: sub.ID,
			})
		}
		slices.SortFunc(info.Subscriptions, func(a, b SubscriptionInfo) int {
			if a.Filter < b.Filter {
				return -1
			}
			return 1
		})
	}
	return info
}

// Kick disconnects a client (Administrative action). With remove its session
// ends too. It reports whether there was such a session.
func (b *Broker) Kick(namespace, clientID string, remove bool) bool {
	n := b.findNamespace(namespace)
	if n == nil {
		return false
	}
	s := n.lookup(clientID)
	if s == nil {
		return false
	}
	if remove {
		b.forget(n, s)
		b.engine.Do(func(p *transport.Pass) { b.endSession(p, n, s, sessionRemoved) })
		return true
	}
	if c, ok := s.Link().(*conn); ok {
		c.disconnect(packet.AdministrativeAction, "")
		return true
	}
	return false
}

// findNamespace returns a namespace that exists, else nil.
func (b *Broker) findNamespace(name string) *namespace {
	if name == "" {
		return b.root
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.namespaces[name]
}

// RetainedInfo is one retained message.
type RetainedInfo struct {
	Topic     string    `json:"topic"`
	Payload   []byte    `json:"payload"`
	QoS       byte      `json:"qos"`
	Publisher string    `json:"publisher,omitempty"`
	Received  time.Time `json:"received"`
	Expires   time.Time `json:"expires,omitzero"`
}

// Retained calls fn for the retained messages that match a valid Topic Filter,
// until it returns false.
func (b *Broker) Retained(namespace, filter string, fn func(RetainedInfo) bool) {
	n := b.findNamespace(namespace)
	if n == nil {
		return
	}
	more := true
	for _, m := range n.retained.Match(filter, b.clock.Now(), nil) {
		if more {
			info := RetainedInfo{
				Topic: string(m.Topic), Payload: append([]byte(nil), m.Payload...), QoS: m.QoS, Publisher: m.Publisher,
				Received: time.UnixMilli(m.Received),
			}
			if m.Expires != packet.NoExpiry {
				info.Expires = time.UnixMilli(m.Expires)
			}
			more = fn(info)
		}
		m.Unref()
	}
}

// ClearRetained removes the retained messages that match a valid Topic Filter
// and returns how many there were.
func (b *Broker) ClearRetained(namespace, filter string) (cleared int) {
	n := b.findNamespace(namespace)
	if n == nil {
		return 0
	}
	for _, m := range n.retained.Match(filter, b.clock.Now(), nil) {
		if n.retained.Clear(string(m.Topic), nil) {
			cleared++
			b.event(hook.Event{Point: hook.RetainedCleared, Topic: string(m.Topic), Namespace: namespace})
		}
		m.Unref()
	}
	return cleared
}

// Gauges are figures of the moment.
type Gauges struct {
	Uptime              time.Duration
	Connected, Sessions int64
	Subscriptions       int
	SharedGroups        int
	Retained            int
	RetainedBytes       int64
	// Inflight, Queued and QueuedBytes are sums over all sessions; they cost a
	// walk over these.
	Inflight, Queued int
	QueuedBytes      int64
	BytesSent        int64
	MemoryUsed       int64
	// AboveWatermark is set while publishers are held back.
	AboveWatermark bool
}

// Gauges returns the figures of the moment.
func (b *Broker) Gauges() Gauges {
	t := b.totals(true)
	return Gauges{
		Uptime: time.Since(b.started), Connected: t.online, Sessions: t.sessions,
		Subscriptions: t.router.Subscriptions, SharedGroups: t.router.Groups,
		Retained: t.retained, RetainedBytes: t.retainedBytes, Inflight: t.inflight, Queued: t.queued, QueuedBytes: t.queuedBytes,
		BytesSent: t.bytesSent, MemoryUsed: b.memory.look(), AboveWatermark: b.memory.above.Load(),
	}
}

// Subscriptions calls fn for every subscription of every session until it
// returns false.
func (b *Broker) Subscriptions(fn func(namespace, clientID string, s SubscriptionInfo) bool) {
	more := true
	b.eachNamespace(func(n *namespace) {
		n.eachSession(func(s *session.Session) {
			if !more {
				return
			}
			for _, sub := range clientInfo(s, true).Subscriptions {
				if more = fn(n.name, s.ID(), sub); !more {
					return
				}
			}
		})
	})
}
