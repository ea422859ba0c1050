package pluginhost

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// publishing is the work of InterceptPublish and InterceptWill: messages on their way
// in.
type publishing struct {
	run
	requests []*hook.PublishRequest
	// bases are the messages as they came: what was changed shares their memory.
	bases []*packet.Message
	final []bool
	left  int // requests that are not final
}

// Publish asks interceptors. It is part of hook.Host.
func (h *Host) Publish(batch []*hook.PublishRequest, done func()) bool {
	return h.publish(pluginv1.PointInterceptPublish, batch, done)
}

// Will asks interceptors of Will Messages. It is part of hook.Host.
func (h *Host) Will(r *hook.PublishRequest, done func()) bool {
	return h.publish(pluginv1.PointInterceptWill, []*hook.PublishRequest{r}, done)
}

func (h *Host) publish(p pluginv1.Point, batch []*hook.PublishRequest, done func()) bool {
	w, _ := h.publishings.Get().(*publishing)
	if w == nil {
		w = new(publishing)
	}
	w.requests, w.left = batch, len(batch)
	if cap(w.final) < len(batch) {
		w.final = make([]bool, len(batch))
	}
	w.final = w.final[:len(batch)]
	clear(w.final)
	w.bases = w.bases[:0]
	for _, r := range batch {
		w.bases = append(w.bases, r.Message)
	}
	h.tapped(w, p)
	w.begin(h, w, h.table.Load().at(p), done)
	if !w.start() {
		return false
	}
	w.recycle()
	return true
}

func (w *publishing) recycle() {
	w.requests = nil
	clear(w.bases)
	w.host.publishings.Put(w)
}

func (w *publishing) fill(c *call, from int) int {
	k := c.hook
	for ; from < len(w.requests); from++ {
		r := w.requests[from]
		m := r.Message
		if w.final[from] || !k.sees(namespaceOf(r.Client), text(m.Topic), m.QoS) || k.plugin.published(m) {
			continue
		}
		if !c.fits(m) {
			break
		}
		e := c.add(from, r.Client)
		e.Message = c.message(m, w.bases[from], min(len(w.requests), k.maxBatch))
		e.Message.Publisher = "" // it is the client
	}
	return from
}

func (w *publishing) decide(c *call, i int, v *pluginv1.Verdict) {
	n := c.index[i]
	r := w.requests[n]
	switch v.Action {
	case pluginv1.ActionAllow, pluginv1.ActionReplace:
		w.change(r, v)
	case pluginv1.ActionDeny:
		r.Verdict, r.Code, r.Reason = hook.Deny, codeOf(v, packet.NotAuthorized), reasonOf(v)
	case pluginv1.ActionDrop:
		r.Verdict, r.Reason = hook.Drop, reasonOf(v)
	case pluginv1.ActionDisconnect:
		r.Verdict, r.Code, r.Reason = hook.Disconnect, codeOf(v, packet.AdministrativeAction), reasonOf(v)
	}
	if v.Action != pluginv1.ActionReplace {
		w.end(n)
	}
}

func (w *publishing) change(r *hook.PublishRequest, v *pluginv1.Verdict) {
	if v.Changed != 0 && v.Replacement != nil {
		r.Message = changed(r.Message, v)
	}
	for i := range v.Additional {
		r.Extra = append(r.Extra, additional(r.Message, &v.Additional[i]))
	}
}

func (w *publishing) fail(c *call, i int) {
	n := c.index[i]
	r := w.requests[n]
	if c.hook.failure == pluginv1.FailurePolicyDrop || c.hook.point == pluginv1.PointInterceptWill {
		r.Verdict = hook.Drop
	} else {
		r.Verdict, r.Code = hook.Deny, packet.ImplementationSpecificError
	}
	r.Reason = failureReason(c.hook)
	w.end(n)
}

func (w *publishing) end(n int) {
	if !w.final[n] {
		w.final[n] = true
		w.left--
	}
}

func (w *publishing) settled() bool { return w.left == 0 }

func (w *publishing) finish() bool { return true }

// failureReason is what those are told for whom a policy has answered.
func failureReason(k *hooked) string { return "plugin " + k.plugin.name + " does not answer" }

func namespaceOf(c *hook.Client) string {
	if c == nil {
		return ""
	}
	return c.Namespace
}
