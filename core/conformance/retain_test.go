package conformance

import (
	"slices"
	"testing"
)

func TestRetainedMessageIsStoredAndReplaced(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.3.1-5", "MQTT-3.3.1-9"},
		v311: {"MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8"},
	}, func(t *testing.T, v version) {
		topic := unique()
		speaker := open(t, fresh(v))
		for qos := range byte(3) {
			speaker.publish(publishPacket{topic: topic, payload: "old", qos: 1, retain: true})
			speaker.publish(publishPacket{topic: topic, payload: "new", qos: qos, retain: true})
			if qos == 0 {
				speaker.quiet() // QoS 0 has no acknowledgement to wait for
			}
			c := open(t, fresh(v))
			c.listen(2, topic)
			if p := c.hears("new"); !p.retain() || p.qos() != qos {
				t.Errorf("got %v, want RETAIN and QoS %d", p, qos)
			}
			c.quiet()
		}
		speaker.retain(topic, "")
	})
}

func TestRetainedMessageAtQoS0ReplacesAnother(t *testing.T) {
	t.Parallel()
	shows(t, v311, "MQTT-3.3.1-7")
	topic := unique()
	speaker := open(t, fresh(v311))
	speaker.retain(topic, "old")
	speaker.publish(publishPacket{topic: topic, payload: "new", retain: true})
	speaker.quiet()
	c := open(t, fresh(v311))
	c.listen(1, topic)
	for _, p := range c.drain() { // the server may have no message, but not the old one
		if p.payload != "new" {
			t.Errorf("got %v", p)
		}
	}
}

func TestRetainedMessagesOfManyTopics(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.3.1-9"}, v311: {"MQTT-3.3.1-6"}}, func(t *testing.T, v version) {
		base := unique()
		names := []string{base, base + "/a", base + "/a/b", base + "/b", base + "/b/$c", base + "//"}
		speaker := open(t, fresh(v))
		for _, name := range names {
			speaker.retain(name, name)
		}
		for _, test := range []struct {
			filter string
			want   []string
		}{
			{base + "/#", names},
			{base, names[:1]},
			{base + "/+", []string{names[1], names[3]}},
			{base + "/+/+", []string{names[2], names[4], names[5]}},
			{base + "/a/#", names[1:3]},
			{base + "/+/b", names[2:3]},
			{base + "/b/+", names[4:5]},
			{base + "/c", nil},
		} {
			c := open(t, fresh(v))
			c.listen(0, test.filter)
			got := payloads(c.drain())
			slices.Sort(got)
			want := slices.Sorted(slices.Values(test.want))
			if !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", test.filter, got, want)
			}
		}
	})
}

func TestEmptyRetainedMessage(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.3.1-6", "MQTT-3.3.1-7"},
		v311: {"MQTT-3.3.1-10", "MQTT-3.3.1-11"},
	}, func(t *testing.T, v version) {
		topic := unique()
		speaker, c := open(t, fresh(v)), open(t, fresh(v))
		speaker.retain(topic, "x")
		c.listen(1, topic)
		c.hears("x")
		speaker.retain(topic, "")
		if p := c.hears(""); p.retain() {
			t.Errorf("got %v, want RETAIN 0", p)
		}
		later := open(t, fresh(v))
		later.listen(1, topic)
		later.quiet()
		speaker.retain(topic+"/never", "") // where nothing was retained
		later.listen(1, topic+"/never")
		later.quiet()
	})
}

func TestMessageWithoutRetain(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.3.1-8"}, v311: {"MQTT-3.3.1-12"}}, func(t *testing.T, v version) {
		topic := unique()
		speaker := open(t, fresh(v))
		speaker.say(topic, "not retained")
		c := open(t, fresh(v))
		c.listen(1, topic)
		c.quiet()
		speaker.retain(topic, "kept")
		c.hears("kept")
		speaker.say(topic, "not retained")
		speaker.say(topic, "")
		c.receives("not retained", "")
		later := open(t, fresh(v))
		later.listen(1, topic)
		later.hears("kept")
		later.quiet()
	})
}

