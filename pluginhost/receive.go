package pluginhost

import (
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// receiving is the work of AuthorizeReceive and InterceptDeliver: one delivery, which
// cannot wait.
type receiving struct {
	request *hook.ReceiveRequest
	final   bool
	call    *call
	run     run
	ended   chan error
	done    func(error) // sends to ended
}

func newReceiving() *receiving {
	w := &receiving{call: newCall(), ended: make(chan error, 1)}
	w.done = func(err error) { w.ended <- err }
	return w
}

// Receive decides about one delivery. It is part of hook.Host.
func (h *Host) Receive(r *hook.ReceiveRequest) {
	t := h.table.Load()
	w, _ := h.receivings.Get().(*receiving)
	if w == nil {
		w = newReceiving()
	}
	w.request, w.final = r, false
	for _, k := range t.at(pluginv1.PointAuthorizeReceive) {
		if w.ask(h, k); r.Drop {
			break
		}
		if w.final { // it is allowed, which says nothing about its content
			w.final = false
			break
		}
	}
	if !r.Drop {
		for _, k := range t.at(pluginv1.PointInterceptDeliver) {
			if w.ask(h, k); w.final {
				break
			}
		}
	}
	w.request = nil
	h.receivings.Put(w)
}

// ask asks one plugin.
func (w *receiving) ask(h *Host, k *hooked) {
	k, alive := h.enter(k)
	if k == nil {
		return
	}
	c := w.call
	w.run.host, w.run.work = h, w
	c.reset(&w.run, k)
	if w.fill(c, 0); len(c.batch.Events) == 0 {
		if alive {
			k.gen.leave()
		}
		return
	}
	now := h.nanos()
	if !k.mayAsk(alive, now) {
		c.failAll()
		return
	}
	k.stats.calls.Add(1)
	k.stats.events.Add(1)
	k.gen.number(c)
	// All instances may be busy with calls that end soon: that is waited for, since the
	// message is there only as long as this takes.
	answered, err := k.gen.inst.Process(&c.batch, &c.answer, w.done)
	if !answered {
		err = <-w.ended
	}
	k.stats.latency.observe(time.Duration(h.nanos() - now))
	c.take(err)
	if !answered && err != nil {
		w.call = newCall() // see call.spoiled
	}
	k.gen.leave()
}

func (w *receiving) fill(c *call, _ int) int {
	r, k := w.request, c.hook
	if k.sees(namespaceOf(r.Client), text(r.Message.Topic), r.Message.QoS) && !k.plugin.published(r.Message) {
		e := c.add(0, r.Client)
		e.Message = c.message(r.Message, r.Message, 1)
	}
	return 1
}

func (w *receiving) decide(_ *call, _ int, v *pluginv1.Verdict) {
	switch v.Action {
	case pluginv1.ActionAllow, pluginv1.ActionReplace:
		w.final = v.Action == pluginv1.ActionAllow
		if v.Changed != 0 {
			w.request.Message = changed(w.request.Message, v)
		}
	case pluginv1.ActionDeny, pluginv1.ActionDrop:
		w.request.Drop, w.final = true, true
	}
}

func (w *receiving) fail(*call, int) { w.request.Drop, w.final = true, true }

func (w *receiving) settled() bool { return w.final }

func (w *receiving) finish() bool { return true }

func (w *receiving) recycle() {}
