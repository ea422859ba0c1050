package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// traffic is what the scenarios that publish have in common: publishers, subscribers
// and the pace.
type traffic struct {
	r           *runner
	frames      []frame // by topic
	publishers  []*publisher
	subscribers []*subscriber

	fan    int64   // what one message adds to its publisher's window: its deliveries, or 1
	window int64   // messages a publisher may be ahead; 0 for no such bound
	ping   bool    // nobody is delivered to at QoS 0: PINGRESP tells what the broker has read
	rate   float64 // messages/s of all publishers, 0 for the window's pace
	start  int64   // of the schedule, in the run's time

	tick      time.Duration // shortest sleep of a publisher
	lateAfter int64         // ns after which a message is late, and stamped with its due time
	burst     int64         // messages in one write at most

	stalls      atomic.Int64
	latencyFrom atomic.Int64 // latencies count from here if a message is older
	unfinished  bool         // deliveries still came when the drain was over

	stop    chan struct{} // closed: no more messages
	senders sync.WaitGroup
}

// layout says who publishes and subscribes to what.
type layout struct {
	topics      []string
	publishers  int
	topicsOf    func(publisher int) []int // indices into topics
	subscribers int
	shareOf     func(subscriber int) share
	filtersOf   func(subscriber int) []string
	persistent  bool // the subscribers' sessions
	fan         int  // deliveries of one message
}

func newTraffic(r *runner, l layout) (*traffic, error) {
	ledgers := 0
	for i := range l.subscribers {
		ledgers += l.shareOf(i).size()
	}
	if ledgers > maxLedgers {
		return nil, usagef("to tell losses and duplicates apart takes an account for each subscriber, publisher and topic: %d, at most %d are possible; use fewer", ledgers, maxLedgers)
	}
	o := &r.o
	t := &traffic{r: r, fan: int64(l.fan), rate: o.rate, tick: tick, stop: make(chan struct{})}
	t.ping = o.qos == 0 && l.fan == 0
	if t.rate == 0 && (l.fan > 0 || t.ping) {
		t.window = int64(o.window)
	}
	t.fan = max(t.fan, 1)
	t.tick = max(tick, time.Duration(l.publishers)*tickPerPublisher)
	// The generator's own sleep is not the broker's lateness: one tick if messages
	// fall due more often than that.
	t.lateAfter = int64(2 * tick)
	if t.rate > 0 && float64(l.publishers)/t.rate < t.tick.Seconds() {
		t.lateAfter = int64(2 * t.tick)
	}
	for _, topic := range l.topics {
		t.frames = append(t.frames, newFrame(o.mqttVersion(), topic, byte(o.qos), o.size))
	}
	t.burst = max(1, burstBytes/int64(len(t.frames[0].b)))
	for i := range l.publishers {
		p := newPublisher(t, i, l.topicsOf(i))
		p.turn = i * len(p.topics) / l.publishers // not all of them at the same topic
		if o.count > 0 {
			p.limit = (o.count + int64(l.publishers-1-i)) / int64(l.publishers)
		}
		t.publishers = append(t.publishers, p)
	}
	for i := range l.subscribers {
		t.subscribers = append(t.subscribers, newSubscriber(t, l.shareOf(i)))
	}
	r.sampler.watch(t.counts)
	r.result.Messages = &messageResult{
		QoS: o.qos, Size: o.size, Publishers: l.publishers, Subscribers: l.subscribers, Topics: len(l.topics),
		DemandedPerSecond: o.rate, DeliveriesPerMessage: l.fan,
	}
	r.result.account = t.account
	return t, nil
}

// connectSubscribers opens the subscribers' connections.
func (t *traffic) connectSubscribers(ctx context.Context, l layout) error {
	specs := make([]connSpec, l.subscribers)
	for i := range specs {
		specs[i] = connSpec{clientID: t.subscriberID(i), persistent: l.persistent, filters: l.filtersOf(i)}
	}
	return t.connect(ctx, specs, func(i int, c *conn) error {
		ended := make(chan struct{})
		t.subscribers[i].c, t.subscribers[i].ended = c, ended
		t.r.serve(c, t.subscribers[i], func() { close(ended) })
		return nil
	})
}

// connectPublishers opens the publishers' connections.
func (t *traffic) connectPublishers(ctx context.Context) error {
	specs := make([]connSpec, len(t.publishers))
	for i := range specs {
		specs[i] = connSpec{clientID: fmt.Sprintf("%s-p%d", t.r.prefix, i)}
	}
	return t.connect(ctx, specs, func(i int, c *conn) error {
		p := t.publishers[i]
		if err := p.attach(c); err != nil {
			return err
		}
		t.r.serve(c, p, func() {
			p.gone.Store(true)
			p.nudge()
		})
		return nil
	})
}

