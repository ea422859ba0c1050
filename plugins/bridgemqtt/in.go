package bridgemqtt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgemqtt/internal/mqtt"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// receiveMessages and receiveBytes are how much is published at once: the host takes
	// 1,024, and a process plugin has to send it.
	receiveMessages = 512
	receiveBytes    = 4 << 20
)

// come is a message that is to be published here.
type come struct {
	route   *inRoute
	message sdk.Message
	size    int
}

// receive publishes what comes, in order, and acknowledges it when it is safe here.
func (w *work) receive() {
	for {
		list, err := w.link.Receive(w.ctx, receiveMessages, receiveBytes)
		if err != nil {
			return
		}
		messages := make([]come, 0, len(list))
		for _, x := range list {
			if c, ok := w.take(x); ok {
				messages = append(messages, c)
			}
		}
		if !w.publish(messages) {
			return
		}
		w.link.Acknowledge(list)
	}
}

// inRouteOf returns the first route that a topic of the remote broker is of.
func (w *work) inRouteOf(topic string) *inRoute {
	for _, r := range w.in {
		for _, f := range r.filters {
			if bridge.Match(f, topic) {
				return r
			}
		}
	}
	return nil
}

// take makes of a message that has come what is to be published; false if nothing is.
func (w *work) take(x *mqtt.Incoming) (c come, ok bool) {
	r := w.inRouteOf(x.Topic)
	if r == nil { // a subscription of the session that an earlier config has made
		return c, false
	}
	if w.echo != nil && x.Echo && w.echo.comes(x.Topic, x.Payload) {
		return c, false
	}
	c = come{route: r, size: len(x.Payload)}
	if x.TooLarge {
		return c, w.trouble(r, x, errors.New("it is larger than max_packet"))
	}
	topic, _ := swap(x.Topic, r.RemotePrefix, r.LocalPrefix)
	pairs, way := split(x.UserProperties)
	if way, ok = w.loops.coming(way); !ok {
		return c, false
	}
	if way != "" {
		pairs = append(pairs, sdk.Pair{Name: pathProperty, Value: way})
	}
	c.message = sdk.Message{
		Topic: topic, Payload: x.Payload, QoS: uint32(min(x.QoS, byte(r.QoS))), Retain: x.Retain && !r.DropRetain, Namespace: r.Namespace,
		MessageExpiryInterval: x.MessageExpiry, PayloadFormat: uint32(x.PayloadFormat), ContentType: x.ContentType,
		ResponseTopic: x.ResponseTopic, CorrelationData: x.CorrelationData, UserProperties: pairs,
	}
	if to, ok := swap(x.ResponseTopic, r.RemotePrefix, r.LocalPrefix); ok && x.ResponseTopic != "" {
		c.message.ResponseTopic = to
	}
	var err error
	if c.message.Payload, err = r.Codec.Decode(x.Payload); err != nil {
		return c, w.trouble(r, x, err)
	}
	if !r.LocalTopic.Empty() {
		if c.message.Topic, err = r.topic(x, &c.message); err != nil {
			return c, w.trouble(r, x, err)
		}
	}
	return c, true
}

// topic is the Topic Name by the route's template.
func (r *inRoute) topic(x *mqtt.Incoming, m *sdk.Message) (string, error) {
	of := *m
	of.Topic, of.ReceivedMs = x.Topic, time.Now().UnixMilli()
	var s template.Source
	s.Reset(&r.scope, &of, nil)
	topic, err := r.LocalTopic.Text(&s)
	if err == nil {
		err = bridge.CheckTopic(topic)
	}
	if err != nil {
		return "", fmt.Errorf("local_topic: %w", err)
	}
	return topic, nil
}

func split(list []mqtt.Pair) (pairs []sdk.Pair, way string) {
	for i := range list {
		if p := &list[i]; p.Name == pathProperty {
			way = p.Value
		} else {
			pairs = append(pairs, sdk.Pair{Name: p.Name, Value: p.Value})
		}
	}
	return pairs, way
}

// trouble gives a message up that cannot be published. It returns false.
func (w *work) trouble(r *inRoute, x *mqtt.Incoming, err error) bool {
	w.p.Trouble(r.Name, err, true)
	w.p.host.Logger().Warn("a message from the remote broker was given up", "route", r.Name, "topic", x.Topic, "reason", err)
	return false
}

// publish publishes messages, and again those that the broker has no room for now. It
// returns false if the work is to end before all are safe.
func (w *work) publish(list []come) bool {
	pause := bridge.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}
	for len(list) > 0 {
		left, err := w.publishOnce(list)
		if err != nil && errors.Is(w.ctx.Err(), context.Canceled) {
			return false
		}
		if errors.Is(err, sdk.ErrDenied) {
			if len(list) > 1 {
				return w.oneByOne(list)
			}
			c := &list[0]
			w.p.Trouble(c.route.Name, err, true)
			w.p.host.Logger().Error("a message from the remote broker may not be published here", "route", c.route.Name, "topic", c.message.Topic, "error", err)
			return true
		}
		if err != nil {
			for _, name := range routesOf(left) {
				w.p.Trouble(name, err, false)
			}
		}
		if list = left; len(list) == 0 {
			break
		}
		select {
		case <-w.ctx.Done():
			return false
		case <-time.After(pause.Next()):
		}
	}
	return true
}

// oneByOne is for batches in which the grant does not cover every topic.
func (w *work) oneByOne(list []come) bool {
	for i := range list {
		if !w.publish(list[i : i+1]) {
			return false
		}
	}
	return true
}

func routesOf(list []come) (names []string) {
	last := ""
	for i := range list {
		if n := list[i].route.Name; n != last {
			names, last = append(names, n), n
		}
	}
	return names
}

// publishOnce publishes messages, and returns those that have to be tried again.
func (w *work) publishOnce(list []come) (left []come, err error) {
	messages := make([]sdk.Message, len(list))
	for i := range list {
		messages[i] = list[i].message
	}
	results, err := w.p.host.Publish(w.ctx, messages...)
	if err != nil {
		return list, err
	}
	counts := map[*inRoute][2]int{}
	for i := range results {
		c := &list[i]
		switch code := results[i].ReasonCode; {
		case code < 0x80:
			n := counts[c.route]
			counts[c.route] = [2]int{n[0] + 1, n[1] + c.size}
		case code == uint32(sdk.QuotaExceeded), code == uint32(sdk.UnspecifiedError), code == uint32(sdk.ImplementationError):
			left = append(left, *c)
			err = fmt.Errorf("this broker does not take it now: %s (0x%02X)", results[i].Reason, code)
		default:
			e := fmt.Errorf("this broker refuses it: %s (0x%02X)", results[i].Reason, code)
			w.p.Trouble(c.route.Name, e, true)
			w.p.host.Logger().Warn("a message from the remote broker was given up", "route", c.route.Name, "topic", c.message.Topic, "reason", e)
		}
	}
	for r, n := range counts {
		w.p.Received(r.Name, n[0], n[1])
	}
	return left, err
}
