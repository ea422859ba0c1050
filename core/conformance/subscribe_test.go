package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

func TestSuback(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-2.2.1-6", "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2"},
		v311: {"MQTT-2.3.1-7", "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.9.3-1", "MQTT-3.9.3-2"},
	}, func(t *testing.T, v version) {
		base := unique()
		c := open(t, fresh(v))
		for _, id := range []int{1, 7, 0x00FF, 0xFF00, 65535} {
			var subs []sub
			var want []byte
			for i := range 12 {
				qos := byte(i * 7 % 3)
				subs = append(subs, sub{fmt.Sprintf("%s/%d/+/#", base, i), qos})
				want = append(want, qos)
			}
			c.send(subscribe(v, id, nil, subs...))
			a := c.expect(SUBACK)
			c.sameID(a, id)
			if !bytes.Equal(a.codes, want) {
				t.Errorf("granted % X, want % X", a.codes, want)
			}
		}
	})
}

// Several filters in one packet are several subscriptions, in their order: the
// last of two equal ones counts.
func TestSubscribeIsASequence(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.8.4-5", "MQTT-3.8.4-3"}, v311: {"MQTT-3.8.4-4", "MQTT-3.8.4-3"}}, func(t *testing.T, v version) {
		base := unique()
		speaker := open(t, fresh(v))
		speaker.retain(base+"/r", "retained")
		c := open(t, fresh(v))
		codes := c.subscribe(sub{base + "/a", 0}, sub{base + "/b", 2}, sub{base + "/r", 1}, sub{base + "/a", 2}, sub{base + "/b", 0})
		if !bytes.Equal(codes, []byte{0, 2, 1, 2, 0}) {
			t.Errorf("granted % X", codes)
		}
		c.receives("retained")
		for topic, qos := range map[string]byte{base + "/a": 2, base + "/b": 0, base + "/r": 1} {
			speaker.publish(publishPacket{topic: topic, payload: topic, qos: 2})
			if p := c.hears(topic); p.qos() != qos {
				t.Errorf("got %v, want QoS %d", p, qos)
			}
		}
		c.quiet()
	})
}

func TestSubscribeWithoutFilter(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.8.3-2"}, v311: {"MQTT-3.8.3-3"}}, func(t *testing.T, v version) {
		c := open(t, fresh(v))
		c.send(subscribe(v, 1, nil))
		c.dropped(0x82)
	})
}

func TestSubscriptionOptions(t *testing.T) {
	for _, test := range []struct {
		name    string
		options byte
		shared  bool
		codes   []byte
		shows   statements
	}{
		{"QoS 3", 0x03, false, []byte{0x82}, statements{v311: {"MQTT-3.8.3-4"}}},
		{"reserved bit 6", 0x40, false, []byte{0x81}, statements{v5: {"MQTT-3.8.3-5"}, v311: {"MQTT-3.8.3-4"}}},
		{"reserved bit 7", 0x80, false, []byte{0x81}, statements{v5: {"MQTT-3.8.3-5"}, v311: {"MQTT-3.8.3-4"}}},
		{"reserved bits", 0xC1, false, []byte{0x81}, statements{v5: {"MQTT-3.8.3-5"}, v311: {"MQTT-3.8.3-4"}}},
		{"retain handling 3", 0x30, false, []byte{0x82}, statements{v311: {"MQTT-3.8.3-4"}}},
		{"no local on a shared subscription", noLocal, true, []byte{0x82}, statements{v5: {"MQTT-3.8.3-4"}, v311: {"MQTT-3.8.3-4"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachVersion(t, test.shows, func(t *testing.T, v version) {
				filter := unique()
				if test.shared {
					filter = "$share/g/" + filter
				}
				c := open(t, fresh(v))
				c.send(subscribe(v, 1, nil, sub{unique(), 0}, sub{filter, test.options}))
				c.dropped(test.codes...)
			})
		})
	}
}

// The options of version 5 are reserved bits in version 3.1.1.
func TestOptionsAreReservedInV311(t *testing.T) {
	t.Parallel()
	shows(t, v311, "MQTT-3.8.3-4")
	for _, option := range []byte{noLocal, retainAsPublished, retainIfNew, retainNever} {
		c := open(t, fresh(v311))
		c.send(subscribe(v311, 1, nil, sub{unique(), option}))
		c.dropped()
	}
}

// All combinations of the QoS that a message has and the QoS that was granted.
func TestDeliveryQoS(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.8.4-8", "MQTT-3.3.2-3"},
		v311: {"MQTT-3.8.4-6", "MQTT-3.3.2-3"},
	}, func(t *testing.T, v version) {
		topic := unique()
		speaker := open(t, fresh(v))
		for granted := range byte(3) {
			c := open(t, fresh(v))
			c.listen(granted, topic)
			for published := range byte(3) {
				speaker.publish(publishPacket{topic: topic, payload: "x", qos: published})
				if p := c.hears("x"); p.qos() != min(published, granted) {
					t.Errorf("published at %d, granted %d: got %v", published, granted, p)
				}
			}
			c.quiet()
			c.leave()
		}
	})
}

