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

// send hands out one batch.
func (o *observer) send(events []*observed, lost uint64) {
	k := o.pin(events[0].hook)
	if k == nil {
		o.giveUp(events)
		<-o.window
		return
	}
	began := o.host.nanos()
	b := &pluginv1.Batch{Point: k.point, Lost: lost, Events: make([]pluginv1.Event, len(events))}
	k.describe(b, events)
	k.stats.calls.Add(1)
	k.stats.events.Add(int64(len(events)))
	a := new(pluginv1.Answer)
	watch := time.AfterFunc(stalled, func() {
		k.gen.abandoned.Add(1)
		k.failed(fmt.Errorf("an observation has not been answered for %s", stalled), true)
	})
	done := func(err error) {
		if !watch.Stop() {
			k.gen.abandoned.Add(-1)
		}
		now := o.host.nanos()
		k.gen.heard.Store(now)
		k.stats.latency.observe(time.Duration(now - began))
		spoiled := err != nil // a method that hangs may go on reading
		if err == nil && a.Error != "" {
			err = errors.New(a.Error)
		}
		if err != nil {
			k.failed(err, false)
		} else {
			k.worked()
		}
		if spoiled {
			o.forget(len(events))
		} else {
			o.recycle(events)
		}
		k.gen.leave()
		<-o.window
	}
	if answered, err := k.gen.inst.Process(b, a, done); answered {
		done(err)
	}
}

// describe fills in a batch. The events may have been queued for a hook of an earlier
// generation: what that has not asked for is not there.
func (k *hooked) describe(b *pluginv1.Batch, events []*observed) {
	now := time.Now().UnixMilli()
	fields := k.fields & (events[0].hook.fields | ^pluginv1.FieldPayload)
	messages := make([]pluginv1.Message, 0, len(events))
	var client *hook.Client
	for i, x := range events {
		e, ev := &b.Events[i], &x.event
		if ev.Client != nil && ev.Client != client {
			client = ev.Client
			b.Clients = append(b.Clients, pluginv1.Client{})
			convert.Client(&b.Clients[len(b.Clients)-1], client, fields)
		}
		if ev.Client != nil {
			e.Client = uint32(len(b.Clients))
		}
		e.TimeMs, e.Topic, e.QoS, e.ReasonCode, e.Reason = ev.Time, ev.Topic, uint32(ev.QoS), uint32(ev.Code), ev.Reason
		e.Plugin, e.PluginState = ev.Plugin, pluginv1.PluginState(ev.State)
		if s := ev.Subscription; s != nil {
			e.Subscriptions = make([]pluginv1.Subscription, 1)
			convert.Subscription(&e.Subscriptions[0], s, ev.SubscriptionID)
		} else if ev.Point == hook.Unsubscribed {
			e.Subscriptions = []pluginv1.Subscription{{TopicFilter: ev.Topic}}
		}
		if m := ev.Message; m != nil {
			messages = append(messages, pluginv1.Message{})
			msg := &messages[len(messages)-1]
			convert.Message(msg, m, fields, now)
			if ev.Client == nil {
				msg.Namespace = ev.Namespace
			} else if msg.Publisher == ev.Client.ID {
				msg.Publisher = ""
			}
			if fields&pluginv1.FieldPayload == 0 {
				msg.PayloadSize = uint32(x.size)
			}
			e.Message = msg
		}
	}
}

// giveUp drops events that were taken and cannot be handed out.
func (o *observer) giveUp(events []*observed) {
	events[0].hook.stats.lost.Add(int64(len(events)))
	o.recycle(events)
}

// forget is recycle for events that somebody may still be reading: the garbage
// collector gets them.
func (o *observer) forget(n int) {
	o.mu.Lock()
	o.out -= n
	o.mu.Unlock()
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
