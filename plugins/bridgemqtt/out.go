package bridgemqtt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgemqtt/internal/mqtt"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// patience is how long messages wait here for a connection before they are given back to
// the host, which has more room for them.
const patience = 5 * time.Second

// outRoute is a route to the remote broker.
type outRoute struct {
	*Route
	w     *work
	batch sync.Mutex // held by what sends: batches, and retained messages between them

	mu sync.Mutex
	// flights are messages that the link has, by offset: also those of a batch that
	// was given back, so that they are not sent twice.
	flights map[uint64]*flight
	landed  chan struct{} // has something when a flight is over
}

// flight is a message on its way. Its fields are guarded by outRoute.mu.
type flight struct {
	mqtt.Outgoing
	over   bool
	code   byte
	reason string
}

func newOutRoute(w *work, r *Route) *outRoute {
	return &outRoute{Route: r, w: w, flights: map[uint64]*flight{}, landed: make(chan struct{}, 1)}
}

// send implements bridge.Options.Send.
func (p *plugin) send(ctx context.Context, b *bridge.Batch) error {
	w := p.work.Load()
	if w == nil {
		return bridge.Hold(errNotRunning, 100*time.Millisecond)
	}
	r := w.out[b.Route.Name]
	if r == nil {
		return bridge.Hold(errNotRunning, 100*time.Millisecond)
	}
	r.batch.Lock()
	defer r.batch.Unlock()
	flights := r.begin(b)
	err := r.await(ctx, b, flights)
	r.leave(b, flights)
	return err
}

// begin gives the link what it has not got, and returns the flights of the batch; nil for
// messages of which something is said already.
func (r *outRoute) begin(b *bridge.Batch) []*flight {
	flights := make([]*flight, len(b.Messages))
	var list []*mqtt.Outgoing
	fresh := make([]flight, len(b.Messages))
	r.mu.Lock()
	for offset := range r.flights {
		// What the host does not hand over any more has expired there.
		if first := b.Messages[0].Offset; offset < first && first > 0 {
			delete(r.flights, offset)
		}
	}
	for i := range b.Messages {
		m := &b.Messages[i]
		if f := r.flights[m.Offset]; f != nil && m.Offset > 0 {
			flights[i] = f
			continue
		}
		f := &fresh[i]
		ok, err := r.message(&f.Message, b, i)
		switch {
		case err != nil:
			b.Refuse(i, err)
			continue
		case !ok: // it has been there
			b.Done(i)
			continue
		}
		f.Done = func(code byte, reason string) { r.land(f, code, reason) }
		if m.Offset > 0 {
			r.flights[m.Offset] = f
		}
		flights[i] = f
		list = append(list, &f.Outgoing)
	}
	r.mu.Unlock()
	r.w.link.Publish(list)
	return flights
}

// land notes that the remote broker has a message, or has refused it.
func (r *outRoute) land(f *flight, code byte, reason string) {
	r.mu.Lock()
	f.over, f.code, f.reason = true, code, reason
	r.mu.Unlock()
	select {
	case r.landed <- struct{}{}:
	default:
	}
}

// await waits until all flights are over. Without a connection it does not wait for long.
func (r *outRoute) await(ctx context.Context, b *bridge.Batch, flights []*flight) error {
	t := time.NewTimer(patience)
	defer t.Stop()
	for settled := 0; ; {
		if settled = r.settle(b, flights, settled); settled == len(flights) {
			return nil
		}
		state, changed := r.w.link.State()
		var out <-chan time.Time
		if !state.Connected {
			out = t.C
		} else {
			t.Reset(patience)
		}
		select {
		case <-r.landed:
		case <-changed:
		case <-out:
			return bridge.Hold(errors.New(state.Err), 0)
		case <-r.w.ctx.Done():
			return bridge.Hold(errNotRunning, 100*time.Millisecond)
		case <-ctx.Done():
			return bridge.Hold(fmt.Errorf("the remote broker is slow: %w", ctx.Err()), 0)
		}
	}
}

