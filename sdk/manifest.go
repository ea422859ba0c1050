package sdk

import (
	"errors"
	"slices"
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// methods are the interfaces that a plugin's value has.
type methods struct {
	stopper      Stopper
	narrower     Narrower
	healther     Healther
	auth         Authenticator
	permitter    Permitter
	authorizer   Authorizer
	publish      PublishInterceptor
	publishBatch PublishBatchInterceptor
	subscribe    SubscribeInterceptor
	unsubscribe  UnsubscribeInterceptor
	will         WillInterceptor
	deliver      DeliverInterceptor
	gate         PublishGate
	observer     Observer
	consumer     Consumer
	http         HTTPHandler
	timer        TimerHandler
}

func methodsOf(v any) (m methods) {
	m.stopper, _ = v.(Stopper)
	m.narrower, _ = v.(Narrower)
	m.healther, _ = v.(Healther)
	m.auth, _ = v.(Authenticator)
	m.permitter, _ = v.(Permitter)
	m.authorizer, _ = v.(Authorizer)
	m.publish, _ = v.(PublishInterceptor)
	m.publishBatch, _ = v.(PublishBatchInterceptor)
	m.subscribe, _ = v.(SubscribeInterceptor)
	m.unsubscribe, _ = v.(UnsubscribeInterceptor)
	m.will, _ = v.(WillInterceptor)
	m.deliver, _ = v.(DeliverInterceptor)
	m.gate, _ = v.(PublishGate)
	m.observer, _ = v.(Observer)
	m.consumer, _ = v.(Consumer)
	m.http, _ = v.(HTTPHandler)
	m.timer, _ = v.(TimerHandler)
	return m
}

// serves reports whether the value has the method of a point, and which fields are sent
// by default. Points of observation are an Observer's.
func (m *methods) serves(p Point) (ok bool, fields Field) {
	switch p {
	case PointAuthenticate:
		return m.auth != nil, FieldPassword
	case PointPermit:
		return m.permitter != nil, FieldAttributes | FieldConnection
	case PointAuthorizePublish, PointAuthorizeSubscribe, PointAuthorizeReceive:
		return m.authorizer != nil, 0
	case PointInterceptPublish:
		return m.publish != nil || m.publishBatch != nil, FieldPayload
	case PointInterceptSubscribe:
		return m.subscribe != nil, 0
	case PointInterceptUnsubscribe:
		return m.unsubscribe != nil, 0
	case PointInterceptWill:
		return m.will != nil, FieldPayload
	case PointInterceptDeliver:
		return m.deliver != nil, FieldPayload
	case PointGatePublish:
		return m.gate != nil, FieldPayload
	}
	return m.observer != nil && p.Mode() == pluginv1.Observation, 0
}

// byDefault are the points that are asked for where the interface is there.
var byDefault = [...]Point{
	PointAuthenticate, PointPermit, PointAuthorizePublish, PointAuthorizeSubscribe, PointInterceptPublish,
	PointInterceptSubscribe, PointInterceptUnsubscribe, PointInterceptWill, PointInterceptDeliver, PointGatePublish,
}

// Manifest is what the host gets as the answer to Describe. It fails if p contradicts
// itself or the contract; Register has tried it.
func (p Plugin) Manifest() (*pluginv1.Manifest, error) {
	if p.New == nil {
		return nil, errors.New("plugin " + p.Name + " has no New")
	}
	value := p.New()
	m := methodsOf(value)
	if err := p.check(value, &m); err != nil {
		return nil, errors.New("plugin " + p.Name + ": " + err.Error())
	}
	out := &pluginv1.Manifest{
		Name: p.Name, Version: p.Version, Author: p.Author, Description: p.Description,
		Hooks: p.hooks(&m), ConfigSchema: p.config().schema(), Grants: p.Grants,
		HTTPRoutes: p.Routes, NeededFeatures: p.features(&m), Preemptible: p.Preemptible,
	}
	for _, q := range p.Queues {
		out.Consumers = append(out.Consumers, q.proto())
	}
	if p.SingleInstance {
		out.Instances = 1
	}
	return out, nil
}

// features are those that p names, and those that its interfaces need.
func (p *Plugin) features(m *methods) []string {
	out := slices.Clip(p.Features)
	need := func(name string, is bool) {
		if is && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	need("permit", m.permitter != nil)
	need("consumer_patterns", slices.ContainsFunc(p.Queues, func(q Queue) bool { return strings.HasSuffix(q.Name, "*") }))
	return out
}

func (p *Plugin) config() ConfigType {
	if p.Config == nil {
		return ConfigOf[struct{}]()
	}
	return p.Config
}

func (p *Plugin) hooks(m *methods) []pluginv1.Hook {
	var out []pluginv1.Hook
	for _, point := range byDefault {
		if ok, _ := m.serves(point); ok {
			out = append(out, withFields(p.hook(point), m).proto())
		}
	}
	for _, h := range p.Hooks {
		if h.Point == PointAuthorizeReceive || h.Point.Mode() == pluginv1.Observation {
			out = append(out, h.proto())
		}
	}
	return out
}

func withFields(h Hook, m *methods) Hook {
	if h.Fields == 0 {
		_, h.Fields = m.serves(h.Point)
	}
	return h
}

func (p *Plugin) check(value any, m *methods) error {
	if !validName(p.Name) {
		return errors.New("its name is not 1 to 64 of a-z, 0-9 and \"-\", beginning with a letter")
	}
	if err := p.config().check(); err != nil {
		return err
	}
	if err := misfit(p.config(), value); err != nil {
		return err
	}
	if m.publish != nil && m.publishBatch != nil {
		return errors.New("it has Publish and PublishBatch, of which one is enough")
	}
	if err := p.checkHooks(m); err != nil {
		return err
	}
	if (m.consumer != nil) != (len(p.Queues) > 0) {
		return errors.New("it needs both, Consume and Plugin.Queues, or none")
	}
	for _, q := range p.Queues {
		if name := strings.TrimSuffix(q.Name, "*"); !validQueue(name) && q.Name != "*" || len(q.TopicFilters) == 0 {
			return errors.New("queue \"" + q.Name + "\" needs a name of 1 to 64 of a-z, 0-9 and \"-\", and topic filters")
		}
	}
	if (m.http != nil) != (len(p.Routes) > 0) {
		return errors.New("it needs both, HTTP and Plugin.Routes, or none")
	}
	return nil
}

func (p *Plugin) checkHooks(m *methods) error {
	observes := false
	seen := map[Point]bool{}
	for _, h := range p.Hooks {
		if seen[h.Point] {
			return errors.New(h.Point.String() + " is in Plugin.Hooks twice")
		}
		seen[h.Point] = true
		if ok, _ := m.serves(h.Point); !ok {
			return errors.New(h.Point.String() + " is in Plugin.Hooks, but the plugin has no method for it")
		}
		observes = observes || h.Point.Mode() == pluginv1.Observation
		if h.Blocking && (h.Point == PointAuthorizeReceive || h.Point == PointInterceptDeliver) {
			return errors.New(h.Point.String() + " cannot block")
		}
		if h.Failure == FailureDrop && !h.Point.Permits(pluginv1.ActionDrop) {
			return errors.New(h.Point.String() + " has no way to drop")
		}
		if h.OnlyRefuses && h.Point != PointAuthenticate {
			return errors.New(h.Point.String() + " cannot have OnlyRefuses, which is for " + PointAuthenticate.String())
		}
	}
	if m.observer != nil && !observes {
		return errors.New("it has Observe, but Plugin.Hooks does not say what of")
	}
	return nil
}

func validName(s string) bool {
	return validQueue(s) && s[0] >= 'a' && s[0] <= 'z'
}

func validQueue(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
