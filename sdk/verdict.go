package sdk

import (
	"errors"
	"runtime"
	"strconv"
	"sync"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// decide notes the decision on an event, and returns its verdict for more to be added;
// nil if there is none, or none yet.
func (s *scratch) decide(i int, d Decision, err error) *pluginv1.Verdict {
	if err != nil {
		var reason *ReasonError
		if !errors.As(err, &reason) {
			s.fail(i, err)
			return nil
		}
		d = Deny(reason.Code, reason.Reason)
	}
	if d.later != nil {
		point := s.b.Point
		s.postpone(i, func(complete func(*pluginv1.Verdict)) {
			d.later(func(d Decision) { complete(s.r.late(point, d, nil)) })
		})
		return nil
	}
	if !s.b.Point.Permits(d.action) {
		s.fail(i, notPermitted(s.b.Point, d.action))
		return nil
	}
	if d.action == pluginv1.ActionContinue {
		return nil
	}
	v := s.add(i)
	d.fill(v)
	return v
}

func notPermitted(p Point, a pluginv1.Action) error {
	return errors.New(a.String() + " is not possible at " + p.String())
}

// add appends a verdict on the i-th event.
func (s *scratch) add(i int) *pluginv1.Verdict {
	s.a.Verdicts = append(s.a.Verdicts, pluginv1.Verdict{Event: uint32(i)})
	return &s.a.Verdicts[len(s.a.Verdicts)-1]
}

func (d *Decision) fill(v *pluginv1.Verdict) {
	v.Action, v.ReasonCode, v.Reason = d.action, uint32(d.code), cut(d.reason)
	if d.ttl > 0 {
		v.CacheTTLMs = millis(d.ttl)
	}
}

// maxReason bounds reasons and errors, in bytes.
const maxReason = 1024

func cut(s string) string {
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

func (s *scratch) fail(i int, err error) {
	s.failed = append(s.failed, i)
	if s.failure == nil {
		s.failure = err
	}
}

// end deals with what has failed. If all of the batch did, the host shall know.
func (s *scratch) end() error {
	switch len(s.failed) {
	case 0:
		return nil
	case len(s.b.Events):
		return s.failure
	}
	d := s.r.fallback(s.b.Point)
	for _, i := range s.failed {
		if d.action != pluginv1.ActionContinue {
			d.fill(s.add(i))
		}
	}
	s.r.logError(strconv.Itoa(len(s.failed))+" of a batch failed", s.b.Point.String()+": "+s.failure.Error())
	return nil
}

// fallback is the failure policy that the plugin has asked for.
func (r *running) fallback(p Point) Decision {
	policy := r.def.hook(p).Failure
	if policy == FailureDefault {
		switch p {
		case PointAuthenticate, PointPermit, PointAuthorizePublish, PointAuthorizeSubscribe, PointAuthorizeReceive,
			PointGatePublish:
			policy = FailureDeny
		}
	}
	switch {
	case policy == FailureDeny && p.Permits(pluginv1.ActionDeny):
		return Deny(ImplementationError, "")
	case (policy == FailureDrop || policy == FailureDeny) && p.Permits(pluginv1.ActionDrop):
		return Drop("the plugin has failed")
	}
	return Continue()
}

// pending is a verdict that was put off. It is told to the host once that knows of it.
type pending struct {
	r        *running
	id       uint64
	mu       sync.Mutex
	verdict  *pluginv1.Verdict // complete was called, and it was not told yet
	ended    bool              // complete was called
	released bool              // the host knows of the deferral
}

// postpone asks for a verdict later. If it is there at once, nothing is put off.
func (s *scratch) postpone(i int, start func(complete func(*pluginv1.Verdict))) {
	if !s.b.Point.Permits(pluginv1.ActionDefer) {
		s.fail(i, notPermitted(s.b.Point, pluginv1.ActionDefer))
		return
	}
	p := &pending{r: s.r, id: s.b.Events[i].ID}
	start(p.complete)
	p.mu.Lock()
	now := p.verdict
	p.verdict = nil
	p.mu.Unlock()
	if now == nil {
		s.add(i).Action = pluginv1.ActionDefer
		s.held = append(s.held, p)
		return
	}
	now.Event = uint32(i)
	if now.Action != pluginv1.ActionContinue {
		s.a.Verdicts = append(s.a.Verdicts, pluginv1.Verdict{
			Event: now.Event, Action: now.Action, ReasonCode: now.ReasonCode, Reason: now.Reason,
			Auth: now.Auth, CacheTTLMs: now.CacheTTLMs,
		})
	}
}

// complete takes the verdict; a second one is ignored.
func (p *pending) complete(v *pluginv1.Verdict) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	p.ended = true
	if !p.released {
		p.verdict = v
		v = nil
	}
	p.mu.Unlock()
	if v != nil {
		p.send(v)
	}
}

// release says that the host knows of the deferrals.
func release(list []*pending) {
	for _, p := range list {
		p.mu.Lock()
		p.released = true
		v := p.verdict
		p.mu.Unlock()
		if v != nil {
			p.send(v)
		}
	}
}

func (p *pending) send(v *pluginv1.Verdict) {
	_, err := p.r.service.Complete(p.r.base, &pluginv1.CompleteRequest{
		Completions: []pluginv1.Completion{{EventID: p.id, Verdict: v}},
	})
	if err != nil && p.r.base.Err() == nil {
		p.r.logError("a deferred verdict could not be given", err.Error())
	}
}

// late makes the verdict of a deferred decision.
func (r *running) late(p Point, d Decision, id *Identity) *pluginv1.Verdict {
	if d.later != nil || !p.Permits(d.action) {
		r.logError("a deferred decision cannot be used", notPermitted(p, d.action).Error())
		d = r.fallback(p)
	}
	v := &pluginv1.Verdict{}
	d.fill(v)
	v.Auth = withAuth(v.Action, id)
	return v
}

// recovered turns a panic into an error, with the stack in the log. Use it with defer.
func (r *running) recovered(err *error) {
	v := recover()
	if v == nil {
		return
	}
	text := "panic of a type without text"
	switch v := v.(type) {
	case error:
		text = v.Error()
	case string:
		text = v
	case interface{ String() string }:
		text = v.String()
	}
	stack := make([]byte, 4000) // a line of the log has 4 KiB
	stack = stack[:runtime.Stack(stack, false)]
	r.logError("panic: "+text, string(stack))
	*err = errors.New("panic: " + text)
}

// logError logs for the SDK itself.
func (r *running) logError(message, detail string) {
	r.mu.Lock()
	h := r.host
	r.mu.Unlock()
	if h != nil {
		h.Logger().Error(message, "error", detail)
	}
}
