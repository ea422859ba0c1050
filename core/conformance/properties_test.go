package conformance

import (
	"slices"
	"testing"
)

// place is where a client puts properties.
type place struct {
	name string
	in   byte // packet type, or willProps
	send func(t *testing.T, props []byte) *client
	// end expects the broker's answer to a bad packet.
	end func(c *client, codes ...byte)
}

// places are all packets of a client that have properties.
func places() []place {
	topic := unique()
	inConnect := func(put func(p *connectPacket, props []byte)) func(t *testing.T, props []byte) *client {
		return func(t *testing.T, props []byte) *client {
			t.Helper()
			p := fresh(v5)
			put(&p, props)
			return connecting(t, p)
		}
	}
	connected := func(build func(props []byte) []byte) func(t *testing.T, props []byte) *client {
		return func(t *testing.T, props []byte) *client {
			t.Helper()
			c := open(t, fresh(v5))
			c.send(build(props))
			return c
		}
	}
	refused, dropped := (*client).refused, (*client).dropped
	all := []place{
		{"CONNECT", CONNECT, inConnect(func(p *connectPacket, props []byte) { p.props = props }), refused},
		{"Will Properties", willProps, inConnect(func(p *connectPacket, props []byte) { p.will = &will{topic: topic, props: props} }), refused},
		{"PUBLISH", PUBLISH, connected(func(props []byte) []byte { return publishPacket{topic: topic, props: props}.bytes(v5) }), dropped},
		{"SUBSCRIBE", SUBSCRIBE, connected(func(props []byte) []byte { return subscribe(v5, 1, props, sub{topic, 0}) }), dropped},
		{"UNSUBSCRIBE", UNSUBSCRIBE, connected(func(props []byte) []byte { return unsubscribe(v5, 1, props, topic) }), dropped},
		{"DISCONNECT", DISCONNECT, connected(func(props []byte) []byte { return disconnect5(0, props) }), dropped},
	}
	for _, typ := range []byte{PUBACK, PUBREC, PUBREL, PUBCOMP} {
		all = append(all, place{typeNames[typ], typ, connected(func(props []byte) []byte { return ack5(typ, 1, 0, props) }), dropped})
	}
	return all
}

func eachPlace(t *testing.T, ids []string, f func(t *testing.T, p place)) {
	t.Parallel()
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			shows(t, v5, ids...)
			f(t, p)
		})
	}
}

// "A Control Packet which contains an Identifier which is not valid for its packet
// type … is a Malformed Packet" (MQTT 5 §2.2.2.2).
func TestForeignProperties(t *testing.T) {
	eachPlace(t, []string{"MQTT-4.13.1-1"}, func(t *testing.T, p place) {
		for id, sample := range sampleProperties {
			if slices.Contains(propertyTypes[id].in, p.in) {
				continue
			}
			p.end(p.send(t, sample), 0x81)
			if t.Failed() {
				t.Fatalf("property 0x%02X in %s", id, p.name)
			}
		}
		for _, unknown := range [][]byte{{0x00, 0x00}, {0x04, 0x00}, {0x0A, 0x00, 0x00}, {0x2B, 0x00}, {0x7F, 0x00}, {0xFF, 0x01, 0x00}} {
			p.end(p.send(t, unknown), 0x81)
			if t.Failed() {
				t.Fatalf("unknown property % X in %s", unknown, p.name)
			}
		}
	})
}

func TestDuplicateProperties(t *testing.T) {
	eachPlace(t, []string{"MQTT-4.13.1-1"}, func(t *testing.T, p place) {
		for id, sample := range sampleProperties {
			if id == pUserProperty || !slices.Contains(propertyTypes[id].in, p.in) {
				continue
			}
			p.end(p.send(t, join(sample, sample)), 0x82)
			if t.Failed() {
				t.Fatalf("property 0x%02X twice in %s", id, p.name)
			}
			// Something in between does not hide it, nor does another value.
			p.end(p.send(t, join(sample, user("k", "v"), sample)), 0x82)
			if t.Failed() {
				t.Fatalf("property 0x%02X twice in %s", id, p.name)
			}
		}
	})
}