func TestEstablishedSubscriptionHasNoRetainFlag(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.3.1-12"}, v311: {"MQTT-3.3.1-9"}}, func(t *testing.T, v version) {
		topic := unique()
		c := open(t, fresh(v))
		c.listen(2, topic)
		for qos := range byte(3) {
			c.publish(publishPacket{topic: topic, payload: "x", qos: qos, retain: true})
			if p := c.take(PUBLISH); p.retain() {
				t.Errorf("got %v, want RETAIN 0", p)
			} else {
				c.acknowledge(p)
			}
		}
	})
}

func TestRetainAsPublished(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.1-12", "MQTT-3.3.1-13")
	topic := unique()
	plain, keeping, speaker := open(t, fresh(v5)), open(t, fresh(v5)), open(t, fresh(v5))
	plain.subscribe(sub{topic, 1})
	keeping.subscribe(sub{topic, 1 | retainAsPublished})
	speaker.retain(topic, "retained")
	speaker.say(topic, "not")
	for c, want := range map[*client]bool{plain: false, keeping: true} {
		if p := c.hears("retained"); p.retain() != want {
			t.Errorf("got %v, want RETAIN %t", p, want)
		}
		if p := c.hears("not"); p.retain() {
			t.Errorf("got %v, want RETAIN 0", p)
		}
	}
	// Sent because of the subscription it has RETAIN 1, whatever the option says.
	for _, option := range []byte{0, retainAsPublished} {
		c := open(t, fresh(v5))
		c.subscribe(sub{topic, 1 | option})
		if p := c.hears("retained"); !p.retain() {
			t.Errorf("got %v, want RETAIN 1", p)
		}
	}
}

func TestRetainHandling(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11", "MQTT-3.8.4-4")
	topic := unique()
	open(t, fresh(v5)).retain(topic, "r")
	for _, test := range []struct {
		name          string
		option        byte
		first, second int // messages on the first and the second SUBSCRIBE
	}{
		{"0", 0, 1, 1},
		{"1", retainIfNew, 1, 0},
		{"2", retainNever, 0, 0},
	} {
		c := open(t, fresh(v5))
		for i, want := range []int{test.first, test.second} {
			c.subscribe(sub{topic, test.option})
			if got := len(c.drain()) + len(c.stash); got != want {
				t.Errorf("retain handling %s, subscription %d: %d messages, want %d", test.name, i+1, got, want)
			}
			c.stash = nil
		}
		// Gone and made again it is a new one.
		c.unsubscribe(topic)
		c.subscribe(sub{topic, test.option})
		if got := len(c.drain()) + len(c.stash); got != test.first {
			t.Errorf("retain handling %s, after UNSUBSCRIBE: %d messages, want %d", test.name, got, test.first)
		}
	}
}

// Retain Handling 1 looks at the subscription of the session, which a reconnect
// has not ended.
func TestRetainHandlingAcrossReconnect(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.1-10")
	topic, id := unique(), unique()
	open(t, fresh(v5)).retain(topic, "r")
	c := open(t, lasting(v5, id))
	c.subscribe(sub{topic, 1 | retainIfNew})
	c.hears("r")
	c.leave()
	c = open(t, lasting(v5, id))
	c.quiet() // a resumed session is no new subscription either
	c.subscribe(sub{topic, 1 | retainIfNew})
	c.quiet()
	c.subscribe(sub{topic, 1})
	c.hears("r")
}

func TestRetainedMessagesOutliveSessions(t *testing.T) {
	eachVersion(t, statements{v5: nil, v311: {"MQTT-3.1.2-7"}}, func(t *testing.T, v version) {
		topic := unique()
		c := open(t, fresh(v))
		c.retain(topic, "kept")
		c.leave()
		c = open(t, fresh(v))
		c.listen(0, topic)
		c.hears("kept")
	})
}

// A retained message is delivered at the lower of its QoS and the granted one.
func TestRetainedMessageQoS(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.8.4-8"}, v311: {"MQTT-3.8.4-6"}}, func(t *testing.T, v version) {
		topic := unique()
		speaker := open(t, fresh(v))
		for published := range byte(3) {
			speaker.publish(publishPacket{topic: topic, payload: "r", qos: published, retain: true})
			speaker.quiet()
			for granted := range byte(3) {
				c := open(t, fresh(v))
				c.listen(granted, topic)
				if p := c.hears("r"); p.qos() != min(published, granted) {
					t.Errorf("published at %d, granted %d: got %v", published, granted, p)
				}
			}
		}
	})
}
