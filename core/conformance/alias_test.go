package conformance

import (
	"fmt"
	"testing"
)

// aliasMaximum returns the broker's Topic Alias Maximum, or skips the test.
func aliasMaximum(c *client) int {
	c.t.Helper()
	n := c.connack.number(pTopicAliasMaximum, 0)
	if n == 0 {
		c.t.Skip("the broker accepts no Topic Aliases")
	}
	return n
}

func TestTopicAliasFromTheClient(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.2-12")
	base := unique()
	watcher, c := open(t, fresh(v5)), open(t, fresh(v5))
	watcher.listen(1, base+"/#")
	limit := aliasMaximum(c)
	aliased := func(topic string, alias int) {
		t.Helper()
		c.publish(publishPacket{topic: topic, payload: "x", qos: 1, props: prop(pTopicAlias, alias)})
	}
	expect := func(topic string) {
		t.Helper()
		if p := watcher.hears("x"); p.topic != topic || p.has(pTopicAlias) {
			t.Fatalf("got %v, want topic %q and no alias", p, topic)
		}
	}
	for alias := 1; alias <= min(limit, 300); alias++ {
		aliased(fmt.Sprint(base, "/", alias), alias)
		expect(fmt.Sprint(base, "/", alias))
	}
	for alias := min(limit, 300); alias > 0; alias-- {
		aliased("", alias)
		expect(fmt.Sprint(base, "/", alias))
	}
	aliased(base+"/last", limit)
	expect(base + "/last")
	aliased("", limit)
	expect(base + "/last")
	aliased(base+"/moved", 1) // another topic takes it over
	aliased("", 1)
	expect(base + "/moved")
	expect(base + "/moved")
	// A message without the alias leaves it alone.
	c.say(base+"/other", "x")
	aliased("", 1)
	expect(base + "/other")
	expect(base + "/moved")
}

func TestTopicAliasAboveMaximum(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.2.2-17", "MQTT-3.3.2-9", "MQTT-4.13.1-1")
	for _, above := range []int{1, 1000} {
		c := open(t, fresh(v5))
		limit := aliasMaximum(c)
		if limit+above > 65535 {
			t.Skip("the broker accepts all Topic Aliases")
		}
		c.send(publishPacket{topic: unique(), props: prop(pTopicAlias, limit+above)}.bytes(v5))
		c.dropped(0x94)
	}
}

func TestTopicAliasMaximumIsTaken(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.2.2-17", "MQTT-3.3.2-12")
	addr := startBroker(t, settings{topicAliasMaximum: 3})
	c := connectingTo(t, addr, fresh(v5))
	if p := c.accepted(); p.number(pTopicAliasMaximum, 0) != 3 {
		t.Fatalf("got %v, want Topic Alias Maximum 3", p)
	}
	c.publish(publishPacket{topic: unique(), qos: 1, props: prop(pTopicAlias, 3)})
	c.send(publishPacket{topic: unique(), qos: 1, id: 2, props: prop(pTopicAlias, 4)}.bytes(v5))
	c.dropped(0x94)
}

func TestTopicAliasEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.3.2-7")
	p := lasting(v5, unique())
	c := open(t, p)
	aliasMaximum(c)
	c.publish(publishPacket{topic: unique(), qos: 1, props: prop(pTopicAlias, 1)})
	c.leave()
	c = open(t, p)
	c.send(publishPacket{qos: 1, id: 9, props: prop(pTopicAlias, 1)}.bytes(v5))
	c.dropped(0x82, 0x94)
}

// A client that has said nothing of aliases, or 0, is sent none.
func TestNoTopicAliasForTheClient(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-27")
	addr := startBroker(t, settings{outboundTopicAlias: true})
	for _, props := range [][]byte{nil, prop(pTopicAliasMaximum, 0)} {
		p := fresh(v5)
		p.props = props
		c := openAt(t, addr, p)
		topic := unique()
		c.listen(1, topic)
		for i := range 10 {
			c.say(topic, fmt.Sprint(i))
			if p := c.hears(fmt.Sprint(i)); p.has(pTopicAlias) {
				t.Errorf("got %v, want no alias", p)
			}
		}
	}
}

func TestTopicAliasForTheClient(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-26", "MQTT-3.3.2-11", "MQTT-3.3.2-7")
	addr := startBroker(t, settings{outboundTopicAlias: true})
	base := unique()
	p := lasting(v5, unique())
	p.props = join(p.props, prop(pTopicAliasMaximum, 3))
	c, speaker := openAt(t, addr, p), openAt(t, addr, fresh(v5))
	c.listen(1, base+"/#")
	aliased := 0
	round := func() {
		t.Helper()
		for i := range 40 {
			topic := fmt.Sprint(base, "/", i%5)
			speaker.say(topic, "x")
			p := c.hears("x") // inspect sees to the limit and resolves the alias
			if p.topic != topic {
				t.Fatalf("got %v, want topic %q", p, topic)
			}
			if p.has(pTopicAlias) {
				aliased++
			}
		}
	}
	round()
	if aliased == 0 {
		t.Error("no message came with a Topic Alias")
	}
	// What has been sent under an alias is sent again with its topic, because the
	// new connection knows no aliases; and it may have a smaller maximum.
	speaker.say(base+"/0", "again")
	c.hear()
	c.cut()
	p.props = join(prop(pSessionExpiry, 300), prop(pTopicAliasMaximum, 1))
	c = openAt(t, addr, p)
	if p := c.hears("again"); p.topic != base+"/0" || !p.dup() {
		t.Errorf("got %v, want topic %q", p, base+"/0")
	}
	round()
}
