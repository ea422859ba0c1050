package sdk

import (
	"context"
	"errors"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// scratch is what answering one batch needs. It is used again for the next one, so that
// the path of a message allocates nothing.
type scratch struct {
	r *running
	b *pluginv1.Batch
	a *pluginv1.Answer

	auth      AuthRequest
	permit    PermitRequest
	authorize AuthorizeRequest
	publish   PublishRequest
	batch     PublishBatch
	gate      GateBatch
	events    EventBatch
	// replacements are those of a guest's last answer. Elsewhere the host owns them.
	replacements []Message

	failed  []int // events whose method has failed
	failure error // the first one's
	held    []*pending
}

// answer asks the plugin about a batch. An error, a panic too, is about all of it.
func (s *scratch) answer(ctx context.Context, b *pluginv1.Batch, a *pluginv1.Answer) (err error) {
	s.b, s.a = b, a
	s.failed, s.failure = s.failed[:0], nil
	s.replacements = s.replacements[:0]
	defer s.drop()
	defer s.r.recovered(&err)
	if ok, _ := s.r.methods.serves(b.Point); !ok {
		return errors.New("the plugin has no method for " + b.Point.String())
	}
	if err := s.ask(ctx); err != nil {
		return err
	}
	return s.end()
}

// drop lets go of what is the host's.
func (s *scratch) drop() { s.b, s.a = nil, nil }

func (s *scratch) ask(ctx context.Context) error {
	m := &s.r.methods
	switch p := s.b.Point; p {
	case PointAuthenticate:
		s.each(func(i int) { s.authenticate(ctx, i) })
	case PointPermit:
		s.each(func(i int) {
			s.permit = PermitRequest{Client: s.client(i)}
			res, err := m.permitter.Permit(ctx, &s.permit)
			s.identified(i, res, err)
		})
	case PointAuthorizePublish, PointAuthorizeSubscribe, PointAuthorizeReceive:
		for i := range s.b.Events {
			s.askAuthorizer(ctx, i)
		}
	case PointInterceptPublish:
		if m.publishBatch != nil {
			return s.askPublishBatch(ctx)
		}
		for i := range s.b.Events {
			s.publish.reset(s.client(i), messageOf(s.b, i))
			d, err := m.publish.Publish(ctx, &s.publish)
			s.published(i, d, err, &s.publish)
		}
	case PointInterceptDeliver:
		for i := range s.b.Events {
			s.publish.reset(s.client(i), messageOf(s.b, i))
			d, err := m.deliver.Deliver(ctx, &s.publish)
			s.published(i, d, err, &s.publish)
		}
	case PointInterceptWill:
		s.each(func(i int) {
			s.publish.reset(s.client(i), messageOf(s.b, i))
			d, err := m.will.Will(ctx, &s.publish)
			s.published(i, d, err, &s.publish)
		})
	case PointInterceptSubscribe:
		s.each(func(i int) { s.askSubscribe(ctx, i, m.subscribe.Subscribe) })
	case PointInterceptUnsubscribe:
		s.each(func(i int) { s.askSubscribe(ctx, i, m.unsubscribe.Unsubscribe) })
	case PointGatePublish:
		return s.askGate(ctx)
	default:
		s.events = EventBatch{Point: p, Lost: s.b.Lost, batch: s.b}
		return m.observer.Observe(ctx, &s.events)
	}
	return nil
}

func (s *scratch) each(f func(i int)) {
	for i := range s.b.Events {
		f(i)
	}
}

func (s *scratch) client(i int) *Client { return clientOf(s.b.Clients, s.b.Events[i].Client) }

func (s *scratch) authenticate(ctx context.Context, i int) {
	s.auth = AuthRequest{Client: s.client(i), Authentication: s.b.Events[i].Authentication}
	if s.auth.Authentication == nil {
		s.auth.Authentication = &noAuth
	}
	res, err := s.r.methods.auth.Authenticate(ctx, &s.auth)
	s.identified(i, res, err)
}

// identified notes the verdict of an Authenticator or a Permitter.
func (s *scratch) identified(i int, res AuthResult, err error) {
	if err == nil && res.later != nil {
		point := s.b.Point
		s.postpone(i, func(complete func(*pluginv1.Verdict)) {
			res.later(func(res AuthResult) { complete(s.r.late(point, res.Decision, res.Identity)) })
		})
		return
	}
	if v := s.decide(i, res.Decision, err); v != nil {
		v.Auth = withAuth(v.Action, res.Identity)
	}
}

// withAuth leaves out what an action has no use for.
func withAuth(a pluginv1.Action, id *Identity) *Identity {
	switch a {
	case pluginv1.ActionAllow, pluginv1.ActionChallenge, pluginv1.ActionDeny:
		return id
	}
	return nil
}

func (s *scratch) askAuthorizer(ctx context.Context, i int) {
	e := &s.b.Events[i]
	s.authorize = AuthorizeRequest{Client: s.client(i), Topic: e.Topic, QoS: e.QoS, Retain: e.Retain}
	switch s.b.Point {
	case PointAuthorizePublish:
		s.authorize.Access = AccessPublish
	case PointAuthorizeSubscribe:
		s.authorize.Access = AccessSubscribe
	default:
		m := messageOf(s.b, i)
		s.authorize.Access, s.authorize.Message = AccessReceive, m
		s.authorize.Topic, s.authorize.QoS, s.authorize.Retain = m.Topic, m.QoS, m.Retain
	}
	d, err := s.r.methods.authorizer.Authorize(ctx, &s.authorize)
	s.decide(i, d, err)
}

func (s *scratch) askPublishBatch(ctx context.Context) error {
	n := len(s.b.Events)
	if cap(s.batch.requests) < n {
		s.batch = PublishBatch{make([]PublishRequest, n), make([]Decision, n)}
	}
	s.batch.requests, s.batch.decisions = s.batch.requests[:n], s.batch.decisions[:n]
	for i := range n {
		s.batch.requests[i].reset(s.client(i), messageOf(s.b, i))
		s.batch.decisions[i] = Decision{}
	}
	if err := s.r.methods.publishBatch.PublishBatch(ctx, &s.batch); err != nil {
		return s.refuseAll(err)
	}
	for i := range n {
		s.published(i, s.batch.decisions[i], nil, &s.batch.requests[i])
	}
	return nil
}

func (s *scratch) askGate(ctx context.Context) error {
	n := len(s.b.Events)
	s.gate = GateBatch{s.b, make([]Decision, n)}
	if err := s.r.methods.gate.Gate(ctx, &s.gate); err != nil {
		return s.refuseAll(err)
	}
	for i := range n {
		s.decide(i, s.gate.decisions[i], nil)
	}
	return nil
}

// refuseAll refuses all events with a *ReasonError; another error is returned.
func (s *scratch) refuseAll(err error) error {
	var reason *ReasonError
	if !errors.As(err, &reason) {
		return err
	}
	for i := range s.b.Events {
		s.decide(i, Deny(reason.Code, reason.Reason), nil)
	}
	return nil
}

func (s *scratch) askSubscribe(
	ctx context.Context, i int, ask func(context.Context, *SubscribeRequest) (Decision, error),
) {
	e := &s.b.Events[i]
	r := &SubscribeRequest{Client: s.client(i), Subscriptions: e.Subscriptions, UserProperties: e.UserProperties}
	d, err := ask(ctx, r)
	if err == nil && len(r.results) > 0 && d.action == pluginv1.ActionContinue {
		d.action = pluginv1.ActionReplace
	}
	if v := s.decide(i, d, err); v != nil && takesChanges(v.Action) {
		v.Filters = r.results
	}
}

// published notes the decision on a message together with what has been changed of it.
func (s *scratch) published(i int, d Decision, err error, r *PublishRequest) {
	changed := r.changed != 0 || len(r.additional) > 0
	if changed && err == nil && d.action == pluginv1.ActionContinue && d.later == nil {
		d.action = pluginv1.ActionReplace
	}
	v := s.decide(i, d, err)
	if v == nil || !changed || !takesChanges(v.Action) {
		return
	}
	v.Changed, v.Additional = r.changed, r.additional
	if r.changed == 0 {
		return
	}
	if s.r.mode == inGuest {
		s.replacements = append(s.replacements, r.change)
		v.Replacement = &s.replacements[len(s.replacements)-1]
	} else {
		m := r.change
		v.Replacement = &m
	}
}

func takesChanges(a pluginv1.Action) bool {
	return a == pluginv1.ActionReplace || a == pluginv1.ActionAllow
}
