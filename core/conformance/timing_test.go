package conformance

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

// closesWithin checks that the broker closes the connection for a Keep Alive that
// has run out, not before and not long after the given milliseconds since a time
// just before the client's last packet.
func closesWithin(t testing.TB, c *client, since time.Time, least, most int) {
	t.Helper()
	if c.v == v5 {
		p, err := c.read()
		if err == nil && (p.typ != DISCONNECT || p.code != 0x8D) || err == errClosed && strict() || err != nil && err != errClosed {
			t.Fatalf("got %v, %v, want DISCONNECT 8D", p, err)
		}
		if err == nil {
			c.gone()
		}
	} else {
		c.gone()
	}
	if took := time.Since(since); took < time.Duration(least)*time.Millisecond || took > time.Duration(most)*time.Millisecond {
		t.Errorf("closed after %v, want %d to %d ms", took, least, most)
	}
}

func TestKeepAliveRunsOut(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.2-22", "MQTT-3.2.2-22", "MQTT-3.1.2-20"},
		v311: {"MQTT-3.1.2-24", "MQTT-3.1.2-23"},
	}, func(t *testing.T, v version) {
		steady(t, func(t testing.TB) {
			topic := unique()
			watcher := open(t, fresh(v))
			watcher.listen(0, topic)
			p := fresh(v)
			p.keepAlive = 1
			p.will = &will{topic: topic, payload: "gone"}
			start := time.Now()
			c := open(t, p)
			closesWithin(t, c, start, 1500, 4000)
			watcher.hears("gone") // as if the network had failed
		})
	})
}

// stayAlive sends something again and again, for a Keep Alive of one second soon
// enough, and for longer than that would last.
func stayAlive(send func()) {
	for range 4 {
		pass(700 * time.Millisecond)
		send()
	}
}

func TestKeepAliveIsKept(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-3.12.4-1"}, v311: {"MQTT-3.12.4-1"}}, func(t *testing.T, v version) {
		steady(t, func(t testing.TB) {
			p := fresh(v)
			p.keepAlive = 1
			c := open(t, p)
			stayAlive(c.quiet)
		})
	})
}

// A PUBLISH proves that the client is alive as a PINGREQ does.
func TestKeepAliveByAnyPacket(t *testing.T) {
	eachVersion(t, nil, func(t *testing.T, v version) {
		steady(t, func(t testing.TB) {
			p := fresh(v)
			p.keepAlive = 1
			c := open(t, p)
			stayAlive(func() { c.say(unique(), "x") })
		})
	})
}

// Packets to the client prove nothing of the client.
func TestKeepAliveNotByReceiving(t *testing.T) {
	eachVersion(t, nil, func(t *testing.T, v version) {
		steady(t, func(t testing.TB) {
			topic := unique()
			p := fresh(v)
			p.keepAlive = 1
			c := open(t, p)
			speaker := open(t, fresh(v))
			start := time.Now()
			c.listen(0, topic)
			for end := false; !end; {
				if time.Since(start) > patience {
					t.Fatal("the connection is still open")
				}
				speaker.say(topic, "x")
				pkt, err := c.readUntil(time.Now().Add(200 * time.Millisecond))
				end = err == errClosed || pkt.typ == DISCONNECT
				if err == nil && pkt.typ == PUBLISH {
					pass(100 * time.Millisecond)
				}
			}
			if took := time.Since(start); took < 1500*time.Millisecond {
				t.Errorf("closed after %v", took)
			}
		})
	})
}

func TestKeepAliveZero(t *testing.T) {
	eachVersion(t, nil, func(t *testing.T, v version) {
		c := open(t, fresh(v))
		pass(3 * time.Second)
		c.quiet()
	})
}

// A connection without a CONNECT, or with half of one, does not last.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	addr := startBroker(t, settings{connectTimeout: time.Second})
	p := fresh(v5)
	for _, b := range [][]byte{nil, {CONNECT << 4}, p.bytes()[:20]} {
		t.Run(fmt.Sprint(len(b), " bytes"), func(t *testing.T) {
			t.Parallel()
			steady(t, func(t testing.TB) {
				start := time.Now()
				c := dial(t, addr, v5)
				c.send(b)
				c.gone()
				if took := time.Since(start); took < 800*time.Millisecond || took > 4*time.Second {
					t.Errorf("closed after %v, want 1 s", took)
				}
			})
		})
	}
	t.Run("connected in time", func(t *testing.T) {
		t.Parallel()
		c := openAt(t, addr, fresh(v5))
		pass(1500 * time.Millisecond)
		c.quiet()
	})
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	addr, stop, err := selected().start(settings{stoppable: true})
	if errors.Is(err, errUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	modern, old := openAt(t, addr, fresh(v5)), openAt(t, addr, fresh(v311))
	// What has been taken over before is delivered before the end.
	topic := unique()
	modern.listen(1, topic)
	old.say(topic, "last words")
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	modern.hears("last words")
	modern.dropped(0x8B)
	old.gone()
	<-stopped
	if nc, err := net.Dial("tcp", addr); err == nil {
		nc.Close()
		t.Error("the broker still listens")
	}
}