func TestUserPropertiesMayRepeat(t *testing.T) {
	t.Parallel()
	for _, p := range places() {
		c := p.send(t, join(user("k", "v"), user("k", "v"), user("", ""), user("k", "w")))
		switch p.in {
		case CONNECT, willProps:
			c.accepted()
		case DISCONNECT:
			c.gone()
		default:
			c.send(pingreq)
			c.take(PINGRESP)
		}
	}
}

func TestPropertyValues(t *testing.T) {
	topic := unique()
	publish := func(qos byte, topic string, props ...[]byte) func() []byte {
		return func() []byte {
			return publishPacket{topic: topic, qos: qos, id: int(qos), props: join(props...)}.bytes(v5)
		}
	}
	for _, test := range []struct {
		name   string
		packet func() []byte
		codes  []byte
		shows  []string
	}{
		{"payload format 2", publish(0, topic, prop(pPayloadFormat, 2)), []byte{0x81, 0x82}, nil},
		{"topic alias 0", publish(0, topic, prop(pTopicAlias, 0)), []byte{0x94, 0x82}, []string{"MQTT-3.3.2-8"}},
		{"topic alias 0 at QoS 1", publish(1, topic, prop(pTopicAlias, 0)), []byte{0x94, 0x82}, []string{"MQTT-3.3.2-8"}},
		{"subscription identifier from a client", publish(0, topic, prop(pSubscriptionID, 1)), []byte{0x82}, []string{"MQTT-3.3.4-6"}},
		{"response topic with #", publish(0, topic, prop(pResponseTopic, "a/#")), []byte{0x82, 0x81, 0x90}, []string{"MQTT-3.3.2-14"}},
		{"response topic with +", publish(0, topic, prop(pResponseTopic, "+/a")), []byte{0x82, 0x81, 0x90}, []string{"MQTT-3.3.2-14"}},
		{"no topic and no alias", publish(0, ""), []byte{0x82}, []string{"MQTT-4.7.3-1"}},
		{"no topic, alias without mapping", publish(0, "", prop(pTopicAlias, 1)), []byte{0x82, 0x94}, nil},
		{"subscription identifier 0", func() []byte { return subscribe(v5, 1, prop(pSubscriptionID, 0), sub{topic, 0}) }, []byte{0x82}, nil},
		{"two subscription identifiers", func() []byte {
			return subscribe(v5, 1, join(prop(pSubscriptionID, 1), prop(pSubscriptionID, 2)), sub{topic, 0})
		}, []byte{0x82}, nil},
		{"session expiry after none", func() []byte { return disconnect5(0, prop(pSessionExpiry, 10)) }, []byte{0x82}, nil},
		{"AUTH without method", func() []byte { return frame(AUTH, 0) }, []byte{0x82}, []string{"MQTT-4.12.0-7"}},
		{"AUTH on a connection without method", func() []byte { return auth(0x19, prop(pAuthMethod, "m")) }, []byte{0x82}, []string{"MQTT-4.12.0-7"}},
		{"AUTH to continue nothing", func() []byte { return auth(0x18, prop(pAuthMethod, "m")) }, []byte{0x82}, []string{"MQTT-4.12.0-7"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			shows(t, v5, append(test.shows, "MQTT-4.13.1-1", "MQTT-4.13.2-1", "MQTT-3.14.2-1", "MQTT-3.14.4-1", "MQTT-3.14.4-2")...)
			c := open(t, fresh(v5))
			c.send(test.packet())
			c.dropped(test.codes...)
		})
	}
}

