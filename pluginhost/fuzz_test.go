package pluginhost

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// fuzzed is a host with a plugin at each point that answers with what it is told to.
type fuzzed struct {
	t      *testing.T
	h      *Host
	answer []byte
	views  [][]byte
}

// overwrite does to the plugin's memory what becomes of it.
func (f *fuzzed) overwrite() {
	for _, v := range f.views {
		clear(v)
	}
}

func (f *fuzzed) process(_ *pluginv1.Batch, a *pluginv1.Answer, _ func(error)) (bool, error) {
	// A runtime's answer is a view of memory that is another's again soon.
	f.views = append(f.views, append([]byte(nil), f.answer...))
	return true, a.Unmarshal(f.views[len(f.views)-1])
}

// text checks what may be sent to a client.
func (f *fuzzed) text(what, s string, most int) {
	if len(s) > most || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		f.t.Errorf("%s: %q", what, s)
	}
}

func (f *fuzzed) refusal(code packet.ReasonCode, reason string) {
	if !code.IsError() {
		f.t.Errorf("refused with %v", code)
	}
	f.text("reason", reason, maxReason)
}

// message checks that a message can be sent, and that it is not the plugin's memory.
func (f *fuzzed) message(m *packet.Message) {
	if err := topic.ValidName(m.Topic); err != nil || m.QoS > 2 {
		f.t.Errorf("topic %q, QoS %d: %v", m.Topic, m.QoS, err)
	}
	o := packet.PublishOut{Topic: m.Topic, Payload: m.Payload, Forward: m.Props, QoS: m.QoS, Retain: m.Retain, PacketID: 1}
	if m.QoS == 0 {
		o.PacketID = 0
	}
	b, _ := packet.AppendPublish(nil, packet.V5, &o)
	h, n, err := packet.ReadHeader(b)
	var got packet.Publish
	if err != nil || packet.DecodePublish(&got, packet.V5, h, b[n:], true) != nil {
		f.t.Errorf("it cannot be read: %q", b)
	}
}

func (f *fuzzed) publish() {
	m := keep("t/a", "payload", 1)
	defer m.Unref()
	list := []*hook.PublishRequest{{Client: client("a"), Message: m}, {Client: client("b"), Message: m}, {Client: client("c"), Message: m}}
	if !f.h.Publish(list, func() {}) {
		return // put off
	}
	f.overwrite()
	for _, r := range list {
		if r.Verdict == hook.Deny || r.Verdict == hook.Disconnect {
			f.refusal(r.Code, r.Reason)
		}
		f.text("reason", r.Reason, maxReason)
		f.message(r.Message)
		for _, e := range r.Extra {
			f.message(e)
		}
	}
}

func (f *fuzzed) subscribe() {
	r := &hook.SubscribeRequest{Client: client("a"), Subscriptions: []packet.Subscription{{Filter: "f"}, {Filter: "$share/g/h/#"}}, Codes: make([]packet.ReasonCode, 2)}
	u := &hook.UnsubscribeRequest{Client: client("a"), Filters: []string{"f"}, Codes: make([]packet.ReasonCode, 1)}
	if !f.h.Subscribe(r, func() {}) || !f.h.Unsubscribe(u, func() {}) {
		return
	}
	f.overwrite()
	for i, s := range r.Subscriptions {
		p, err := topic.ParseFilter(s.Filter)
		if err != nil || s.QoS > 2 || s.RetainHandling > 2 || p.Shared && s.NoLocal {
			f.t.Errorf("%+v: %v", s, err)
		}
		if c := r.Codes[i]; c != 0 && !c.IsError() {
			f.t.Errorf("%v", c)
		}
	}
	if _, err := topic.ParseFilter(u.Filters[0]); err != nil {
		f.t.Errorf("%q: %v", u.Filters[0], err)
	}
}

