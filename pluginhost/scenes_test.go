package pluginhost

import (
	"strings"
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// scene is a point with how to ask there and how to read the answer.
type scene struct {
	point  pluginv1.Point
	prompt bool // deliveries cannot wait
	most   int  // requests at once
	// ask asks about clients; end tells their outcomes when done was called, or ask has
	// returned true.
	ask func(h *Host, ids []string, done func()) (answered bool, end func() []outcome)
}

func client(id string) *hook.Client { return &hook.Client{ID: id, Connection: 1} }

func by(s, sep string) []string {
	parts := strings.Split(s, sep)
	if len(parts) == 1 {
		return nil
	}
	return parts[1:]
}

func askPublish(h *Host, ids []string, done func()) (bool, func() []outcome) {
	var list []*hook.PublishRequest
	var kept []*packet.Message
	for _, id := range ids {
		m := keep("t/"+id, "payload", 1)
		kept = append(kept, m)
		list = append(list, &hook.PublishRequest{Client: client(id), Message: m})
	}
	answered := h.Publish(list, done)
	return answered, func() (out []outcome) {
		for _, r := range list {
			out = append(out, published(r))
		}
		for _, m := range kept {
			m.Unref()
		}
		return out
	}
}

func published(r *hook.PublishRequest) outcome {
	o := outcome{what: [...]string{"continue", "drop", "deny", "disconnect"}[r.Verdict], by: by(string(r.Message.Payload), "+"), code: r.Code}
	return o
}

func askWill(h *Host, ids []string, done func()) (bool, func() []outcome) {
	m := keep("t/"+ids[0], "payload", 1)
	r := &hook.PublishRequest{Client: client(ids[0]), Message: m}
	answered := h.Will(r, done)
	return answered, func() []outcome { defer m.Unref(); return []outcome{published(r)} }
}

func askAuthorize(p hook.Point) func(h *Host, ids []string, done func()) (bool, func() []outcome) {
	return func(h *Host, ids []string, done func()) (bool, func() []outcome) {
		r := &hook.AuthorizeRequest{Client: client(ids[0]), Point: p, Topic: "t/" + ids[0]}
		answered := h.Authorize(r, done)
		return answered, func() []outcome {
			o := outcome{what: "deny", code: r.Code}
			switch {
			case r.Allow:
				o.what = "allow"
			case r.Disconnect:
				o.what = "disconnect"
			}
			return []outcome{o}
		}
	}
}

func askSubscribe(h *Host, ids []string, done func()) (bool, func() []outcome) {
	r := &hook.SubscribeRequest{Client: client(ids[0]), Subscriptions: []packet.Subscription{{Filter: "f"}}, Codes: make([]packet.ReasonCode, 1)}
	answered := h.Subscribe(r, done)
	return answered, func() []outcome {
		return []outcome{subscribed(r.Subscriptions[0].Filter, r.Codes[0], r.Disconnect, r.DisconnectCode)}
	}
}

func askUnsubscribe(h *Host, ids []string, done func()) (bool, func() []outcome) {
	r := &hook.UnsubscribeRequest{Client: client(ids[0]), Filters: []string{"f"}, Codes: make([]packet.ReasonCode, 1)}
	answered := h.Unsubscribe(r, done)
	return answered, func() []outcome {
		return []outcome{subscribed(r.Filters[0], r.Codes[0], r.Disconnect, r.DisconnectCode)}
	}
}

func subscribed(filter string, code packet.ReasonCode, disconnect bool, with packet.ReasonCode) outcome {
	o := outcome{what: "continue", by: by(filter, "/"), code: code}
	switch {
	case disconnect:
		o.what, o.code = "disconnect", with
	case code.IsError():
		o.what = "deny"
	}
	return o
}

func askAuthenticate(h *Host, ids []string, done func()) (bool, func() []outcome) {
	r := &hook.AuthRequest{Client: client(ids[0]), Method: "m", Connect: &packet.Connect{}}
	answered := h.Authenticate(r, done)
	return answered, func() []outcome {
		o := outcome{what: "deny", code: r.Result.Code}
		if r.Result.Accept {
			o.what, o.by = "allow", []string{r.Result.Username}
		}
		return []outcome{o}
	}
}

func askPermit(h *Host, ids []string, done func()) (bool, func() []outcome) {
	list := make([]permitted, len(ids))
	for i, id := range ids {
		list[i] = permitted{client: client(id), result: new(hook.AuthResult)}
	}
	answered := h.permitAll(list, done)
	return answered, func() (out []outcome) {
		for _, x := range list {
			o := outcome{what: "continue", code: x.result.Code}
			switch {
			case o.code.IsError():
				o.what = "deny"
			case x.result.Permissions != nil:
				o.what = "allow"
			}
			out = append(out, o)
		}
		return out
	}
}

func askGate(h *Host, ids []string, done func()) (bool, func() []outcome) {
	var left atomic.Int32
	left.Store(int32(len(ids)) + 1)
	one := func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
	var list []*hook.GateRequest
	for _, id := range ids {
		r := &hook.GateRequest{Client: client(id), Message: keep("t/"+id, "payload", 1)}
		list = append(list, r)
		var times atomic.Int32
		ended := func() {
			if times.Add(1) > 1 {
				panic("answered twice")
			}
			r.Message.Unref()
			one()
		}
		if h.Gate(r, ended) {
			ended()
		}
	}
	one()
	return false, func() (out []outcome) {
		for _, r := range list {
			o := outcome{what: "continue", code: r.Code}
			if r.Code.IsError() {
				o.what = "deny"
			}
			out = append(out, o)
		}
		return out
	}
}

func askReceive(h *Host, ids []string, _ func()) (bool, func() []outcome) {
	r := &hook.ReceiveRequest{Client: client(ids[0]), Message: &packet.Message{Topic: []byte("t"), Payload: []byte("payload")}}
	h.Receive(r)
	return true, func() []outcome {
		o := outcome{what: "continue", by: by(string(r.Message.Payload), "+")}
		if r.Drop {
			o = outcome{what: "drop"}
		}
		return []outcome{o}
	}
}

var scenes = []scene{
	{point: pluginv1.PointInterceptPublish, most: 9, ask: askPublish},
	{point: pluginv1.PointInterceptWill, most: 1, ask: askWill},
	{point: pluginv1.PointAuthorizePublish, most: 1, ask: askAuthorize(hook.AuthorizePublish)},
	{point: pluginv1.PointAuthorizeSubscribe, most: 1, ask: askAuthorize(hook.AuthorizeSubscribe)},
	{point: pluginv1.PointInterceptSubscribe, most: 1, ask: askSubscribe},
	{point: pluginv1.PointInterceptUnsubscribe, most: 1, ask: askUnsubscribe},
	{point: pluginv1.PointAuthenticate, most: 1, ask: askAuthenticate},
	{point: pluginv1.PointPermit, most: 9, ask: askPermit},
	{point: pluginv1.PointGatePublish, most: 9, ask: askGate},
	{point: pluginv1.PointAuthorizeReceive, most: 1, prompt: true, ask: askReceive},
	{point: pluginv1.PointInterceptDeliver, most: 1, prompt: true, ask: askReceive},
}

// normal makes outcomes comparable: what no plugin has decided, and what of a request
// the broker does not look at.
func (s *scene) normal(o outcome) outcome {
	switch {
	case o.what == "continue" && (s.point == pluginv1.PointAuthenticate || s.point == pluginv1.PointAuthorizePublish || s.point == pluginv1.PointAuthorizeSubscribe):
		o = outcome{what: "deny", code: packet.NotAuthorized} // nobody has an opinion
	case o.what == "allow" && s.point != pluginv1.PointAuthenticate && s.point != pluginv1.PointPermit &&
		s.point != pluginv1.PointAuthorizePublish && s.point != pluginv1.PointAuthorizeSubscribe:
		o.what = "continue"
	case o.what == "disconnect" && s.point == pluginv1.PointAuthenticate:
		o.what = "deny" // there is no difference yet
	case o.what == "deny" && s.prompt:
		o = outcome{what: "drop"}
	}
	if s.point == pluginv1.PointInterceptWill && o.what == "drop" {
		o.code = 0
	}
	switch o.what {
	case "drop":
		o.by, o.code = nil, 0
	case "deny", "disconnect":
		o.by = nil
		if o.code == 0 {
			o.code = packet.NotAuthorized
		}
	default:
		o.code = 0
	}
	return o
}
