package conformance

import (
	"testing"
	"time"
)

// willWatcher returns a topic, and a client that listens to it.
func willWatcher(t testing.TB, v version) (string, *client) {
	t.Helper()
	topic := unique()
	c := open(t, fresh(v))
	c.listen(2, topic)
	return topic, c
}

func TestWillIsPublished(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(c *client)
		only version
	}{
		{"connection lost", func(c *client) { c.cut() }, 0},
		{"protocol error", func(c *client) { c.send(c.connect.bytes()) }, 0},
		{"malformed packet", func(c *client) { c.send([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}) }, 0},
		{"packet cut off", func(c *client) { c.send(pingreq[:1]); c.cut() }, 0},
		{"taken over", func(c *client) { open(c.t, connectPacket{v: c.v, id: c.connect.id, clean: true}) }, 0},
		{"DISCONNECT 0x04", func(c *client) { c.send(disconnect5(0x04)) }, v5},
		{"DISCONNECT 0x80", func(c *client) { c.send(disconnect5(0x80)) }, v5},
		{"DISCONNECT 0x97", func(c *client) { c.send(disconnect5(0x97)) }, v5},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachVersion(t, statements{
				v5:   {"MQTT-3.1.2-7", "MQTT-3.1.2-8"},
				v311: {"MQTT-3.1.2-8", "MQTT-3.1.2-9"},
			}, func(t *testing.T, v version) {
				if test.only != 0 && test.only != v {
					t.Skip("not in this version")
				}
				topic, watcher := willWatcher(t, v)
				p := fresh(v)
				p.will = &will{topic: topic, payload: "will", qos: 1}
				c := open(t, p)
				watcher.quiet()
				test.end(c)
				if p := watcher.hears("will"); p.qos() != 1 || p.topic != topic {
					t.Errorf("got %v, want QoS 1", p)
				}
				watcher.quiet()
			})
		})
	}
}

func TestWillIsDiscarded(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.14.4-3", "MQTT-3.1.2-8", "MQTT-3.1.2-10"},
		v311: {"MQTT-3.14.4-3", "MQTT-3.1.2-10"},
	}, func(t *testing.T, v version) {
		topic, watcher := willWatcher(t, v)
		p := lasting(v, unique())
		p.will = &will{topic: topic, payload: "will"}
		c := open(t, p)
		c.leave()
		watcher.quiet()
		// What follows DISCONNECT does not count.
		c = open(t, p)
		c.send(disconnect, publishPacket{topic: topic, payload: "after"}.bytes(v))
		c.cut()
		p.will, p.clean = nil, true // and so the session ends, too
		open(t, p).leave()
		watcher.quiet()
	})
}

// Once published it is gone: a later connection without a Will publishes none.
func TestWillIsPublishedOnce(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.2-10"},
		v311: {"MQTT-3.1.2-10", "MQTT-3.1.2-12"},
	}, func(t *testing.T, v version) {
		topic, watcher := willWatcher(t, v)
		p := lasting(v, unique())
		p.will = &will{topic: topic, payload: "will"}
		open(t, p).cut()
		watcher.hears("will")
		p.will = nil
		for range 3 {
			open(t, p).cut()
		}
		open(t, p).leave() // when this is through the connections before are gone
		watcher.quiet()
	})
}

func TestWillRetain(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.2-14", "MQTT-3.1.2-15"},
		v311: {"MQTT-3.1.2-16", "MQTT-3.1.2-17"},
	}, func(t *testing.T, v version) {
		for qos := range byte(3) {
			for _, retain := range []bool{false, true} {
				topic, watcher := willWatcher(t, v)
				p := fresh(v)
				p.will = &will{topic: topic, payload: "will", qos: qos, retain: retain}
				open(t, p).cut()
				if p := watcher.hears("will"); p.qos() != qos || p.retain() {
					t.Errorf("got %v, want QoS %d, RETAIN 0", p, qos)
				}
				late := open(t, fresh(v))
				late.listen(2, topic)
				if retain {
					if p := late.hears("will"); p.qos() != qos || !p.retain() {
						t.Errorf("got %v, want QoS %d, RETAIN 1", p, qos)
					}
				}
				late.quiet()
			}
		}
	})
}

// A Will with an empty payload and RETAIN removes the retained message.
func TestEmptyWill(t *testing.T) {
	eachVersion(t, nil, func(t *testing.T, v version) {
		topic, watcher := willWatcher(t, v)
		watcher.retain(topic, "online")
		watcher.hears("online")
		p := fresh(v)
		p.will = &will{topic: topic, retain: true}
		open(t, p).cut()
		watcher.hears("")
		late := open(t, fresh(v))
		late.listen(0, topic)
		late.quiet()
	})
}

