package bridgemqtt

import (
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgemqtt/internal/mqtt"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// retainedBatch is how many retained messages are under way at once.
const retainedBatch = 256

// sync sends the retained messages of this broker with each session that is new at the
// remote one, and with the first connection of the plugin.
func (r *outRoute) sync() {
	first := true
	var synced time.Time
	for {
		state, changed := r.w.link.State()
		if state.Connected && state.Since != synced && (first || !state.Resumed) {
			if r.sendRetained() {
				first, synced = false, state.Since
				continue
			}
			select { // the host cannot say now what there is
			case <-r.w.ctx.Done():
				return
			case <-time.After(time.Second):
			}
			continue
		}
		select {
		case <-r.w.ctx.Done():
			return
		case <-changed:
		}
	}
}

// sendRetained sends what is retained now. Between its batches nothing else of the route
// goes, and what is published meanwhile comes after it: so nothing old takes the place of
// something new.
func (r *outRoute) sendRetained() bool {
	r.batch.Lock()
	defer r.batch.Unlock()
	for _, namespace := range r.spaces() {
		for _, f := range r.local().Filters {
			if !r.sendMatching(namespace, f) {
				return false
			}
		}
	}
	return true
}

func (r *outRoute) spaces() []string {
	if len(r.Namespaces) == 0 {
		return []string{""}
	}
	return r.Namespaces
}

func (r *outRoute) sendMatching(namespace, filter string) bool {
	h := r.w.p.host
	var list []*flight
	for m, err := range h.Retained(r.w.ctx, sdk.RetainedRequest{Namespace: namespace, TopicFilter: filter, Fields: uint32(fields | sdk.FieldPayload)}) {
		if err != nil {
			if r.w.ctx.Err() == nil {
				h.Logger().Warn("the retained messages cannot be read", "route", r.Name, "filter", filter, "error", err)
			}
			return false
		}
		f := new(flight)
		ok, err := r.retained(&f.Message, m)
		if err != nil {
			h.Logger().Warn("a retained message does not go to the remote broker", "route", r.Name, "topic", m.Topic, "reason", err)
		}
		if !ok {
			continue
		}
		f.Done = func(code byte, reason string) { r.land(f, code, reason) }
		if list = append(list, f); len(list) == retainedBatch {
			if !r.fly(list) {
				return false
			}
			list = nil
		}
	}
	return r.fly(list)
}

// retained makes of a retained message what goes.
func (r *outRoute) retained(m *mqtt.Message, in *sdk.Message) (ok bool, err error) {
	in = sdk.Clone(in)
	in.Retain = true
	topic, _ := swap(in.Topic, r.LocalPrefix, r.RemotePrefix)
	if !r.RemoteTopic.Empty() {
		var s template.Source
		s.Reset(&template.Scope{Plugin: r.w.p.host.Name(), Route: r.Name, Node: r.w.p.host.Info().Node, Codec: r.Codec}, in, nil)
		if topic, err = r.RemoteTopic.Text(&s); err != nil {
			return false, err
		}
		if err := bridge.CheckTopic(topic); err != nil {
			return false, err
		}
	}
	return r.fill(m, in, topic)
}

// fly sends messages and waits until they have arrived.
func (r *outRoute) fly(list []*flight) bool {
	out := make([]*mqtt.Outgoing, len(list))
	for i, f := range list {
		out[i] = &f.Outgoing
	}
	r.w.link.Publish(out)
	for {
		r.mu.Lock()
		left := 0
		for _, f := range list {
			if !f.over {
				left++
			}
		}
		r.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-r.landed:
		case <-r.w.ctx.Done():
			return false
		}
	}
}
