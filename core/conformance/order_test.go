package conformance

import (
	"fmt"
	"testing"
	"time"
)

// silence is how long a broker is watched that must do nothing by itself.
const silence = 2 * time.Second

// Messages of one publisher to one topic arrive in order, whatever else goes on.
func TestOrder(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-4.6.0-5", "MQTT-4.6.0-6"},
		v311: {"MQTT-4.6.0-5", "MQTT-4.6.0-6"},
	}, func(t *testing.T, v version) {
		topic := unique()
		const publishers, each = 3, 200
		watcher := open(t, fresh(v))
		watcher.listen(2, topic)
		// In rounds, so that no more is under way than any broker keeps.
		var speakers []*client
		for range publishers {
			speakers = append(speakers, open(t, fresh(v)))
		}
		next := map[string]int{} // by publisher and QoS
		for start := 0; start < each; start += 10 {
			for who, c := range speakers {
				for i := start; i < start+10; i++ {
					qos := byte(i % 3)
					c.send(publishPacket{topic: topic, payload: fmt.Sprintf("%d %d %d", who, qos, i), qos: qos, id: i + 1}.bytes(v))
					if qos == 2 {
						c.send(ack(PUBREL, i+1))
					}
				}
			}
			for range 10 * publishers {
				p := watcher.take(PUBLISH)
				var who, qos, i int
				fmt.Sscanf(p.payload, "%d %d %d", &who, &qos, &i)
				key := fmt.Sprint(who, qos)
				if i < next[key] {
					t.Fatalf("got %v after %d", p, next[key]-1)
				}
				next[key] = i + 1
				watcher.acknowledge(p)
			}
		}
		watcher.quiet()
	})
}

// The same for a session that goes and comes while messages arrive.
func TestOrderAcrossReconnects(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-4.5.0-1", "MQTT-4.6.0-5"},
		v311: {"MQTT-3.1.2-5", "MQTT-4.5.0-1", "MQTT-4.6.0-6"},
	}, func(t *testing.T, v version) {
		topic, id := unique(), unique()
		c, speaker := open(t, lasting(v, id)), open(t, fresh(v))
		c.listen(1, topic)
		next := 0
		for round := range 10 {
			for i := range 20 {
				speaker.say(topic, fmt.Sprint(round*20+i))
				if i == 10 {
					c = open(t, lasting(v, id)) // takes over from the connection before
				}
			}
			// Acknowledge some, and leave the others for the next round.
			for range 15 {
				p := c.take(PUBLISH)
				if p.payload != fmt.Sprint(next) {
					t.Fatalf("got %v, want message %d", p, next)
				}
				c.acknowledge(p)
				next++
			}
			c.cut()
			c = open(t, lasting(v, id))
		}
		for ; next < 200; next++ {
			if p := c.take(PUBLISH); p.payload != fmt.Sprint(next) {
				t.Fatalf("got %v, want message %d", p, next)
			} else {
				c.acknowledge(p)
			}
		}
		c.quiet()
	})
}
