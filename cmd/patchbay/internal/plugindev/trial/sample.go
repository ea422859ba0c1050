package trial

import (
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// payload is what sample messages carry: a reading as sensors send it.
const payload = `{"sensor":"press-7","temperature":71.5,"unit":"C","at":"2030-01-01T00:00:00Z","ok":true}`

// Sample makes up an event of a point, as it could be about what a hook wants.
func Sample(k *pluginv1.Hook) *pluginv1.Batch {
	b := &pluginv1.Batch{Point: k.Point, Clients: []pluginv1.Client{{
		ClientID: "device-7", Username: "ann", Connection: 1, Attributes: []pluginv1.Pair{{Name: "groups", Value: "devices,press"}},
		RemoteAddress: "192.0.2.7:49152", Listener: "tcp", Transport: "tcp", ProtocolVersion: 5, KeepAlive: 60,
	}}}
	e := pluginv1.Event{Client: 1, ID: 1}
	name := sampleTopic(k.TopicFilters)
	qos := max(k.MinQoS, 1)
	switch k.Point {
	case pluginv1.PointAuthenticate:
		e.Authentication = &pluginv1.Authentication{
			HasUsername: true, HasPassword: true, Password: []byte("correct horse battery staple"), Connect: &pluginv1.Connect{},
		}
	case pluginv1.PointPermit:
	case pluginv1.PointAuthorizePublish, pluginv1.PointAuthorizeSubscribe:
		e.Topic, e.QoS = name, qos
	case pluginv1.PointInterceptSubscribe, pluginv1.PointSubscribed, pluginv1.PointInterceptUnsubscribe, pluginv1.PointUnsubscribed:
		e.Subscriptions = []pluginv1.Subscription{{TopicFilter: name, QoS: 1}}
	case pluginv1.PointBrokerStarted, pluginv1.PointBrokerStopping, pluginv1.PointTick:
		e.Client = 0
	case pluginv1.PointPluginStateChanged:
		e.Client, e.Plugin, e.PluginState = 0, "other", pluginv1.PluginStateServing
	default:
		if hasMessage(k.Point) {
			e.Message = sampleMessage(name, qos)
			e.QoS = qos
		}
	}
	if k.Point.Mode() == pluginv1.Observation {
		e.ID, e.TimeMs = 0, Clock.UnixMilli()
	}
	b.Events = []pluginv1.Event{e}
	return b
}

func hasMessage(p pluginv1.Point) bool {
	switch p {
	case pluginv1.PointAuthorizeReceive, pluginv1.PointInterceptPublish, pluginv1.PointInterceptWill, pluginv1.PointInterceptDeliver,
		pluginv1.PointGatePublish, pluginv1.PointPublished, pluginv1.PointDelivered, pluginv1.PointAcknowledged, pluginv1.PointDropped,
		pluginv1.PointDeadLettered, pluginv1.PointRetainedSet, pluginv1.PointWillPublished:
		return true
	}
	return false
}

func sampleMessage(name string, qos uint32) *pluginv1.Message {
	return &pluginv1.Message{
		Topic: name, QoS: qos, Payload: []byte(payload), ID: 1, ReceivedMs: Clock.UnixMilli(),
		UserProperties: []pluginv1.Pair{{Name: "site", Value: "north"}}, ContentType: "application/json",
	}
}

// SampleMessages makes up a message for a consumer.
func SampleMessages(c *pluginv1.Consumer) *pluginv1.ConsumeBatch {
	return &pluginv1.ConsumeBatch{
		Consumer: c.Name, Clients: []pluginv1.Client{{ClientID: "device-7", Username: "ann", Connection: 1}},
		Deliveries: []pluginv1.Delivery{{Offset: 1, Attempt: 1, Client: 1, Message: sampleMessage(sampleTopic(c.TopicFilters), max(c.MinQoS, 1))}},
	}
}

// sampleTopic is a Topic Name that the first filter matches.
func sampleTopic(filters []string) string {
	if len(filters) == 0 {
		return "plant/press-7/temperature"
	}
	levels := strings.Split(filters[0], "/")
	for i, l := range levels {
		switch l {
		case "+":
			levels[i] = "press-7"
		case "#":
			levels[i] = "temperature"
		}
	}
	return strings.Join(levels, "/")
}
