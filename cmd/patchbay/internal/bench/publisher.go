package bench

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

const (
	// burstBytes bounds what a publisher writes at once.
	burstBytes = 32 << 10
	// tick is the shortest sleep of a publisher: about what the system's timers
	// resolve. Messages that fall due meanwhile go out together.
	tick = time.Millisecond
	// tickPerPublisher makes the ticks longer where many publishers share the CPUs: at
	// 10 µs of work for a wake-up, all of them together take no more than one CPU.
	tickPerPublisher = 10 * time.Microsecond
	// stallAfter is how long a closed window may stand still before its messages are
	// taken for lost and it is opened again.
	stallAfter = 2 * time.Second
)

// publisher is the sending side of a connection. Its goroutine (run) and the read
// loop of the connection share the fields below mu.
type publisher struct {
	t     *traffic
	c     *conn
	index int

	topics []int    // indices of the frames it sends, in turn
	seqs   []uint32 // by topics: of the last message
	turn   int
	limit  int64 // messages at most
	buf    []byte
	ids    []uint16 // scratch: Packet Identifiers of one batch
	batch  int64    // least room that is worth a write

	sent    atomic.Int64
	acked   atomic.Int64 // acknowledged, or at QoS 0 known to have been read by the broker
	refused atomic.Int64 // of acked: with a Reason Code that says no
	gone    atomic.Bool  // the connection has ended

	underWay atomic.Int64 // deliveries, or messages where nobody is delivered to, not yet seen
	wake     chan struct{}

	ack packet.Ack // the read loop's
	out []byte     // the read loop's PUBRELs

	mu    sync.Mutex
	free  []uint16      // Packet Identifiers
	state []packet.Type // by Packet Identifier: what is awaited, 0 for nothing
	marks []int64       // messages before each PINGREQ that awaits its PINGRESP
}

func newPublisher(t *traffic, index int, topics []int) *publisher {
	return &publisher{
		t: t, index: index, topics: topics, seqs: make([]uint32, len(topics)),
		limit: math.MaxInt64, batch: 1, wake: make(chan struct{}, 1),
	}
}

// attach takes the connection over, within the limits that its CONNACK sets.
func (p *publisher) attach(c *conn) error {
	p.c = c
	props, qos := &c.connack.Props, p.t.r.o.qos
	if props.Has(packet.PropMaximumQoS) && qos > int(props.MaximumQoS) {
		return fmt.Errorf("the broker's Maximum QoS is %d: use -q %d", props.MaximumQoS, props.MaximumQoS)
	}
	if n := len(p.t.frames[0].b); props.Has(packet.PropMaximumPacketSize) && n > int(props.MaximumPacketSize) {
		return fmt.Errorf("the broker's Maximum Packet Size is %d bytes, the messages have %d: use a smaller --size", props.MaximumPacketSize, n)
	}
	bound := p.t.window
	if qos > 0 {
		n := p.t.r.o.inflight
		if props.Has(packet.PropReceiveMaximum) {
			n = min(n, int(props.ReceiveMaximum)) // [MQTT-3.3.4-9]
		}
		p.free, p.state = make([]uint16, n), make([]packet.Type, n+1)
		for i := range p.free {
			p.free[i] = uint16(n - i)
		}
		if bound == 0 || bound > int64(n) {
			bound = int64(n)
		}
	}
	if p.t.rate == 0 {
		// A write for each message that the window lets through would cost a system
		// call on both sides; a quarter of the window keeps it from running dry.
		p.batch = min(max(bound/4, 1), 64)
	}
	if p.t.ping {
		// Keep-alive's PINGREQs get a PINGRESP too, so they need a mark.
		c.onPing = func() { p.mark(0) }
	}
	return nil
}