func TestReplacedSubscription(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.8.4-3", "MQTT-3.8.4-4"}, v311: {"MQTT-3.8.4-3"}}, func(t *testing.T, v version) {
		topic := unique()
		speaker, c := open(t, fresh(v)), open(t, fresh(v))
		speaker.retain(topic, "retained")
		for _, qos := range []byte{2, 0, 1} {
			c.listen(qos, topic)
			if p := c.hears("retained"); p.qos() != min(qos, 1) || !p.retain() {
				t.Errorf("got %v, want the retained message at QoS %d", p, min(qos, 1))
			}
			speaker.publish(publishPacket{topic: topic, payload: "x", qos: 2})
			if p := c.hears("x"); p.qos() != qos {
				t.Errorf("got %v, want QoS %d", p, qos)
			}
			c.quiet() // one subscription, one message
		}
		c.unsubscribe(topic)
		speaker.say(topic, "x")
		c.quiet()
	})
}

// Messages must neither be lost nor doubled while a subscription is replaced.
func TestReplacingLosesNothing(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.8.4-4"}, v311: {"MQTT-3.8.4-3"}}, func(t *testing.T, v version) {
		topic := unique()
		speaker, c := open(t, fresh(v)), open(t, fresh(v))
		c.listen(1, topic)
		const total = 300
		var want []string
		// Both send all they have and only then read.
		for i := range total {
			want = append(want, fmt.Sprint(i))
			speaker.send(publishPacket{topic: topic, payload: want[i], qos: 1, id: i + 1}.bytes(v))
			if i%3 == 0 {
				c.send(subscribe(v, 1000+i, nil, sub{topic, 1}))
			}
		}
		for i := range total {
			speaker.sameID(speaker.expect(PUBACK), i+1)
		}
		c.receives(want...)
		c.send(pingreq)
		for p := c.next(); p.typ != PINGRESP; p = c.next() {
			if p.typ != SUBACK {
				t.Fatalf("unexpected %v", p)
			}
		}
	})
}

func TestNoLocal(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.8.3-3")
	topic, id := unique(), unique()
	c := open(t, lasting(v5, id))
	c.subscribe(sub{topic, 1 | noLocal}, sub{topic + "/own", 1})
	other := open(t, fresh(v5))
	other.subscribe(sub{topic, 1 | noLocal})
	c.say(topic, "mine")
	c.say(topic+"/own", "mine too")
	c.receives("mine too")
	c.quiet()
	other.hears("mine")
	other.say(topic, "yours")
	other.quiet()
	c.receives("yours")
	// It is the Client Identifier that counts, and not the connection.
	c.leave()
	c = open(t, lasting(v5, id))
	c.say(topic, "mine again")
	c.quiet()
	other.hears("mine again")
	// With another subscription that matches, one without the option, the message comes.
	c.subscribe(sub{topic + "/#", 0})
	c.say(topic, "by the other subscription")
	c.receives("by the other subscription")
	c.quiet()
}

func TestOverlappingSubscriptions(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.3.4-2"}, v311: {"MQTT-3.3.5-1"}}, func(t *testing.T, v version) {
		base := unique()
		c := open(t, fresh(v))
		c.listen(0, base+"/#")
		c.listen(2, base+"/+/b")
		c.listen(1, base+"/a/b")
		c.say(base+"/a/b", "1")
		c.publish(publishPacket{topic: base + "/a/b", payload: "2", qos: 2})
		highest := map[string]byte{}
		for _, p := range append(c.stash, c.drain()...) {
			highest[p.payload] = max(highest[p.payload], p.qos())
		}
		if highest["1"] != 1 || highest["2"] != 2 || len(highest) != 2 {
			t.Errorf("highest QoS by message %v, want 1 and 2", highest)
		}
	})
}

