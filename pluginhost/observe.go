package pluginhost

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// observed is an event that waits for its observer.
type observed struct {
	hook  *hooked
	event hook.Event
	// kept is the event's message with a reference, or a copy in view, which uses buf.
	kept *packet.Message
	view packet.Message
	buf  []byte
	size int // of the payload, which the copy may be without
}

// maxKeptBuffer is how much memory an observed keeps for the next event.
const maxKeptBuffer = 4 << 10

// observer hands events to a plugin, in order and in batches. It never holds up who
// tells the event: what does not fit takes the place of the oldest. It belongs to the
// plugin, not to a generation: what waits here while the plugin is reloaded, or is
// down, goes to the next one.
type observer struct {
	host   *Host
	limit  int
	window chan struct{} // has an element for each batch under way

	mu      sync.Mutex
	ring    []*observed // grows up to limit
	head, n int
	out     int // events that were taken and are not done with
	free    []*observed
	lost    map[pluginv1.Point]uint64
	wake    chan struct{} // has an element if the loop is to look again
	want    int           // how many events are worth waking the loop; 0 while it runs
	closing bool
	stop    chan struct{} // closed with closing
	ended   chan struct{}
}

const (
	defaultQueueSize = 8192
	// observerWindow is how many batches may be unanswered.
	observerWindow = 4
	// holdOn is how long the observer waits before it looks again whether a plugin that
	// is down or fails can be asked.
	holdOn = 100 * time.Millisecond
	// stalled is how long an observer may take for a batch before it counts as failing.
	stalled = 30 * time.Second
)