// run sends until stop is closed, the limit is reached or the connection ends.
func (p *publisher) run(stop <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	stalled, since := int64(-1), time.Time{}
	for {
		select {
		case <-stop:
			return
		default:
		}
		if p.gone.Load() || p.sent.Load() >= p.limit {
			return
		}
		now := p.t.r.clock.now()
		due, wait := p.due(now)
		if n := p.room(due); n > 0 {
			stalled = -1
			if p.write(n, now) != nil {
				return // the read loop sees the end as well, and reports it
			}
			continue
		}
		if due > 0 { // held back: until credit or an acknowledgement wakes it
			if u := p.underWay.Load(); u != stalled {
				stalled, since = u, time.Now()
			} else if p.t.window > 0 && u > 0 && time.Since(since) > stallAfter {
				p.t.stalls.Add(1)
				p.underWay.Store(0)
				continue
			}
			wait = stallAfter / 4
		}
		timer.Reset(wait)
		select {
		case <-stop:
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// due gives how many messages the schedule wants sent by now, and if that is none the
// time until it wants one. Message k of publisher i of n is due at the k*n+i'th beat.
func (p *publisher) due(now int64) (n int64, wait time.Duration) {
	sent, left := p.sent.Load(), p.limit-p.sent.Load()
	if p.t.rate == 0 {
		return left, 0
	}
	next := p.dueAt(sent)
	if next > now {
		return 0, max(time.Duration(next-now), p.t.tick)
	}
	beats := int64(float64(now-p.t.start)*p.t.rate/1e9) - int64(p.index)
	n = beats/int64(len(p.t.publishers)) + 1 - sent
	return min(max(n, 1), left), 0
}

// dueAt is the run's time at which message k is due.
func (p *publisher) dueAt(k int64) int64 {
	beat := float64(k)*float64(len(p.t.publishers)) + float64(p.index)
	return p.t.start + int64(beat*1e9/p.t.rate)
}

// room gives how many of n messages may go in one write now.
func (p *publisher) room(n int64) int64 {
	if w := p.t.window; w > 0 {
		n = min(n, w-p.underWay.Load()/p.t.fan)
	}
	if p.state != nil {
		p.mu.Lock()
		n = min(n, int64(len(p.free)))
		p.mu.Unlock()
	}
	if n < min(p.batch, p.limit-p.sent.Load()) {
		return 0
	}
	return min(n, p.t.burst)
}

// write sends n messages in one go.
func (p *publisher) write(n, now int64) error {
	qos := p.t.r.o.qos
	p.take(n)
	buf := p.buf[:0]
	first := p.sent.Load()
	for k := range n {
		at := now
		if p.t.rate > 0 {
			if due := p.dueAt(first + k); now-due > p.t.lateAfter {
				at = due
			}
		}
		p.seqs[p.turn]++
		st := stamp{p.t.r.nonce, uint32(p.index), uint32(p.turn), p.seqs[p.turn], at}
		f := &p.t.frames[p.topics[p.turn]]
		var id uint16
		if qos > 0 {
			id = p.ids[k]
		}
		buf = f.appendTo(buf, id, st)
		if p.turn++; p.turn == len(p.topics) {
			p.turn = 0
		}
	}
	if p.t.ping {
		buf = append(buf, packet.Pingreq...)
		p.mark(n)
	}
	p.underWay.Add(n * p.t.fan)
	p.sent.Add(n)
	p.buf = buf
	written, err := p.c.send(buf)
	if err != nil {
		p.unsend(len(buf) - written)
	}
	return err
}

// unsend takes back the messages of which the last missing bytes of a write did not
// get out: nobody can have lost those.
func (p *publisher) unsend(missing int) {
	if p.t.ping {
		missing -= len(packet.Pingreq)
	}
	for ; missing > 0; p.sent.Add(-1) {
		if p.turn--; p.turn < 0 {
			p.turn = len(p.topics) - 1
		}
		missing -= len(p.t.frames[p.topics[p.turn]].b)
	}
}

// take gets Packet Identifiers for n messages.
func (p *publisher) take(n int64) {
	qos := p.t.r.o.qos
	if qos == 0 {
		return
	}
	await := packet.TypePuback
	if qos == 2 {
		await = packet.TypePubrec
	}
	p.mu.Lock()
	rest := len(p.free) - int(n)
	p.ids = append(p.ids[:0], p.free[rest:]...)
	p.free = p.free[:rest]
	for _, id := range p.ids {
		p.state[id] = await
	}
	p.mu.Unlock()
}

// mark notes that a PINGREQ goes out behind n more messages: as a broker reads a
// connection in order, its answer says that it has taken them.
func (p *publisher) mark(n int64) {
	p.mu.Lock()
	p.marks = append(p.marks, n)
	p.mu.Unlock()
}

// credit takes n deliveries off what is under way.
func (p *publisher) credit(n int64) {
	if p.t.window == 0 {
		return
	}
	now := p.underWay.Add(-n)
	if now < 0 && p.underWay.CompareAndSwap(now, 0) {
		now = 0 // deliveries that had been given up after a stall
	}
	if open := (p.t.window - p.batch) * p.t.fan; now <= open && now+n > open {
		p.nudge()
	}
}

func (p *publisher) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *publisher) handle(h packet.Header, body []byte, _ int64) error {
	switch h.Type {
	case packet.TypePuback, packet.TypePubrec, packet.TypePubcomp:
		if err := packet.DecodeAck(&p.ack, h.Type, p.c.version, body); err != nil {
			return err
		}
		return p.acknowledged(h.Type)
	case packet.TypePingresp:
		p.ponged()
		return nil
	}
	return p.c.unexpected(h, body)
}

func (p *publisher) acknowledged(t packet.Type) error {
	id, code := p.ack.PacketID, p.ack.Code
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(id) >= len(p.state) || p.state[id] != t {
		return fmt.Errorf("%v for packet identifier %d, which does not await it", t, id)
	}
	if t == packet.TypePubrec && !code.IsError() {
		p.state[id] = packet.TypePubcomp
		p.out = packet.AppendAck(p.out, packet.TypePubrel, p.c.version, id, packet.Success, nil)
		return nil
	}
	if code.IsError() {
		p.refused.Add(1)
	}
	p.state[id] = 0
	p.free = append(p.free, id)
	p.acked.Add(1)
	return nil
}

func (p *publisher) ponged() {
	p.mu.Lock()
	var n int64
	if len(p.marks) > 0 {
		n = p.marks[0]
		p.marks = p.marks[:copy(p.marks, p.marks[1:])]
	}
	p.mu.Unlock()
	if p.t.ping {
		p.acked.Add(n)
		p.credit(n)
	}
}

// flush sends the PUBRELs, and wakes the publisher if there is room now.
func (p *publisher) flush(int64) error {
	p.mu.Lock()
	room := p.state != nil && int64(len(p.free)) >= min(p.batch, p.limit-p.sent.Load())
	p.mu.Unlock()
	if room {
		p.nudge()
	}
	if len(p.out) == 0 {
		return nil
	}
	err := p.c.post(p.out)
	p.out = p.out[:0]
	return err
}
