package pluginhost

import (
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Observe tells an event to all plugins that want it. It is part of hook.Host.
func (h *Host) Observe(e *hook.Event) {
	if e.Point == hook.Connected && h.services.Any() {
		h.checkConnected(e.Client)
	}
	if e.Point == hook.Connected {
		h.permits.connected(e.Client)
	}
	if t := h.tap.Load(); t != nil {
		t.observe(e)
	}
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

// pin waits until the plugin can be asked. It returns nil if it is gone, or the
// observer closes first.
func (o *observer) pin(k *hooked) *hooked {
	for {
		now, alive := o.host.enter(k)
		if now == nil {
			return nil
		}
		if alive {
			if now.mayAsk(true, o.host.nanos()) {
				return now
			}
		}
		select {
		case <-time.After(holdOn):
		case <-o.stop:
			return nil
		}
	}
}

// telling is one batch on its way to an observer.
type telling struct {
	o        *observer
	events   []*observed
	lost     uint64
	batch    pluginv1.Batch
	answer   pluginv1.Answer
	messages []pluginv1.Message
	hook     *hooked // of the generation that is told
	began    int64
	watch    *time.Timer
	back     func(error) // told
}

// telling returns one that is empty.
func (o *observer) telling() *telling {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.spares); n > 0 {
		t := o.spares[n-1]
		o.spares = o.spares[:n-1]
		return t
	}
	t := &telling{o: o}
	t.back = t.told
	return t
}

// send hands the batch out.
func (t *telling) send() {
	o := t.o
	k := o.pin(t.events[0].hook)
	if k == nil {
		t.giveUp()
		<-o.window
		return
	}
	t.hook, t.began = k, o.host.nanos()
	t.describe()
	k.stats.calls.Add(1)
	k.stats.events.Add(int64(len(t.events)))
	t.watch = time.AfterFunc(stalled, func() {
		k.gen.lates.add(t, o.host.nanos())
		k.failed(fmt.Errorf("an observation has not been answered for %s", stalled), true)
	})
	if answered, err := k.gen.inst.Process(&t.batch, &t.answer, t.back); answered {
		t.told(err)
	}
}

// told is the plugin's answer.
func (t *telling) told(err error) {
	o, k := t.o, t.hook
	if !t.watch.Stop() {
		k.gen.lates.remove(t)
	}
	now := o.host.nanos()
	k.stats.latency.observe(time.Duration(now - t.began))
	spoiled := err != nil // a method that hangs may go on reading
	if err == nil && t.answer.Error != "" {
		err = errors.New(t.answer.Error)
	}
	if err != nil {
		k.failed(err, false)
	} else {
		k.worked()
	}
	if spoiled {
		o.forget(len(t.events))
	} else {
		t.recycle()
	}
	k.gen.leave()
	<-o.window
}

// describe fills in the batch. The events may have been queued for a hook of an earlier
// generation: what that has not asked for is not there.
func (t *telling) describe() {
	k, b := t.hook, &t.batch
	now := time.Now().UnixMilli()
	fields := k.fields & (t.events[0].hook.fields | ^pluginv1.FieldPayload)
	b.Point, b.Lost, b.Clients = k.point, t.lost, b.Clients[:0]
	t.answer.Verdicts, t.answer.Error = t.answer.Verdicts[:0], ""
	if cap(b.Events) < len(t.events) {
		b.Events, t.messages = make([]pluginv1.Event, len(t.events)), make([]pluginv1.Message, len(t.events))
	}
	b.Events, t.messages = b.Events[:len(t.events)], t.messages[:len(t.events)]
	var client *hook.Client
	for i, x := range t.events {
		ev := &x.event
		if ev.Client != nil && ev.Client != client {
			client = ev.Client
			n := len(b.Clients)
			if n < cap(b.Clients) {
				b.Clients = b.Clients[:n+1]
			} else {
				b.Clients = append(b.Clients, pluginv1.Client{})
			}
			convert.Client(&b.Clients[n], client, fields)
		}
		e := &b.Events[i]
		*e = pluginv1.Event{
			TimeMs: ev.Time, Topic: ev.Topic, QoS: uint32(ev.QoS), ReasonCode: uint32(ev.Code), Reason: ev.Reason,
			Plugin: ev.Plugin, PluginState: pluginv1.PluginState(ev.State), Subscriptions: e.Subscriptions[:0],
		}
		if ev.Client != nil {
			e.Client = uint32(len(b.Clients))
		}
		if s := ev.Subscription; s != nil {
			e.Subscriptions = append(e.Subscriptions, pluginv1.Subscription{})
			convert.Subscription(&e.Subscriptions[0], s, ev.SubscriptionID)
		} else if ev.Point == hook.Unsubscribed {
			e.Subscriptions = append(e.Subscriptions, pluginv1.Subscription{TopicFilter: ev.Topic})
		}
		if ev.Message != nil {
			e.Message = &t.messages[i]
			x.describe(e.Message, fields, now)
		}
	}
}

// describe fills in the message of an event.
func (x *observed) describe(msg *pluginv1.Message, fields pluginv1.Field, now int64) {
	ev := &x.event
	convert.Message(msg, ev.Message, fields, now)
	if ev.Client == nil {
		msg.Namespace = ev.Namespace
	} else if msg.Publisher == ev.Client.ID {
		msg.Publisher = ""
	}
	if fields&pluginv1.FieldPayload == 0 {
		msg.PayloadSize = uint32(x.size)
	}
}

// giveUp drops events that were taken and cannot be handed out.
func (t *telling) giveUp() {
	t.events[0].hook.stats.lost.Add(int64(len(t.events)))
	t.recycle()
}

// forget is recycle for events that somebody may still be reading: the garbage
// collector gets them.
func (o *observer) forget(n int) {
	o.mu.Lock()
	o.out -= n
	o.mu.Unlock()
}

// maxSpare is how many events are kept to be used again.
const maxSpare = 1024

func (t *telling) recycle() {
	for _, x := range t.events {
		x.drop()
	}
	o := t.o
	o.mu.Lock()
	o.out -= len(t.events)
	o.free = append(o.free, t.events[:min(len(t.events), max(maxSpare-len(o.free), 0))]...)
	clear(t.events)
	t.events, t.hook, t.watch = t.events[:0], nil, nil
	if len(o.spares) < observerWindow {
		o.spares = append(o.spares, t)
	}
	o.mu.Unlock()
}
