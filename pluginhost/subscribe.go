package pluginhost

import (
	"errors"
	"fmt"
	"strings"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// subscribing is the work of InterceptSubscribe and InterceptUnsubscribe: one packet.
// Just one of subscribe and unsubscribe is set.
type subscribing struct {
	run
	subscribe   *hook.SubscribeRequest
	unsubscribe *hook.UnsubscribeRequest
	final       bool
}

// Subscribe asks interceptors. It is part of hook.Host.
func (h *Host) Subscribe(r *hook.SubscribeRequest, done func()) bool {
	w := &subscribing{subscribe: r}
	h.tapped(w, pluginv1.PointInterceptSubscribe)
	w.begin(h, w, h.table.Load().at(pluginv1.PointInterceptSubscribe), done)
	return w.start()
}

// Unsubscribe asks interceptors. It is part of hook.Host.
func (h *Host) Unsubscribe(r *hook.UnsubscribeRequest, done func()) bool {
	w := &subscribing{unsubscribe: r}
	h.tapped(w, pluginv1.PointInterceptUnsubscribe)
	w.begin(h, w, h.table.Load().at(pluginv1.PointInterceptUnsubscribe), done)
	return w.start()
}

func (w *subscribing) client() *hook.Client {
	if w.subscribe != nil {
		return w.subscribe.Client
	}
	return w.unsubscribe.Client
}

// codes are the Reason Codes of the filters.
func (w *subscribing) codes() []packet.ReasonCode {
	if w.subscribe != nil {
		return w.subscribe.Codes
	}
	return w.unsubscribe.Codes
}

func (w *subscribing) fill(c *call, from int) int {
	if from > 0 || !w.seen(c.hook) {
		return 1
	}
	e := c.add(0, w.client())
	var user []packet.UserProperty
	if r := w.subscribe; r != nil {
		user = r.UserProperties
		for i := range r.Subscriptions {
			e.Subscriptions = append(e.Subscriptions, pluginv1.Subscription{})
			convert.Subscription(&e.Subscriptions[i], &r.Subscriptions[i], r.ID)
		}
	} else {
		user = w.unsubscribe.UserProperties
		for _, f := range w.unsubscribe.Filters {
			e.Subscriptions = append(e.Subscriptions, pluginv1.Subscription{TopicFilter: f})
		}
	}
	if c.hook.fields&pluginv1.FieldUserProperties != 0 {
		for _, u := range user {
			e.UserProperties = append(e.UserProperties, pluginv1.Pair{Name: u.Key, Value: u.Value})
		}
	}
	return 1
}

// checkFilters checks what a verdict says of single Topic Filters.
func checkFilters(p pluginv1.Point, e *pluginv1.Event, v *pluginv1.Verdict) error {
	for i := range v.Filters {
		f := &v.Filters[i]
		if int64(f.Index) >= int64(len(e.Subscriptions)) {
			return fmt.Errorf("filters: index %d of %d", f.Index, len(e.Subscriptions))
		}
		if err := checkCode(f.ReasonCode); err != nil {
			return fmt.Errorf("filters: %w", err)
		}
		if f.ReasonCode != 0 || f.Subscription == nil {
			continue
		}
		if err := checkSubscription(p, f.Subscription); err != nil {
			return fmt.Errorf("filters: topic_filter %q: %w", f.Subscription.TopicFilter, err)
		}
	}
	return nil
}

// checkSubscription checks what is to take the place of what the client said.
func checkSubscription(p pluginv1.Point, s *pluginv1.Subscription) error {
	f, err := topic.ParseFilter(s.TopicFilter)
	switch {
	case err != nil:
		return err
	case p == pluginv1.PointInterceptUnsubscribe:
		return nil
	case s.QoS > 2 || s.RetainHandling > 2:
		return fmt.Errorf("QoS %d, retain_handling %d", s.QoS, s.RetainHandling)
	case f.Shared && s.NoLocal:
		return errors.New("a Shared Subscription cannot have No Local [MQTT-3.8.3-4]")
	}
	return nil
}

// seen reports whether a hook is about one of the filters.
func (w *subscribing) seen(k *hooked) bool {
	ns := namespaceOf(w.client())
	sees := func(filter string, qos byte) bool {
		f, err := topic.ParseFilter(filter)
		return err == nil && k.seesFilter(ns, f.Filter, qos)
	}
	if w.subscribe != nil {
		for _, s := range w.subscribe.Subscriptions {
			if sees(s.Filter, s.QoS) {
				return true
			}
		}
		return false
	}
	for _, f := range w.unsubscribe.Filters {
		if sees(f, 2) {
			return true
		}
	}
	return false
}

func (w *subscribing) decide(_ *call, _ int, v *pluginv1.Verdict) {
	switch v.Action {
	case pluginv1.ActionAllow, pluginv1.ActionReplace:
		for i := range v.Filters {
			w.filter(&v.Filters[i])
		}
		w.final = v.Action == pluginv1.ActionAllow
	case pluginv1.ActionDeny:
		w.refuse(codeOf(v, packet.NotAuthorized), reasonOf(v))
	case pluginv1.ActionDisconnect:
		w.final = true
		code := codeOf(v, packet.AdministrativeAction)
		if r := w.subscribe; r != nil {
			r.Disconnect, r.DisconnectCode, r.Reason = true, code, reasonOf(v)
		} else {
			r := w.unsubscribe
			r.Disconnect, r.DisconnectCode, r.Reason = true, code, reasonOf(v)
		}
	}
}

// filter acts on what was said of one Topic Filter.
func (w *subscribing) filter(f *pluginv1.FilterResult) {
	i := int(f.Index)
	if f.ReasonCode != 0 {
		w.codes()[i] = packet.ReasonCode(f.ReasonCode)
		return
	}
	s := f.Subscription
	if s == nil {
		return
	}
	name := strings.Clone(s.TopicFilter) // the verdict's memory is not ours
	if w.unsubscribe != nil {
		w.unsubscribe.Filters[i] = name
		return
	}
	w.subscribe.Subscriptions[i] = packet.Subscription{
		Filter: name, QoS: byte(s.QoS), NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished, RetainHandling: byte(s.RetainHandling),
	}
}

func (w *subscribing) fail(c *call, _ int) {
	w.refuse(packet.ImplementationSpecificError, failureReason(c.hook))
}

// refuse refuses all filters.
func (w *subscribing) refuse(code packet.ReasonCode, reason string) {
	w.final = true
	for i := range w.codes() {
		w.codes()[i] = code
	}
	if w.subscribe != nil {
		w.subscribe.Reason = reason
	} else {
		w.unsubscribe.Reason = reason
	}
}

func (w *subscribing) settled() bool { return w.final }

func (w *subscribing) finish() bool { return true }
