package pluginhost

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// authorizing is the work of AuthorizePublish and AuthorizeSubscribe: one question.
type authorizing struct {
	run
	request *hook.AuthorizeRequest
	asked   bool // at least one plugin had a say
	decided bool
}

// Authorize asks whether a client may do something. It is part of hook.Host. A client
// that got permissions is allowed what these have not denied.
func (h *Host) Authorize(r *hook.AuthorizeRequest, done func()) bool {
	if r.Client != nil && r.Client.Permissions != nil {
		r.Allow = true
		return true
	}
	p := pluginv1.PointAuthorizePublish
	if r.Point == hook.AuthorizeSubscribe {
		p = pluginv1.PointAuthorizeSubscribe
	}
	w, _ := h.authorizings.Get().(*authorizing)
	if w == nil {
		w = new(authorizing)
	}
	w.request, w.asked, w.decided = r, false, false
	h.tapped(w, p)
	w.begin(h, w, h.table.Load().at(p), done)
	if !w.start() {
		return false
	}
	w.recycle()
	return true
}

func (w *authorizing) recycle() {
	w.request = nil
	w.host.authorizings.Put(w)
}

func (w *authorizing) fill(c *call, from int) int {
	r, k := w.request, c.hook
	if from > 0 {
		return from
	}
	ns := namespaceOf(r.Client)
	if c.hook.point == pluginv1.PointAuthorizePublish {
		if !k.sees(ns, r.Topic, r.QoS) {
			return 1
		}
	} else if !k.seesFilter(ns, r.Topic, r.QoS) {
		return 1
	}
	e := c.add(0, r.Client)
	e.Topic, e.QoS, e.Retain = r.Topic, uint32(r.QoS), r.Retain
	w.asked = true
	return 1
}

func (w *authorizing) decide(_ *call, _ int, v *pluginv1.Verdict) {
	r := w.request
	w.decided = true
	r.CacheMillis = int64(v.CacheTTLMs)
	switch v.Action {
	case pluginv1.ActionAllow:
		r.Allow = true
	case pluginv1.ActionDeny:
		r.Code, r.Reason = codeOf(v, packet.NotAuthorized), reasonOf(v)
	case pluginv1.ActionDisconnect:
		r.Disconnect, r.Code, r.Reason = true, codeOf(v, packet.AdministrativeAction), reasonOf(v)
	}
}

func (w *authorizing) fail(c *call, _ int) {
	w.decided = true
	w.request.Code, w.request.Reason = packet.ImplementationSpecificError, failureReason(c.hook)
}

func (w *authorizing) settled() bool { return w.decided }

// finish decides what no plugin has decided: what none was asked about is allowed.
func (w *authorizing) finish() bool {
	if !w.decided {
		w.request.Allow = !w.asked || w.host.o.DefaultAllow
	}
	return true
}