func (f *fuzzed) authenticate() {
	r := &hook.AuthRequest{Client: client("a"), Connect: new(packet.Connect), Method: "m"}
	if !f.h.Authenticate(r, func() {}) {
		return
	}
	f.overwrite()
	res := &r.Result
	switch {
	case res.Accept:
		f.text("user name", res.Username, maxString)
		f.text("client id", res.ClientID, maxString)
		f.text("namespace", res.Namespace, maxString)
		if q := res.Quotas; q != nil && (!(q.PublishRate >= 0) || !(q.PublishBytesRate >= 0) || q.MaxQueuedBytes < 0) {
			f.t.Errorf("%+v", *q)
		}
		_ = res.Permissions.MayPublish("t", 0, false, time.Now().UnixMilli())
		_ = res.Permissions.MaySubscribe("t/#", 0, time.Now().UnixMilli())
	case res.Code == packet.ContinueAuthentication:
		if r.State == nil {
			f.t.Error("a challenge without state")
		}
	default:
		f.refusal(res.Code, res.Reason)
	}
	if len(res.AuthData) > maxString {
		f.t.Errorf("%d bytes of data", len(res.AuthData))
	}
}

func (f *fuzzed) others() {
	a := &hook.AuthorizeRequest{Client: client("a"), Point: hook.AuthorizePublish, Topic: "t"}
	if f.h.Authorize(a, func() {}) && !a.Allow {
		f.text("reason", a.Reason, maxReason)
	}
	m := &packet.Message{Topic: []byte("t"), Payload: []byte("p")}
	d := &hook.ReceiveRequest{Client: client("a"), Message: m}
	if f.h.Receive(d); !d.Drop {
		f.overwrite()
		f.message(d.Message)
	}
}

func FuzzAnswer(f *testing.F) {
	seed := func(which byte, a pluginv1.Answer) { f.Add(which, a.AppendTo(nil)) }
	for _, action := range []pluginv1.Action{0, 1, 2, 3, 4, 5, 6, 7, 31} {
		seed(0, pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Action: action, Changed: changes, ReasonCode: 0x97, Reason: "why\x00", Replacement: &pluginv1.Message{
			Topic: "x", UserProperties: []pluginv1.Pair{{Name: "a", Value: "b"}}, ContentType: "c", QoS: 2, MessageExpiryInterval: 1, PayloadFormat: 1,
		}, Additional: []pluginv1.Message{{Topic: "y"}}}, {Event: 2, Action: action}}})
		seed(1, pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Action: action, Filters: []pluginv1.FilterResult{
			{Subscription: &pluginv1.Subscription{TopicFilter: "a/+", QoS: 1}}, {Index: 1, ReasonCode: 0x8F},
		}}}})
		seed(2, pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Action: action, Auth: &pluginv1.AuthResult{
			Username: "u", HasPermissions: true, Permissions: []pluginv1.Permission{{Actions: 7, TopicFilter: "#", TTLMs: 1 << 63}},
			Quotas: &pluginv1.Quotas{PublishRate: -1}, Data: []byte("d"), State: []byte("s"), Attributes: []pluginv1.Pair{{Name: "a"}},
		}}}})
		seed(3, pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Action: action, Changed: 2, Replacement: &pluginv1.Message{Payload: []byte("x")}}}})
	}
	seed(0, pluginv1.Answer{Error: "told to"})
	seed(0, pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Event: 3}}})
	f.Fuzz(func(t *testing.T, which byte, answer []byte) {
		h, _ := newTestHost(t)
		defer closeHost(t, h)
		x := &fuzzed{t: t, h: h, answer: answer}
		m := new(pluginv1.Manifest)
		for p := range hookPoints {
			if p.Mode() == pluginv1.Decision {
				m.Hooks = append(m.Hooks, pluginv1.Hook{Point: p, Fields: uint32(pluginv1.FieldPayload | pluginv1.FieldProperties)})
			}
		}
		m.Hooks = append(m.Hooks, pluginv1.Hook{Point: pluginv1.PointPermit})
		serve(t, h, "p", newFake(x.process), false, m)
		[]func(){x.publish, x.subscribe, x.authenticate, x.others}[which%4]()
	})
}