// settle says what is known of the messages from one on, all before it being settled, and
// returns the first that is not: most answers come in order, and to look at the whole
// batch for each of them would be most of the work.
func (r *outRoute) settle(b *bridge.Batch, flights []*flight, from int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; from < len(flights); from++ {
		f := flights[from]
		if f == nil || b.Settled(from) {
			continue
		}
		if !f.over {
			break
		}
		r.say(b, from, f)
	}
	return from
}

// say says what has become of the i-th message of a batch. It is called with mu held.
func (r *outRoute) say(b *bridge.Batch, i int, f *flight) {
	delete(r.flights, b.Messages[i].Offset)
	if f.code < 0x80 {
		b.Done(i)
		return
	}
	err := fmt.Errorf("the remote broker refuses the message: %s", mqtt.Reason(f.code, f.reason))
	if hopeless(f.code) {
		b.Refuse(i, err)
	} else {
		b.Fail(i, err)
	}
}

// leave says what is known of a batch that ends before all of it is, and copies what the link
// still has, since the batch's memory is about to go.
func (r *outRoute) leave(b *bridge.Batch, flights []*flight) {
	var list []*mqtt.Outgoing
	r.mu.Lock()
	for i, f := range flights {
		switch {
		case f == nil || b.Settled(i):
		case f.over:
			r.say(b, i, f)
		default:
			list = append(list, &f.Outgoing)
		}
	}
	r.mu.Unlock()
	if list != nil {
		r.w.link.Detach(list)
	}
}

// hopeless reports whether a message would be refused again.
func hopeless(code byte) bool {
	switch code {
	case 0x87, 0x90, mqtt.CodeTooLarge, 0x99, 0x9A, 0x9B:
		return true
	}
	return false
}

// message makes of the i-th message of a batch what goes; false if it must not go.
func (r *outRoute) message(m *mqtt.Message, b *bridge.Batch, i int) (ok bool, err error) {
	in := b.Messages[i].Message
	topic, _ := swap(in.Topic, r.LocalPrefix, r.RemotePrefix)
	if !r.RemoteTopic.Empty() {
		if topic, err = r.RemoteTopic.Text(b.Source(i)); err != nil {
			return false, fmt.Errorf("remote_topic: %w", err)
		}
		if err := bridge.CheckTopic(topic); err != nil {
			return false, fmt.Errorf("remote_topic: %w", err)
		}
	}
	return r.fill(m, in, topic)
}

// fill writes what goes for a message.
func (r *outRoute) fill(m *mqtt.Message, in *sdk.Message, topic string) (ok bool, err error) {
	if len(topic) > 65535 {
		return false, errors.New("its topic is longer than MQTT allows at the other broker")
	}
	pairs, way := properties(in.UserProperties)
	if way, ok = r.w.loops.leaving(way); !ok {
		return false, nil
	}
	if way != "" {
		pairs = append(pairs, mqtt.Pair{Name: pathProperty, Value: way})
	}
	payload, err := r.Codec.Encode(in.Payload)
	if err != nil {
		return false, err
	}
	*m = mqtt.Message{
		Topic: topic, Payload: payload, QoS: byte(min(in.QoS, r.QoS)), Retain: in.Retain && !r.DropRetain,
		MessageExpiry: in.MessageExpiryInterval, PayloadFormat: byte(in.PayloadFormat), ContentType: in.ContentType,
		CorrelationData: in.CorrelationData, UserProperties: pairs,
	}
	m.ResponseTopic = in.ResponseTopic
	if to, ok := swap(in.ResponseTopic, r.LocalPrefix, r.RemotePrefix); ok && in.ResponseTopic != "" {
		m.ResponseTopic = to
	}
	return true, nil
}

// properties takes the path out of User Properties.
func properties(list []sdk.Pair) (pairs []mqtt.Pair, way string) {
	for i := range list {
		if p := &list[i]; p.Name == pathProperty {
			way = p.Value
		} else {
			pairs = append(pairs, mqtt.Pair{Name: p.Name, Value: p.Value})
		}
	}
	return pairs, way
}