func TestPropertyValuesInConnect(t *testing.T) {
	withWill := func(props []byte) func(p *connectPacket) {
		return func(p *connectPacket) { p.will = &will{topic: "w", props: props} }
	}
	with := func(props []byte) func(p *connectPacket) {
		return func(p *connectPacket) { p.props = props }
	}
	for _, test := range []struct {
		name  string
		put   func(p *connectPacket)
		codes []byte
	}{
		{"receive maximum 0", with(prop(pReceiveMaximum, 0)), []byte{0x82}},
		{"maximum packet size 0", with(prop(pMaximumPacketSize, 0)), []byte{0x82}},
		{"request problem information 2", with(prop(pRequestProblemInfo, 2)), []byte{0x82}},
		{"request response information 2", with(prop(pRequestResponseInfo, 2)), []byte{0x82}},
		{"authentication data without method", with(prop(pAuthData, "x")), []byte{0x82}},
		{"will, payload format 2", withWill(prop(pPayloadFormat, 2)), []byte{0x81, 0x82}},
		{"will, response topic with #", withWill(prop(pResponseTopic, "#")), []byte{0x81, 0x82, 0x90}},
		{"will topic with #", func(p *connectPacket) { p.will = &will{topic: "a/#"} }, []byte{0x81, 0x82, 0x90}},
		{"will topic with +", func(p *connectPacket) { p.will = &will{topic: "+"} }, []byte{0x81, 0x82, 0x90}},
		{"empty will topic", func(p *connectPacket) { p.will = &will{topic: ""} }, []byte{0x81, 0x82, 0x90}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			shows(t, v5, "MQTT-3.1.4-1", "MQTT-3.2.2-7", "MQTT-4.13.1-1", "MQTT-4.13.2-1")
			p := fresh(v5)
			test.put(&p)
			connecting(t, p).refused(test.codes...)
		})
	}
}

func TestReasonCodesOfClients(t *testing.T) {
	for _, test := range []struct {
		name   string
		packet []byte
		shows  []string
	}{
		{"DISCONNECT 0x03", disconnect5(0x03), []string{"MQTT-3.14.2-1"}},
		{"DISCONNECT 0xFF", disconnect5(0xFF), []string{"MQTT-3.14.2-1"}},
		{"PUBACK 0x01", ack5(PUBACK, 1, 0x01), []string{"MQTT-3.4.2-1"}},
		{"PUBREC 0x92", ack5(PUBREC, 1, 0x92), []string{"MQTT-3.5.2-1"}},
		{"PUBREL 0x10", ack5(PUBREL, 1, 0x10), []string{"MQTT-3.6.2-1"}},
		{"PUBCOMP 0x80", ack5(PUBCOMP, 1, 0x80), []string{"MQTT-3.7.2-1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			shows(t, v5, test.shows...)
			c := open(t, fresh(v5))
			c.send(test.packet)
			c.dropped(0x81, 0x82)
		})
	}
}

// A server may look whether a payload is the text that its publisher says it is,
// or may leave that to the receiver; it must not do something in between.
func TestPayloadThatIsNoText(t *testing.T) {
	t.Parallel()
	topic := unique()
	watcher := open(t, fresh(v5))
	watcher.listen(1, topic)
	for qos := range byte(3) {
		c := open(t, fresh(v5))
		c.send(publishPacket{topic: topic, payload: "\xFF\xFE", qos: qos, id: 1, props: prop(pPayloadFormat, 1)}.bytes(v5), pingreq)
		p, err := c.read()
		switch {
		case err != nil:
			t.Errorf("QoS %d: %v", qos, err)
		case p.code == 0x99: // PUBACK, PUBREC or DISCONNECT
			watcher.quiet()
		case p.code == 0 && (qos > 0 || p.typ == PINGRESP):
			if qos == 2 {
				c.send(ack(PUBREL, 1))
				c.take(PUBCOMP)
			}
			watcher.receives("\xFF\xFE")
		default:
			t.Errorf("QoS %d: got %v", qos, p)
		}
	}
	watcher.publish(publishPacket{topic: topic, payload: "t\u00E9xt", qos: 1, props: prop(pPayloadFormat, 1)})
	watcher.receives("t\u00E9xt")
}
