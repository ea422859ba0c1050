package pluginhost

import (
	"context"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// observed is an event that waits for its observer.
type observed struct {
	hook  *hooked
	event hook.Event
	// kept is the event's message with a reference, or a copy in view, which uses buf.
	kept         *packet.Message
	view         packet.Message
	subscription packet.Subscription // that event points to
	buf          []byte
	size         int // of the payload, which the copy may be without
	held         int // memory for the message
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
	bytes   int // that these hold
	ripe    int // how many of these have waited long enough for others to come
	out     int // events that were taken and are not done with
	free    []*observed
	spares  []*telling
	lost    map[pluginv1.Point]uint64
	wake    chan struct{} // has an element if the loop is to look again
	want    int           // how many events are worth waking the loop; 0 while it runs
	closing bool
	stop    chan struct{} // closed with closing
	ended   chan struct{}
}

const (
	defaultQueueSize = 8192
	// observerBytes is how much memory the messages of waiting events may hold.
	observerBytes = 64 << 20
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

// put queues an event.
func (o *observer) put(k *hooked, e *hook.Event) {
	o.mu.Lock()
	if o.closing {
		o.mu.Unlock()
		return
	}
	x := o.spare()
	x.set(k, e)
	for o.n >= o.limit || o.n > 0 && o.bytes+x.held > observerBytes {
		o.overflow()
	}
	if o.n == len(o.ring) {
		o.grow()
	}
	o.ring[(o.head+o.n)%len(o.ring)] = x
	o.n++
	o.bytes += x.held
	if o.want != 0 && o.n >= o.want {
		o.want = 0
		o.signal()
	}
	o.mu.Unlock()
}

// spare returns an observed to be used. It is called with mu held.
func (o *observer) spare() *observed {
	n := len(o.free)
	if n == 0 {
		return new(observed)
	}
	x := o.free[n-1]
	o.free = o.free[:n-1]
	return x
}

// overflow drops the oldest event. It is called with mu held.
func (o *observer) overflow() {
	x := o.take()
	o.lost[x.hook.point]++
	x.hook.stats.lost.Add(1)
	x.drop()
	o.free = append(o.free, x)
}

// take takes the oldest event. It is called with mu held.
func (o *observer) take() *observed {
	x := o.ring[o.head]
	o.ring[o.head] = nil
	o.head = (o.head + 1) % len(o.ring)
	o.n--
	o.bytes -= x.held
	o.ripe = max(o.ripe-1, 0)
	return x
}

// resize changes how many events are kept.
func (o *observer) resize(limit int) {
	if limit <= 0 {
		limit = defaultQueueSize
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limit = limit
	for o.n > limit {
		o.overflow()
	}
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
	x.hook, x.event, x.size, x.held = k, *e, 0, 0
	if e.Subscription != nil {
		x.subscription = *e.Subscription
		x.event.Subscription = &x.subscription
	}
	m := e.Message
	if m == nil {
		return
	}
	x.size = len(m.Payload)
	wanted := k.fields&pluginv1.FieldPayload != 0
	if m.Kept() && (wanted || x.size <= maxKeptBuffer) {
		m.Ref()
		x.kept, x.held = m, m.Size()
	} else {
		payload := m.Payload
		if !wanted {
			payload = nil
		}
		b := append(append(append(x.buf[:0], m.Topic...), m.Props...), payload...)
		t, p := len(m.Topic), len(m.Topic)+len(m.Props)
		v := &x.view
		v.Topic, v.Props, v.Payload = b[:t:t], b[t:p:p], b[p:]
		v.Publisher, v.ID, v.Received, v.Expires, v.Origin, v.QoS, v.Retain = m.Publisher, m.ID, m.Received, m.Expires, m.Origin, m.QoS, m.Retain
		x.buf, x.kept, x.held = b, nil, len(b)
		x.event.Message = v
	}
}

// drop lets go of what the event held.
func (x *observed) drop() {
	if x.kept != nil {
		x.kept.Unref()
		x.kept = nil
	}
	x.hook, x.event, x.subscription = nil, hook.Event{}, packet.Subscription{}
	if cap(x.buf) > maxKeptBuffer {
		x.buf = nil
	}
}

// loop hands out batches until close.
func (o *observer) loop() {
	defer close(o.ended)
	for {
		t := o.telling()
		if !o.next(t) {
			return
		}
		select {
		case o.window <- struct{}{}:
			t.send()
		case <-o.stop:
			t.giveUp()
		}
	}
}

// next takes the next batch: events of one point that follow each other. It returns
// false at the end.
func (o *observer) next(t *telling) bool {
	if !o.sleep(1, 0) {
		return false
	}
	o.mu.Lock()
	k, ripe := o.ring[o.head].hook, o.ripe > 0
	o.mu.Unlock()
	if !ripe {
		o.sleep(k.maxBatch, k.maxDelay)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !ripe {
		o.ripe = o.n
	}
	k = o.ring[o.head].hook
	size := 0
	for o.n > 0 && len(t.events) < k.maxBatch {
		x := o.ring[o.head]
		if x.hook != k {
			break
		}
		if m := x.event.Message; m != nil {
			if size += sentSize(m, k.fields); size > maxBatchBytes && len(t.events) > 0 {
				break
			}
		}
		t.events = append(t.events, o.take())
	}
	o.out += len(t.events)
	t.lost = o.lost[k.point]
	delete(o.lost, k.point)
	return true
}

// sleep waits until n events are there, for a time at most if that is not 0. It
// returns false if the observer closes and nothing is left.
func (o *observer) sleep(n int, atMost time.Duration) bool {
	var over <-chan time.Time
	for {
		o.mu.Lock()
		enough := min(n, o.limit)
		if o.n >= enough || o.closing {
			o.want = 0
			left := o.n > 0
			o.mu.Unlock()
			return left
		}
		o.want = enough
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
