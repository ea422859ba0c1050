package broker

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// Message is an application message for the program that embeds the broker.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Expiry is the Message Expiry Interval; 0 is none.
	Expiry time.Duration
	// Publisher is the Client Identifier of the publisher; empty for messages of
	// the program itself. Publish ignores it.
	Publisher string
}

// Publish routes a message of the program itself, in the default namespace. It
// returns how many subscriptions matched. It never waits for a receiver; with QoS
// 1 or 2 it waits until the message is safe for every session that is stored. The
// payload may be reused when it returns. It must not be called from a function
// given to Subscribe.
func (b *Broker) Publish(m Message) (receivers int, err error) {
	if err := topic.ValidNameString(m.Topic); err != nil {
		return 0, fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	if m.QoS > 2 {
		return 0, fmt.Errorf("publish to %q: QoS %d", m.Topic, m.QoS)
	}
	if b.stopping.Load() {
		return 0, ErrStopped
	}
	view := packet.Message{Topic: []byte(m.Topic), Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Received: b.clock.Now()}
	if m.Expiry > 0 {
		view.Expires = view.Received + max(m.Expiry.Milliseconds(), 1)
	}
	var r *store.Receipt
	b.engine.Do(func(p *transport.Pass) {
		frames := &p.Scratch.(*scratch).frames
		if m.QoS > 0 {
			frames.Await(false)
		}
		receivers = b.publish(p, &view)
		r = frames.Receipt()
	})
	if r == nil {
		return receivers, nil
	}
	safe := make(chan error, 1)
	if settled, err := r.Wait(func(err error) { safe <- err }); settled {
		safe <- err
	}
	if err := <-safe; err != nil {
		return receivers, fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	return receivers, nil
}

// ErrStopped is returned by a broker that has been closed.
var ErrStopped = errors.New("broker: stopped")

// publish routes a message of the broker's own in the default namespace.
func (b *Broker) publish(p *transport.Pass, m *packet.Message) int {
	sc := p.Scratch.(*scratch)
	n := b.route(p, sc, b.root, m, source{})
	sc.tally.fold(&b.stats)
	return n
}

// localSubscriber is a subscription of the program itself.
type localSubscriber struct {
	key  uint64
	fn   func(Message)
	gone atomic.Bool
}

var _ router.Subscriber = (*localSubscriber)(nil)

func (l *localSubscriber) Online() bool { return true }
func (l *localSubscriber) Load() int    { return 0 }
func (l *localSubscriber) Key() uint64  { return l.key }

func (l *localSubscriber) receive(m *packet.Message) {
	if l.gone.Load() {
		return
	}
	l.fn(Message{
		Topic: string(m.Topic), Payload: append([]byte(nil), m.Payload...), QoS: m.QoS, Retain: m.Retain, Publisher: m.Publisher,
	})
}

// Subscribe calls fn for every message that matches a Topic Filter (not a shared
// one) of the default namespace, until cancel is called. fn runs on the
// publisher's executor: it must return soon, must not block, and must not call
// the broker; calls may be concurrent. Retained messages are not given.
func (b *Broker) Subscribe(filter string, fn func(Message)) (cancel func(), err error) {
	f, err := topic.ParseFilter(filter)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", filter, err)
	}
	if f.Shared {
		return nil, fmt.Errorf("subscribe to %q: shared subscriptions are for clients", filter)
	}
	l := &localSubscriber{key: b.nextKey.Add(1), fn: fn}
	b.root.router.Subscribe(l, "", f.Filter, router.Options{QoS: 2})
	return func() {
		l.gone.Store(true)
		b.root.router.Unsubscribe(l, "", f.Filter)
	}, nil
}