func newObserver(h *Host, limit int) *observer {
	if limit <= 0 {
		limit = defaultQueueSize
	}
	o := &observer{
		host: h, limit: limit, window: make(chan struct{}, observerWindow), lost: map[pluginv1.Point]uint64{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go o.loop()
	return o
}

// Observe tells an event to all plugins that want it. It is part of hook.Host.
func (h *Host) Observe(e *hook.Event) {
	for _, k := range h.table.Load().at(eventPoints[e.Point]) {
		if k.wants(e) {
			k.plugin.observer.put(k, e)
		}
	}
}

// eventPoints pairs the broker's points with the contract's.
var eventPoints = func() (points [64]pluginv1.Point) {
	for p, b := range hookPoints {
		points[b] = p
	}
	return points
}()

// wants reports whether an observer is to be told of an event.
func (k *hooked) wants(e *hook.Event) bool {
	ns := e.Namespace
	if e.Client != nil {
		ns = e.Client.Namespace
	}
	switch m := e.Message; {
	case m != nil:
		return k.sees(ns, text(m.Topic), m.QoS) && !k.plugin.published(m)
	case e.Topic != "" && (e.Point == hook.Subscribed || e.Point == hook.Unsubscribed):
		return k.seesFilter(ns, filterOf(e.Topic), 2)
	case e.Topic != "":
		return k.sees(ns, e.Topic, 2)
	case e.Client == nil && ns == "":
		return true // of the broker
	}
	return k.inNamespace(ns)
}

// put queues an event.
func (o *observer) put(k *hooked, e *hook.Event) {
	o.mu.Lock()
	if o.closing {
		o.mu.Unlock()
		return
	}
	var x *observed
	switch {
	case o.n == o.limit:
		x = o.ring[o.head]
		o.head = (o.head + 1) % len(o.ring)
		o.n--
		o.lost[x.hook.point]++
		x.hook.stats.lost.Add(1)
		x.drop()
	case len(o.free) > 0:
		x = o.free[len(o.free)-1]
		o.free = o.free[:len(o.free)-1]
	default:
		x = new(observed)
	}
	x.set(k, e)
	if o.n == len(o.ring) {
		o.grow()
	}
	o.ring[(o.head+o.n)%len(o.ring)] = x
	o.n++
	if o.want != 0 && o.n >= o.want {
		o.want = 0
		o.signal()
	}
	o.mu.Unlock()
}

func (o *observer) grow() {
	ring := make([]*observed, min(max(64, 2*len(o.ring)), o.limit))
	for i := range o.n {
		ring[i] = o.ring[(o.head+i)%len(o.ring)]
	}
	o.ring, o.head = ring, 0
}

func (o *observer) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// set copies what the hook wants of e.
func (x *observed) set(k *hooked, e *hook.Event) {
	x.hook, x.event, x.size = k, *e, 0
	if e.Message != nil {
		x.size = len(e.Message.Payload)
	}
	if m := e.Message; m != nil && m.Kept() {
		m.Ref()
		x.kept = m
	} else if m != nil {
		payload := m.Payload
		if k.fields&pluginv1.FieldPayload == 0 {
			payload = nil
		}
		b := append(append(append(x.buf[:0], m.Topic...), m.Props...), payload...)
		t, p := len(m.Topic), len(m.Topic)+len(m.Props)
		v := &x.view
		v.Topic, v.Props, v.Payload = b[:t:t], b[t:p:p], b[p:]
		v.Publisher, v.ID, v.Received, v.Expires, v.Origin, v.QoS, v.Retain = m.Publisher, m.ID, m.Received, m.Expires, m.Origin, m.QoS, m.Retain
		x.buf, x.kept = b, nil
		x.event.Message = v
	}
}

// drop lets go of what the event held.
func (x *observed) drop() {
	if x.kept != nil {
		x.kept.Unref()
		x.kept = nil
	}
	x.event = hook.Event{}
	if cap(x.buf) > maxKeptBuffer {
		x.buf = nil
	}
}

// loop hands out batches until close.
func (o *observer) loop() {
	defer close(o.ended)
	for {
		batch, lost, ok := o.next()
		if !ok {
			return
		}
		if len(batch) > 0 {
			o.window <- struct{}{}
			o.send(batch, lost)
		}
	}
}

// next takes the next batch: events of one point that follow each other.
func (o *observer) next() (batch []*observed, lost uint64, ok bool) {
	if !o.sleep(1, 0) {
		return nil, 0, false
	}
	o.mu.Lock()
	k := o.ring[o.head].hook
	o.mu.Unlock()
	o.sleep(k.maxBatch, k.maxDelay)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == 0 {
		return nil, 0, !o.closing
	}
	k = o.ring[o.head].hook
	size := 0
	for o.n > 0 && len(batch) < k.maxBatch {
		x := o.ring[o.head]
		if x.hook != k {
			break
		}
		if m := x.event.Message; m != nil {
			if size += m.Size(); size > maxBatchBytes && len(batch) > 0 {
				break
			}
		}
		batch = append(batch, x)
		o.ring[o.head] = nil
		o.head = (o.head + 1) % len(o.ring)
		o.n--
	}
	o.out += len(batch)
	lost = o.lost[k.point]
	delete(o.lost, k.point)
	return batch, lost, true
}

// sleep waits until n events are there, for a time at most if that is not 0. It
// returns false if the observer closes and nothing is left.
func (o *observer) sleep(n int, atMost time.Duration) bool {
	n = min(n, o.limit)
	var over <-chan time.Time
	for {
		o.mu.Lock()
		if o.n >= n || o.closing {
			o.want = 0
			left := o.n > 0
			o.mu.Unlock()
			return left
		}
		o.want = n
		o.mu.Unlock()
		if atMost > 0 && over == nil {
			t := time.NewTimer(atMost)
			defer t.Stop()
			over = t.C
		}
		select {
		case <-o.wake:
		case <-over:
			return true
		}
	}
}

// pin waits until the plugin can be asked. It returns nil if it is gone, or the
// observer closes first.
func (o *observer) pin(k *hooked) *hooked {
	for {
		now, alive := o.host.enter(k)
		if now == nil {
			return nil
		}
		if alive {
			if now.plugin.breaker.allows(o.host.nanos()) {
				return now
			}
			now.gen.leave()
		}
		select {
		case <-time.After(holdOn):
		case <-o.stop:
			return nil
		}
	}
}

// send hands out one batch.
func (o *observer) send(events []*observed, lost uint64) {
	k := o.pin(events[0].hook)
	if k == nil {
		events[0].hook.stats.lost.Add(int64(len(events)))
		o.recycle(events)
		<-o.window
		return
	}
	began := o.host.nanos()
	b := &pluginv1.Batch{Point: k.point, Lost: lost, Events: make([]pluginv1.Event, len(events))}
	k.describe(b, events)
	k.stats.calls.Add(1)
	k.stats.events.Add(int64(len(events)))
	a := new(pluginv1.Answer)
	watch := time.AfterFunc(stalled, func() { k.failed(errors.New("an observation has not been answered for 30s"), true) })
	done := func(err error) {
		watch.Stop()
		if err == nil && a.Error != "" {
			err = errors.New(a.Error)
		}
		k.stats.latency.observe(time.Duration(o.host.nanos() - began))
		if err != nil {
			k.failed(err, false)
		} else {
			k.worked()
		}
		o.recycle(events)
		k.gen.leave()
		<-o.window
	}
	if answered, err := k.gen.inst.Process(b, a, done); answered {
		done(err)
	}
}

// describe fills in a batch.
func (k *hooked) describe(b *pluginv1.Batch, events []*observed) {
	now := time.Now().UnixMilli()
	messages := make([]pluginv1.Message, 0, len(events))
	var client *hook.Client
	for i, x := range events {
		e, ev := &b.Events[i], &x.event
		if ev.Client != nil && ev.Client != client {
			client = ev.Client
			b.Clients = append(b.Clients, pluginv1.Client{})
			convert.Client(&b.Clients[len(b.Clients)-1], client, k.fields)
		}
		if ev.Client != nil {
			e.Client = uint32(len(b.Clients))
		}
		e.TimeMs, e.Topic, e.QoS, e.ReasonCode, e.Reason = ev.Time, ev.Topic, uint32(ev.QoS), uint32(ev.Code), ev.Reason
		e.Plugin, e.PluginState = ev.Plugin, pluginv1.PluginState(ev.State)
		if s := ev.Subscription; s != nil {
			e.Subscriptions = []pluginv1.Subscription{{
				TopicFilter: s.Filter, QoS: uint32(s.QoS), NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished,
				RetainHandling: uint32(s.RetainHandling), Identifier: ev.SubscriptionID,
			}}
		} else if ev.Point == hook.Unsubscribed {
			e.Subscriptions = []pluginv1.Subscription{{TopicFilter: ev.Topic}}
		}
		if m := ev.Message; m != nil {
			messages = append(messages, pluginv1.Message{})
			msg := &messages[len(messages)-1]
			convert.Message(msg, m, k.fields, now)
			if ev.Client == nil {
				msg.Namespace = ev.Namespace
			}
			if k.fields&pluginv1.FieldPayload == 0 {
				msg.PayloadSize = uint32(x.size)
			}
			e.Message = msg
		}
	}
}

func (o *observer) recycle(events []*observed) {
	for _, x := range events {
		x.drop()
	}
	o.mu.Lock()
	o.out -= len(events)
	o.free = append(o.free, events...)
	if len(o.free) > 1024 {
		clear(o.free[1024:])
		o.free = o.free[:1024]
	}
	o.mu.Unlock()
}

// queued is how many events wait.
func (o *observer) queued() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}

// flush waits, within ctx, until the plugin has answered everything that is there.
func (o *observer) flush(ctx context.Context) {
	for {
		o.mu.Lock()
		left := o.n + o.out
		o.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-time.After(flushPause):
		case <-ctx.Done():
			return
		}
	}
}

// flushPause is how often flush looks.
const flushPause = 5 * time.Millisecond

// close ends the observer. What is there is handed out within ctx if the plugin can be
// asked.
func (o *observer) close(ctx context.Context) {
	o.mu.Lock()
	o.closing = true
	o.mu.Unlock()
	o.signal()
	defer close(o.stop)
	select {
	case <-o.ended:
	case <-ctx.Done():
	}
}
