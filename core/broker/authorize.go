package broker

import (
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// lastDecision remembers what a client's permissions said about the topic that
// it published to last.
type lastDecision struct {
	topic  string
	qos    byte
	retain bool
	allow  bool
	until  int64
}

// decisionMillis is how long a decision of the permissions is reused: rules may
// have an end.
const decisionMillis = 1000

// permitted evaluates the client's own permissions.
func (c *conn) permitted(m *packet.Message) bool {
	if m.Topic[0] == '$' && reserved(m.Topic) {
		return false
	}
	if c.perms == nil {
		return true
	}
	l := &c.publisher().allowed
	if l.topic != string(m.Topic) || l.qos != m.QoS || l.retain != m.Retain || m.Received >= l.until {
		t := string(m.Topic)
		*l = lastDecision{
			topic: t, qos: m.QoS, retain: m.Retain, until: m.Received + decisionMillis,
			allow: c.perms.MayPublish(t, m.QoS, m.Retain, m.Received),
		}
	}
	return l.allow
}

// question is what a host is asked by Authorize.
type question struct {
	point  hook.Point
	topic  string
	qos    byte
	retain bool
}

// answer is what it said: Success, or the error to send, valid until a time in
// Unix milliseconds.
type answer struct {
	code   packet.ReasonCode
	reason string
	until  int64
}

// maxAnswers bounds the answers that a connection remembers. A client that
// publishes to more topics than that asks again.
const maxAnswers = 128

// authorize asks the host, or its answer of before, and goes on with Success or
// the error that it said. The connection may have ended with that.
func (c *conn) authorize(p *transport.Pass, q question, next func(p *transport.Pass, code packet.ReasonCode, reason string)) {
	o, now, epoch := c.publisher(), c.b.clock.Now(), c.b.answers.Load()
	if o.answersOf != epoch {
		o.answers, o.answersOf = nil, epoch
	}
	if a, ok := o.answers[q]; ok && now < a.until {
		next(p, a.code, a.reason)
		return
	}
	r := &hook.AuthorizeRequest{Client: c.client, Point: q.point, Topic: q.topic, QoS: q.qos, Retain: q.retain}
	c.await(p, func(done func()) bool { return c.b.hooks.Host().Authorize(r, done) }, func(p *transport.Pass) {
		code, reason := packet.Success, ""
		if !r.Allow {
			code, reason = errorCode(r.Code, packet.NotAuthorized), r.Reason
		}
		switch {
		case !r.Allow && r.Disconnect:
			c.disconnect(code, r.Reason)
		case r.CacheMillis > 0 && c.b.answers.Load() == epoch:
			if o.answers == nil || len(o.answers) >= maxAnswers {
				o.answers = make(map[question]answer)
			}
			o.answers[q] = answer{code, reason, c.b.clock.Now() + r.CacheMillis}
		}
		next(p, code, reason)
	})
}

func errorCode(code, otherwise packet.ReasonCode) packet.ReasonCode {
	if code.IsError() {
		return code
	}
	return otherwise
}
