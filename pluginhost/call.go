package pluginhost

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// call is one Batch on its way to a plugin and back.
//
// It is used again and again by its run. If the plugin does not answer at once there
// are three who may do something about it: the runtime (returned), the plugin, about
// what it has put off (complete), and the clock (late). mu is for these; whoever
// settles the call goes on with the run. Each of them may come when the call is
// settled already, and about another batch: id and lates are there to tell. Once the
// deadline has passed before the runtime has answered, batch and answer are the
// runtime's, and the call is given up with them.
type call struct {
	run    *run
	hook   *hooked
	batch  pluginv1.Batch
	answer pluginv1.Answer
	index  []int // of the request that each event of the batch is about
	size   int   // of the messages, as far as they are sent
	now    int64 // in Unix milliseconds, if that is needed
	began  int64

	// What events point to.
	messages []pluginv1.Message
	auth     pluginv1.Authentication
	connect  pluginv1.Connect
	client   *hook.Client // that the last element of batch.Clients describes
	kept     []*packet.Message

	back func(error) // c.returned

	// spoiled says that the runtime has failed later, and may be reading the batch even
	// now (a method that hangs, after Close): the run takes another call.
	spoiled bool

	mu       sync.Mutex
	waiting  bool // somebody else than the run's goroutine will settle it
	answered bool // by the runtime
	settled  bool
	holding  bool        // references to kept
	timer    *time.Timer // that calls late
	armed    bool        // it runs
	lates    int         // calls of late that have begun when the call was settled
	id       uint64
	known    bool             // by its id to generation.Complete
	put      map[int]struct{} // events that were put off and are not completed
	early    map[int]*pluginv1.Verdict
}

func newCall() *call {
	c := &call{}
	c.back = c.returned
	return c
}

// reset makes c ready for a batch to the plugin of k.
func (c *call) reset(r *run, k *hooked) {
	c.run, c.hook = r, k
	c.batch.Point, c.batch.DeadlineMs = k.point, uint32(k.deadline/time.Millisecond)
	c.batch.Clients, c.batch.Events = c.batch.Clients[:0], c.batch.Events[:0]
	c.answer.Verdicts, c.answer.Error = c.answer.Verdicts[:0], ""
	c.index, c.messages, c.kept, c.client, c.size, c.now = c.index[:0], c.messages[:0], c.kept[:0], nil, 0, 0
}

// open makes c ready to be answered, under an id by which it is told from the batches
// before.
func (c *call) open(id uint64) {
	c.mu.Lock()
	c.id = id
	c.waiting, c.answered, c.settled, c.holding, c.known = false, false, false, false, false
	clear(c.put)
	clear(c.early)
	c.mu.Unlock()
}

// full reports whether no further event fits.
func (c *call) full() bool { return len(c.batch.Events) >= c.hook.maxBatch }

// fits reports whether an event about m fits. The first one always does.
func (c *call) fits(m *packet.Message) bool {
	n := len(c.batch.Events)
	return n == 0 || n < c.hook.maxBatch && c.size+sentSize(m, c.hook.fields) <= maxBatchBytes
}

// sentSize is how many bytes of a message a plugin gets.
func sentSize(m *packet.Message, fields pluginv1.Field) int {
	n := len(m.Topic)
	if fields&pluginv1.FieldPayload != 0 {
		n += len(m.Payload)
	}
	if fields&(pluginv1.FieldProperties|pluginv1.FieldUserProperties) != 0 {
		n += len(m.Props)
	}
	return n
}

// add appends an event about a request. The event is to be filled in before the next
// one is added.
func (c *call) add(request int, client *hook.Client) *pluginv1.Event {
	n := len(c.batch.Events)
	if n < cap(c.batch.Events) {
		c.batch.Events = c.batch.Events[:n+1]
	} else {
		c.batch.Events = append(c.batch.Events, pluginv1.Event{})
	}
	e := &c.batch.Events[n]
	*e = pluginv1.Event{Subscriptions: e.Subscriptions[:0], UserProperties: e.UserProperties[:0]}
	e.Client = c.clientNumber(client)
	c.index = append(c.index, request)
	return e
}