func TestSubscriptionIdentifiers(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5")
	base, id := unique(), unique()
	c := open(t, lasting(v5, id))
	with := func(subID int, subs ...sub) {
		t.Helper()
		c.subscribeWith(prop(pSubscriptionID, subID), subs...)
	}
	speaker := open(t, fresh(v5))
	// identifiers returns those of all copies of the next message.
	identifiers := func(topic string, copies int) []int {
		t.Helper()
		speaker.say(topic, "x")
		messages := c.drain()
		if len(messages) == 0 || len(messages) > copies {
			t.Fatalf("%d copies, want 1 to %d", len(messages), copies)
		}
		var ids []int
		for _, p := range messages {
			c.acknowledge(p)
			got := p.numbers(pSubscriptionID)
			if len(messages) > 1 && len(got) > 1 {
				t.Errorf("%v is one of several copies, but has several identifiers", p)
			}
			ids = append(ids, got...)
		}
		slices.Sort(ids)
		return ids
	}
	for _, largest := range []int{1, 127, 128, 16383, 16384, 268435455} {
		with(largest, sub{base + "/one", 1})
		if got := identifiers(base+"/one", 1); !slices.Equal(got, []int{largest}) {
			t.Errorf("got identifiers %v, want %d", got, largest)
		}
	}
	c.subscribe(sub{base + "/one", 1})
	if got := identifiers(base+"/one", 1); len(got) != 0 {
		t.Errorf("got identifiers %v of a subscription that was replaced by one without", got)
	}
	with(10, sub{base + "/#", 1})
	with(20, sub{base + "/a", 0}, sub{base + "/+/b", 1})
	c.subscribe(sub{base + "/a/b", 1})
	for topic, want := range map[string][]int{"/a": {10, 20}, "/a/b": {10, 20}, "/c": {10}, "/one": {10}} {
		if got := identifiers(base+topic, 3); !slices.Equal(got, want) {
			t.Errorf("%s: got identifiers %v, want %v", topic, got, want)
		}
	}
	// The same identifier of two subscriptions comes twice.
	with(20, sub{base + "/#", 1})
	if got := identifiers(base+"/a", 2); !slices.Equal(got, []int{20, 20}) && !slices.Equal(got, []int{20}) {
		t.Errorf("got identifiers %v, want 20 twice", got)
	}
	// A session keeps them, and they go with messages from its queue and with
	// retained ones.
	with(30, sub{base + "/kept", 1})
	c.unsubscribe(base + "/#")
	c.leave()
	speaker.retain(base+"/kept", "queued")
	c = open(t, lasting(v5, id))
	if p := c.hears("queued"); !slices.Equal(p.numbers(pSubscriptionID), []int{30}) {
		t.Errorf("got %v, want identifier 30", p)
	}
	with(40, sub{base + "/kept", 1})
	if p := c.take(PUBLISH); !slices.Equal(p.numbers(pSubscriptionID), []int{40}) {
		t.Errorf("got %v, want identifier 40", p)
	}
}

func TestUnsuback(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-2.2.1-6", "MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-3.10.4-6", "MQTT-3.11.3-1", "MQTT-3.11.3-2", "MQTT-3.10.4-1", "MQTT-3.10.4-2"},
		v311: {"MQTT-2.3.1-7", "MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-3.10.4-6", "MQTT-3.10.4-1", "MQTT-3.10.4-2"},
	}, func(t *testing.T, v version) {
		base := unique()
		c, speaker := open(t, fresh(v)), open(t, fresh(v))
		c.listen(1, base+"/a/+", base+"/b", base+"/c/#")
		// None of these is one of them, though they match, overlap or look alike.
		for _, f := range []string{base + "/a/x", base + "/+/+", base + "/B", base + "/c", base + "/#", base + "/b/", "/" + base + "/b"} {
			if codes := c.unsubscribe(f); v == v5 && codes[0] != 0x11 {
				t.Errorf("unsubscribe %q: 0x%02X, want 0x11", f, codes[0])
			}
		}
		for _, topic := range []string{"/a/x", "/b", "/c", "/c/d"} {
			speaker.say(base+topic, topic)
			c.hears(topic)
		}
		codes := c.unsubscribe(base+"/none", base+"/b", base+"/a/+", base+"/b")
		if v == v5 && !bytes.Equal(codes, []byte{0x11, 0, 0, 0x11}) {
			t.Errorf("codes % X, want 11 00 00 11", codes)
		}
		for _, topic := range []string{"/a/x", "/b"} {
			speaker.say(base+topic, topic)
		}
		speaker.say(base+"/c", "still")
		c.hears("still")
		c.quiet()
	})
}

func TestUnsubscribeWithoutFilter(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.10.3-2"}, v311: {"MQTT-3.10.3-2"}}, func(t *testing.T, v version) {
		c := open(t, fresh(v))
		c.send(unsubscribe(v, 1, nil))
		c.dropped(0x82)
	})
}

// What the broker has begun to send it must go on sending.
func TestUnsubscribeCompletesDeliveries(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.10.4-3"}, v311: {"MQTT-3.10.4-3"}}, func(t *testing.T, v version) {
		topic, id := unique(), unique()
		c, speaker := open(t, lasting(v, id)), open(t, fresh(v))
		c.listen(2, topic)
		speaker.say(topic, "1")
		speaker.publish(publishPacket{topic: topic, payload: "2", qos: 2})
		first, second := c.hear(), c.hear()
		c.unsubscribe(topic)
		c.cut()
		c = open(t, lasting(v, id))
		for _, sent := range []packet{first, second} {
			p := c.hear()
			if p.id != sent.id || p.payload != sent.payload || !p.dup() {
				t.Fatalf("got %v, want %v again", p, sent)
			}
			c.acknowledge(p)
		}
		speaker.say(topic, "3")
		c.quiet()
	})
}