// A Will reaches a session that is away.
func TestWillIsQueued(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.5.0-1"}, v311: {"MQTT-4.5.0-1"}}, func(t *testing.T, v version) {
		topic, watcher := willWatcher(t, v)
		id := unique()
		away := open(t, lasting(v, id))
		away.listen(1, topic)
		away.leave()
		p := fresh(v)
		p.will = &will{topic: topic, payload: "will", qos: 2}
		open(t, p).cut()
		watcher.hears("will")
		away = open(t, lasting(v, id))
		if p := away.hears("will"); p.qos() != 1 {
			t.Errorf("got %v, want QoS 1", p)
		}
	})
}

// delayed is a CONNECT with a Will Delay Interval and a Session Expiry Interval.
func delayed(topic string, delay, expiry int) connectPacket {
	return connectPacket{v: v5, id: unique(), props: prop(pSessionExpiry, expiry),
		will: &will{topic: topic, payload: "will", props: prop(pWillDelay, delay)}}
}

func TestWillDelay(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-8")
	steady(t, func(t testing.TB) {
		topic, watcher := willWatcher(t, v5)
		c := open(t, delayed(topic, 2, 100))
		start := time.Now()
		c.cut()
		p := watcher.hears("will")
		if took := time.Since(start); took < 2*time.Second || took > 5*time.Second {
			t.Errorf("the Will came after %v, want 2 s", took)
		}
		if p.has(pWillDelay) || p.has(pMessageExpiry) {
			t.Errorf("got %v, want no properties", p)
		}
	})
}

func TestWillDelayIsCutShortByTheSessionsEnd(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.2-8")
	const soon = 6 * time.Second // and not after the 30 of the Will Delay
	for _, test := range []struct {
		name        string
		expiry      int
		end         func(c *client)
		least, most time.Duration
	}{
		{"no session", 0, func(c *client) { c.cut() }, 0, soon},
		{"session expires", 1, func(c *client) { c.cut() }, time.Second, soon},
		{"session expiry 0 on DISCONNECT", 100, func(c *client) { c.send(disconnect5(0x04, prop(pSessionExpiry, 0))) }, 0, soon},
		{"clean start", 100, func(c *client) {
			c.cut()
			p := fresh(v5)
			p.id = c.connect.id
			open(c.t, p)
		}, 0, soon},
		{"taken over by a clean start", 100, func(c *client) {
			p := fresh(v5)
			p.id = c.connect.id
			open(c.t, p)
		}, 0, soon},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			steady(t, func(t testing.TB) {
				topic, watcher := willWatcher(t, v5)
				c := open(t, delayed(topic, 30, test.expiry))
				start := time.Now()
				test.end(c)
				watcher.hears("will")
				if took := time.Since(start); took < test.least || took > test.most {
					t.Errorf("the Will came after %v, want %v to %v", took, test.least, test.most)
				}
			})
		})
	}
}

func TestWillDelayIsCancelledByReconnect(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-3.1.3-9", "MQTT-3.1.2-8")
	for _, how := range []string{"lost", "taken over", "DISCONNECT 0x04"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			steady(t, func(t testing.TB) {
				topic, watcher := willWatcher(t, v5)
				p := delayed(topic, 2, 100)
				c := open(t, p)
				switch how {
				case "lost":
					c.cut()
				case "DISCONNECT 0x04":
					c.send(disconnect5(0x04))
					c.gone()
				}
				p.will = nil
				if !connecting(t, p).accepted().present {
					t.Error("no session")
				}
				pass(2500 * time.Millisecond)
				watcher.quiet()
			})
		})
	}
}

// The Message Expiry Interval of the Will begins when it is published.
func TestWillExpiry(t *testing.T) {
	t.Parallel()
	steady(t, func(t testing.TB) {
		topic, watcher := willWatcher(t, v5)
		p := delayed(topic, 1, 100)
		p.will.props = join(p.will.props, prop(pMessageExpiry, 50))
		open(t, p).cut()
		if p := watcher.hears("will"); p.number(pMessageExpiry, 0) < 48 || p.number(pMessageExpiry, 0) > 50 {
			t.Errorf("got %v, want a message expiry interval of 50", p)
		}
	})
}

// A CONNECT that is refused leaves no Will behind.
func TestWillOfARefusedConnect(t *testing.T) {
	t.Parallel()
	topic, watcher := willWatcher(t, v5)
	p := fresh(v5)
	p.will = &will{topic: topic, payload: "will"}
	p.props = prop(pAuthMethod, "no such method")
	connecting(t, p).refused(0x8C, 0x87)
	watcher.quiet()
}