// clientNumber describes a client in the batch, once if it comes several times in a
// row.
func (c *call) clientNumber(client *hook.Client) uint32 {
	if client == nil {
		return 0
	}
	if client != c.client {
		c.client = client
		n := len(c.batch.Clients)
		if n < cap(c.batch.Clients) {
			c.batch.Clients = c.batch.Clients[:n+1]
		} else {
			c.batch.Clients = append(c.batch.Clients, pluginv1.Client{})
		}
		convert.Client(&c.batch.Clients[n], client, c.hook.fields)
	}
	return uint32(len(c.batch.Clients))
}

// message describes m for an event of the batch. base is m itself or, if that was
// changed, the message whose memory it shares. n is how many messages the batch may get
// at most.
func (c *call) message(m, base *packet.Message, n int) *pluginv1.Message {
	if cap(c.messages) < n {
		c.messages = make([]pluginv1.Message, 0, n) // events point into it: it must not move
	}
	c.messages = c.messages[:len(c.messages)+1]
	x := &c.messages[len(c.messages)-1]
	if m.Expires != packet.NoExpiry && c.now == 0 {
		c.now = time.Now().UnixMilli()
	}
	convert.Message(x, m, c.hook.fields, c.now)
	c.kept = append(c.kept, base)
	c.size += sentSize(m, c.hook.fields)
	return x
}

// ask hands the batch to the plugin, and reports whether it is settled; if not, the
// run goes on elsewhere.
func (c *call) ask(alive bool) bool {
	h, k := c.run.host, c.hook
	now := h.nanos()
	if !k.mayAsk(alive, now) {
		c.failAll()
		return true
	}
	c.began = now
	k.stats.calls.Add(1)
	k.stats.events.Add(int64(len(c.batch.Events)))
	k.gen.number(c)
	answered, err := k.gen.inst.Process(&c.batch, &c.answer, c.back)
	if answered {
		k.stats.latency.observe(time.Duration(h.nanos() - now))
		c.mu.Lock()
		c.answered = true
		complete := c.take(err)
		if complete {
			c.settle()
		}
		c.mu.Unlock()
		if complete {
			k.gen.leave()
			return true
		}
	}
	return c.await()
}

// mayAsk reports whether a plugin, which was entered if it is alive, can be asked. If
// not, it has been left.
func (k *hooked) mayAsk(alive bool, now int64) bool {
	if !alive {
		return false
	}
	if k.gen.crowded() || !k.plugin.breaker.allows(now) {
		k.gen.leave()
		return false
	}
	return true
}

// await leaves the call to be settled later, unless that has happened already.
func (c *call) await() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = true
	if c.settled {
		// Somebody has been quick, and has left the rest of the run to this goroutine.
		if c.spoiled {
			c.hold() // for ever, see release
		}
		return true
	}
	c.hold()
	left := c.hook.deadline - time.Duration(c.run.host.nanos()-c.began)
	if c.timer == nil {
		c.timer = time.AfterFunc(left, c.late)
	} else {
		c.timer.Reset(left)
	}
	c.armed = true
	return false
}

// hold keeps the memory of the batch from being used again.
func (c *call) hold() {
	for _, m := range c.kept {
		if m.Kept() {
			m.Ref()
		}
	}
	c.holding = true
}

// returned is the runtime's answer, if it comes later. c may have been settled by its
// deadline.
func (c *call) returned(err error) {
	k := c.hook
	now := k.plugin.host.nanos() // run may be another's already
	k.stats.latency.observe(time.Duration(now - c.began))
	c.mu.Lock()
	c.answered, c.spoiled = true, err != nil
	if c.settled {
		c.release()
		c.mu.Unlock()
		k.gen.lates.remove(c)
		k.gen.leave()
		return
	}
	complete := c.take(err)
	if complete {
		c.settle()
	}
	resume := complete && c.waiting
	c.mu.Unlock()
	if complete {
		k.gen.leave()
	}
	if resume {
		c.run.resume()
	}
}

