package trial

import (
	"slices"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/topic"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// narrow returns what of a batch a broker would send to a hook: the events that are about
// its topics, QoS and namespaces, with the fields that it asks for. index has the place in
// b of each event.
func narrow(b *pluginv1.Batch, k *pluginv1.Hook) (out *pluginv1.Batch, index []uint32) {
	out = &pluginv1.Batch{Point: b.Point, DeadlineMs: b.DeadlineMs, Lost: b.Lost}
	for _, c := range b.Clients {
		out.Clients = append(out.Clients, client(c, k.Fields))
	}
	for i := range b.Events {
		if !wanted(b, &b.Events[i], k) {
			continue
		}
		e := b.Events[i]
		if e.MessageOf != 0 { // the one that it shares may be left out
			e.Message, e.MessageOf = messageOf(b, &e), 0
		}
		if e.Message != nil {
			e.Message = message(e.Message, k.Fields)
		}
		if k.Fields&uint32(pluginv1.FieldUserProperties) == 0 {
			e.UserProperties = nil
		}
		if e.Authentication != nil {
			e.Authentication = authentication(e.Authentication, k.Fields)
		}
		out.Events = append(out.Events, e)
		index = append(index, uint32(i))
	}
	return out, index
}

// messageOf is the message that an event is about, nil if there is none.
func messageOf(b *pluginv1.Batch, e *pluginv1.Event) *pluginv1.Message {
	if n := int(e.MessageOf); n > 0 && n <= len(b.Events) {
		return b.Events[n-1].Message
	}
	return e.Message
}

func wanted(b *pluginv1.Batch, e *pluginv1.Event, k *pluginv1.Hook) bool {
	m := messageOf(b, e)
	namespace := ""
	if m != nil {
		namespace = m.Namespace
	}
	if e.Client > 0 {
		namespace = b.Clients[e.Client-1].Namespace
	}
	if len(k.Namespaces) > 0 && !slices.Contains(k.Namespaces, namespace) {
		return false
	}
	match := func(overlap bool, about string, qos uint32) bool {
		if qos < k.MinQoS {
			return false
		}
		return len(k.TopicFilters) == 0 || slices.ContainsFunc(k.TopicFilters, func(f string) bool {
			return overlap && access.Overlaps(f, about) || !overlap && topic.Match(f, about)
		})
	}
	switch {
	case m != nil:
		return match(false, m.Topic, m.QoS)
	case b.Point == pluginv1.PointAuthorizeSubscribe:
		return match(true, e.Topic, e.QoS)
	case b.Point == pluginv1.PointInterceptSubscribe || b.Point == pluginv1.PointInterceptUnsubscribe ||
		b.Point == pluginv1.PointSubscribed || b.Point == pluginv1.PointUnsubscribed:
		return slices.ContainsFunc(e.Subscriptions, func(s pluginv1.Subscription) bool {
			filter := s.TopicFilter
			if f, err := topic.ParseFilter(filter); err == nil {
				filter = f.Filter
			}
			return match(true, filter, 2)
		})
	case e.Topic != "":
		return match(false, e.Topic, e.QoS)
	}
	return true
}

func has(fields uint32, f pluginv1.Field) bool { return fields&uint32(f) != 0 }

// client returns what of a client is sent with a mask of fields.
func client(c pluginv1.Client, fields uint32) pluginv1.Client {
	out := pluginv1.Client{ClientID: c.ClientID, Username: c.Username, Namespace: c.Namespace, Connection: c.Connection}
	if has(fields, pluginv1.FieldAttributes) {
		out.Attributes = c.Attributes
	}
	if has(fields, pluginv1.FieldConnection) {
		out.RemoteAddress, out.Listener, out.Transport = c.RemoteAddress, c.Listener, c.Transport
		out.ProtocolVersion, out.KeepAlive, out.CleanStart = c.ProtocolVersion, c.KeepAlive, c.CleanStart
		out.SessionExpiryInterval, out.ConnectedMs = c.SessionExpiryInterval, c.ConnectedMs
	}
	if c.TLS == nil || !has(fields, pluginv1.FieldTLS) && !has(fields, pluginv1.FieldCertificate) {
		return out
	}
	t := *c.TLS
	if t.Certificate != nil && !has(fields, pluginv1.FieldCertificate) {
		cert := *t.Certificate
		cert.DER, cert.Chain = nil, nil
		t.Certificate = &cert
	}
	out.TLS = &t
	return out
}

// message returns what of a message is sent with a mask of fields.
func message(m *pluginv1.Message, fields uint32) *pluginv1.Message {
	out := *m
	if !has(fields, pluginv1.FieldPayload) {
		if out.Payload != nil {
			out.PayloadSize = uint32(len(out.Payload))
		}
		out.Payload = nil
	}
	if !has(fields, pluginv1.FieldUserProperties) {
		out.UserProperties = nil
	}
	if !has(fields, pluginv1.FieldProperties) {
		out.PayloadFormat, out.ContentType, out.ResponseTopic, out.CorrelationData = 0, "", "", nil
	}
	return &out
}

func authentication(a *pluginv1.Authentication, fields uint32) *pluginv1.Authentication {
	out := *a
	if !has(fields, pluginv1.FieldPassword) {
		out.Password = nil
	}
	if !has(fields, pluginv1.FieldConnect) {
		out.Connect = nil
	}
	return &out
}
