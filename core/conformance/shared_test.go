package conformance

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// collect reads what the clients were sent and returns it by client. Their
// PINGREQs make sure that nothing is still on its way.
func collect(clients ...*client) [][]packet {
	var all [][]packet
	for _, c := range clients {
		c.t.Helper()
		got := append(c.stash, c.drain()...)
		c.stash = nil
		for _, p := range got {
			c.acknowledge(p)
		}
		all = append(all, got)
	}
	return all
}

func TestSharedSubscription(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.8.2-1", "MQTT-4.8.2-2")
	topic := unique()
	var members []*client
	for range 3 {
		c := open(t, fresh(v5))
		c.listen(1, "$share/g/"+topic+"/#")
		members = append(members, c)
	}
	otherGroup, alone, speaker := open(t, fresh(v5)), open(t, fresh(v5)), open(t, fresh(v5))
	otherGroup.listen(1, "$share/h/"+topic+"/#")
	alone.listen(1, topic+"/#")
	var want []string
	for i := range 60 {
		want = append(want, fmt.Sprint(i))
		speaker.say(topic+"/x", want[i])
	}
	var got []string
	for i, messages := range collect(members...) {
		if len(messages) == 0 {
			t.Errorf("member %d was left out", i)
		}
		got = append(got, payloads(messages)...)
	}
	slices.Sort(got)
	if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("the members received %q, want each message once", got)
	}
	otherGroup.receives(want...)
	alone.receives(want...)
}

// A shared subscription is one besides the client's others.
func TestSharedSubscriptionBesideAnother(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.4-3", "MQTT-3.3.4-5")
	topic := unique()
	c := open(t, fresh(v5))
	c.subscribeWith(prop(pSubscriptionID, 1), sub{"$share/g/" + topic, 1})
	c.subscribeWith(prop(pSubscriptionID, 2), sub{topic, 1})
	c.subscribeWith(prop(pSubscriptionID, 3), sub{"$share/h/" + topic, 1})
	c.say(topic, "x")
	var ids []int
	for _, p := range collect(c)[0] {
		got := p.numbers(pSubscriptionID)
		if len(got) == 0 {
			t.Errorf("got %v without an identifier", p)
		}
		ids = append(ids, got...)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []int{1, 2, 3}) {
		t.Errorf("got identifiers %v, want 1, 2, 3", ids)
	}
	if codes := c.unsubscribe("$share/g/"+topic, "$share/none/"+topic); !slices.Equal(codes, []byte{0, 0x11}) {
		t.Errorf("unsubscribe: % X", codes)
	}
	c.say(topic, "y")
	for _, p := range collect(c)[0] {
		if slices.Contains(p.numbers(pSubscriptionID), 1) {
			t.Errorf("got %v after UNSUBSCRIBE", p)
		}
	}
}

func TestSharedSubscriptionQoS(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.8.2-3")
	topic := unique()
	var members []*client
	for qos := range byte(3) {
		c := open(t, fresh(v5))
		c.listen(qos, "$share/g/"+topic)
		members = append(members, c)
	}
	speaker := open(t, fresh(v5))
	for i := range 30 {
		speaker.publish(publishPacket{topic: topic, payload: fmt.Sprint(i), qos: 2})
	}
	for qos, messages := range collect(members...) {
		for _, p := range messages {
			if int(p.qos()) != qos {
				t.Errorf("granted %d: got %v", qos, p)
			}
		}
	}
}

func TestSharedSubscriptionHasNoRetainedMessages(t *testing.T) {
	t.Parallel()
	topic := unique()
	c := open(t, fresh(v5))
	c.retain(topic, "r")
	c.listen(1, "$share/g/"+topic)
	c.quiet()
	c.say(topic, "x")
	c.hears("x")
}

// A member that is away gets nothing while another is there.
func TestSharedSubscriptionPrefersThePresent(t *testing.T) {
	t.Parallel()
	topic := unique()
	p := lasting(v5, unique())
	away, present, speaker := open(t, p), open(t, fresh(v5)), open(t, fresh(v5))
	away.listen(1, "$share/g/"+topic)
	present.listen(1, "$share/g/"+topic)
	away.leave()
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
		speaker.say(topic, want[i])
	}
	present.receives(want...)
	present.leave()
	// With nobody there it waits for the one whose session lasts.
	speaker.say(topic, "kept")
	away = open(t, p)
	away.hears("kept")
	away.quiet()
}

// A QoS 1 message that a member left unacknowledged goes to another when the
// member's session ends (MQTT 5 §4.8.2: SHOULD).
func TestSharedQoS1IsDispatchedAgain(t *testing.T) {
	t.Parallel()
	topic := unique()
	first, speaker := open(t, fresh(v5)), open(t, fresh(v5))
	first.listen(1, "$share/g/"+topic)
	speaker.say(topic, "x")
	first.hear()
	second := open(t, fresh(v5))
	second.listen(1, "$share/g/"+topic)
	first.cut()
	second.receives("x")
	second.quiet()
}

func TestSharedQoS2StaysWithItsMember(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.8.2-4")
	for _, received := range []bool{false, true} {
		topic := unique()
		p := lasting(v5, unique())
		first, speaker := open(t, p), open(t, fresh(v5))
		first.listen(2, "$share/g/"+topic)
		speaker.publish(publishPacket{topic: topic, payload: "x", qos: 2})
		sent := first.hear()
		if received {
			first.send(ack(PUBREC, sent.id))
			first.sameID(first.expect(PUBREL), sent.id)
		}
		second := open(t, fresh(v5))
		second.listen(2, "$share/g/"+topic)
		first.cut()
		second.quiet()
		first = open(t, p)
		if received {
			first.sameID(first.expect(PUBREL), sent.id)
			first.pubcomp(sent.id)
		} else {
			again := first.hears("x")
			first.sameID(again, sent.id)
		}
		first.quiet()
		second.quiet()
	}
}

func TestSharedQoS2IsNotDispatchedAgain(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.8.2-5")
	topic, willTopic := unique(), unique()
	speaker := open(t, fresh(v5))
	speaker.listen(0, willTopic)
	p := fresh(v5)
	p.will = &will{topic: willTopic, payload: "ended"}
	first := open(t, p)
	first.listen(2, "$share/g/"+topic)
	speaker.publish(publishPacket{topic: topic, payload: "x", qos: 2})
	first.hear()
	second := open(t, fresh(v5))
	second.listen(2, "$share/g/"+topic)
	first.cut()
	speaker.hears("ended") // and with the connection the session
	for range 10 {
		second.quiet()
		pass(10 * time.Millisecond)
	}
}

func TestSharedMessageIsRejected(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.8.2-6")
	topic := unique()
	members := []*client{open(t, fresh(v5)), open(t, fresh(v5))}
	for _, c := range members {
		c.listen(2, "$share/g/"+topic)
	}
	speaker := open(t, fresh(v5))
	for qos := byte(1); qos < 3; qos++ {
		speaker.publish(publishPacket{topic: topic, payload: "x", qos: qos})
		rejected := 0
		for _, c := range members {
			for _, p := range c.drain() {
				c.reject(p, 0x83)
				rejected++
			}
		}
		for _, c := range members {
			c.quiet()
		}
		if rejected != 1 {
			t.Errorf("QoS %d: the message came %d times, want once", qos, rejected)
		}
	}
	for _, c := range members { // a session's end does not bring it up again
		c.cut()
	}
	late := open(t, fresh(v5))
	late.listen(2, "$share/g/"+topic)
	late.quiet()
}