// complete is a verdict on the i-th event of the batch id, which was put off. It reports
// whether that is still waited for.
func (c *call) complete(id uint64, i int, v *pluginv1.Verdict) bool {
	own := new(pluginv1.Verdict)
	if err := own.Unmarshal(v.AppendTo(nil)); err != nil {
		return false
	}
	own.Event = uint32(i)
	c.mu.Lock()
	if c.id != id || c.settled || i >= len(c.batch.Events) {
		c.mu.Unlock()
		return false
	}
	_, wanted := c.put[i]
	if !wanted {
		defer c.mu.Unlock()
		// The plugin's call has not returned yet: then it may still put it off.
		if c.answered || c.early[i] != nil {
			return false
		}
		if c.early == nil {
			c.early = map[int]*pluginv1.Verdict{}
		}
		c.early[i] = own
		return true
	}
	c.completed(i, own)
	last := len(c.put) == 0
	if last {
		c.settle()
	}
	resume := last && c.waiting
	gen := c.hook.gen
	c.mu.Unlock()
	if last {
		gen.leave()
	}
	if resume {
		c.run.resume()
	}
	return true
}

// completed acts on a verdict that comes after its batch was answered.
func (c *call) completed(i int, v *pluginv1.Verdict) {
	delete(c.put, i)
	if err := c.check(v); err != nil || v.Action == pluginv1.ActionDefer {
		if err == nil {
			err = errors.New("a verdict that was put off was put off again")
		}
		c.hook.failed(err, false)
		c.byPolicy(i)
		return
	}
	c.verdict(v)
}

// late is the deadline.
func (c *call) late() {
	c.mu.Lock()
	if c.lates > 0 {
		// It was settled when this had begun, and may be about another batch by now.
		c.lates--
		c.mu.Unlock()
		return
	}
	k, run, answered := c.hook, c.run, c.answered
	k.failed(fmt.Errorf("no answer within %s", k.deadline), true)
	if answered {
		for i := range c.put {
			c.byPolicy(i)
		}
	} else {
		k.gen.lates.add(c, k.plugin.host.nanos())
		c.failAll()
	}
	c.settled, c.armed = true, false
	k.gen.forget(c)
	if answered {
		c.release()
	} else {
		run.call = newCall() // this one is the runtime's for as long as it likes
	}
	c.mu.Unlock()
	if answered {
		k.gen.leave()
	}
	run.resume()
}

// settle is called with mu held when everything has been decided in time.
func (c *call) settle() {
	c.settled = true
	if c.armed && !c.timer.Stop() {
		c.lates++
	}
	c.armed = false
	c.hook.gen.forget(c)
	c.release()
}

// release gives back the references that were taken for a runtime that answers later.
// One that has failed may go on reading: what it has then is left to the garbage
// collector.
func (c *call) release() {
	if !c.holding {
		return
	}
	c.holding = false
	if c.spoiled {
		return
	}
	for _, m := range c.kept {
		m.Unref()
	}
}

// take acts on the runtime's answer, and reports whether nothing was put off.
func (c *call) take(err error) bool {
	k := c.hook
	if err == nil {
		err = c.valid()
	}
	if err != nil {
		k.failed(err, false)
		c.failAll()
		return true
	}
	k.worked()
	for i := range c.answer.Verdicts {
		v := &c.answer.Verdicts[i]
		if v.Action != pluginv1.ActionDefer {
			c.verdict(v)
			continue
		}
		k.stats.verdicts[v.Action].Add(1)
		if c.put == nil {
			c.put = map[int]struct{}{}
		}
		c.put[int(v.Event)] = struct{}{}
	}
	for i, v := range c.early {
		if _, ok := c.put[i]; ok {
			c.completed(i, v)
		}
	}
	clear(c.early)
	if len(c.put) > 0 {
		k.gen.remember(c)
		return false
	}
	return true
}

func (c *call) verdict(v *pluginv1.Verdict) {
	c.hook.stats.verdicts[v.Action].Add(1)
	if v.Action != pluginv1.ActionContinue {
		c.run.work.decide(c, int(v.Event), v)
	}
}

// failAll answers all events by the failure policy.
func (c *call) failAll() {
	for i := range c.batch.Events {
		c.byPolicy(i)
	}
}

func (c *call) byPolicy(i int) {
	c.hook.stats.policy.Add(1)
	if c.hook.failure != pluginv1.FailurePolicyContinue {
		c.run.work.fail(c, i)
	}
}