func (t *traffic) subscriberID(i int) string { return fmt.Sprintf("%s-s%d", t.r.prefix, i) }

func (t *traffic) connect(ctx context.Context, specs []connSpec, ready func(i int, c *conn) error) error {
	took, err := t.r.connectAll(ctx, specs, ready)
	t.r.result.connected(len(specs), took)
	return err
}

// begin lets the publishers send; the channel is closed when all have sent their limit
// or lost their connections.
func (t *traffic) begin() <-chan struct{} {
	t.start = t.r.clock.now()
	for _, p := range t.publishers {
		t.senders.Go(func() { p.run(t.stop) })
	}
	done := make(chan struct{})
	go func() {
		t.senders.Wait()
		close(done)
	}()
	return done
}

// runTraffic does a whole run: connect, warm up, measure, drain.
func (r *runner) runTraffic(ctx context.Context, l layout) error {
	t, err := newTraffic(r, l)
	if err != nil {
		return err
	}
	r.sampler.enter(phaseConnecting)
	if l.persistent {
		defer t.removeSessions(context.WithoutCancel(ctx))
	}
	if err := t.connectSubscribers(ctx, l); err != nil {
		return err
	}
	if err := t.connectPublishers(ctx); err != nil {
		return err
	}
	done := t.begin()
	wait := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-done:
		case <-ctx.Done():
		}
	}
	r.sampler.enter(phaseWarmup)
	wait(r.o.warmup)
	r.sampler.enter(phaseMeasuring)
	wait(r.o.duration)
	close(t.stop)
	r.sampler.enter(phaseDraining)
	t.drain(ctx)
	return nil
}

// drain waits for what is under way: deliveries and acknowledgements. After Ctrl-C it
// does so only shortly. It gives the time of the last one.
func (t *traffic) drain(ctx context.Context) (last time.Time) {
	limit := t.r.o.drain
	if ctx.Err() != nil {
		limit = min(limit, quiet)
	}
	last = drain(limit, t.progress, t.complete)
	t.unfinished = limit > 0 && !t.complete() && time.Since(last) < quiet
	return last
}

// progress is a number that grows with each delivery and acknowledgement.
func (t *traffic) progress() uint64 {
	_, acked, got := t.totals()
	return got + acked
}

// complete reports whether nothing is under way any more.
func (t *traffic) complete() bool {
	sent, acked, got := t.totals()
	return got >= t.expected(sent) && (acked == sent || !t.acks())
}

// acks reports whether the broker acknowledges messages.
func (t *traffic) acks() bool { return t.r.o.qos > 0 || t.ping }

func (t *traffic) totals() (sent, acked, delivered uint64) {
	for _, p := range t.publishers {
		sent += uint64(p.sent.Load())
		acked += uint64(p.acked.Load())
	}
	for _, s := range t.subscribers {
		delivered += s.delivered.Load()
	}
	return sent, acked, delivered
}

func (t *traffic) expected(sent uint64) uint64 {
	return sent * uint64(t.r.result.Messages.DeliveriesPerMessage)
}

// counts is what the sampler shows. Where nobody is delivered to, published is what
// the broker is known to have read: the rest may be in the sockets' buffers.
func (t *traffic) counts() (published, delivered uint64) {
	sent, acked, got := t.totals()
	if len(t.subscribers) == 0 {
		return acked, 0
	}
	return sent, got
}

// account fills in the result when all connections have ended.
func (t *traffic) account(m *messageResult) {
	t.senders.Wait()
	sent, acked, got := t.totals()
	m.Published, m.Delivered, m.Expected = sent, got, t.expected(sent)
	m.Lost = int64(m.Expected) - int64(got)
	if t.acks() {
		m.Unacknowledged = sent - acked
	}
	for _, s := range t.subscribers {
		m.Duplicated += s.duplicated.Load()
		m.OutOfOrder += s.late.Load()
		m.Foreign += s.foreign.Load()
	}
	for _, p := range t.publishers {
		m.Refused += uint64(p.refused.Load())
	}
	m.WindowStalls, m.Unfinished = t.stalls.Load(), t.unfinished
}

// leaveSubscribers ends the subscribers' connections, not their sessions. The broker
// closes when it has read the DISCONNECT, and then knows that they are away.
func (t *traffic) leaveSubscribers() {
	for _, s := range t.subscribers {
		t.r.forget(s.c)
		s.c.disconnect()
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	for _, s := range t.subscribers {
		select {
		case <-s.ended:
		case <-ctx.Done():
		}
		s.c.nc.Close()
		<-s.ended
	}
}
