package broker

import (
	"fmt"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// What brokers of the tests run on; the system's own driver, too.
var drivers = map[string]func() transport.Driver{
	"default":  func() transport.Driver { return nil },
	"blocking": transport.Blocking,
}

// Messages to many, which are gathered, messages to one, and at QoS 1, keep their order among one another; and who has an answer to
// a PINGREQ has everything that was sent to him before.
func TestGatheredInOrder(t *testing.T) {
	for name, driver := range drivers {
		t.Run(name, func(t *testing.T) {
			_, addr := start(t, func(o *Options) { o.Driver = driver() })
			versions := []func(*packet.Connect){v311, func(*packet.Connect) {}}
			var subs []*peer
			for i := range 2 * gatherFrom {
				p := connect(t, addr, fmt.Sprint("s", i), versions[i%2])
				p.subscribe("all/#", byte(i/2%2))
				subs = append(subs, p)
			}
			subs[0].subscribe("one", 0)
			pub := connect(t, addr, "pub", v311)
			pub.subscribe("all/#", 0)

			const n = 600
			var burst []byte
			var toAll, toFirst []string
			for i := range n {
				out := packet.PublishOut{Topic: []byte(fmt.Sprint("all/", i%7)), Payload: []byte(fmt.Sprint(i))}
				switch i % 50 {
				case 10:
					out.Topic = []byte("one")
				case 20, 21, 23, 26:
					out.QoS, out.PacketID = 1, uint16(i)
				case 30:
					out.Payload = append(out.Payload, make([]byte, 6<<10)...) // is referred to
				case 40:
					burst = append(burst, packet.Pingreq...)
				}
				want := string(out.Topic) + " " + string(out.Payload)
				toFirst = append(toFirst, want)
				if i%50 != 10 {
					toAll = append(toAll, want)
				}
				burst, _ = packet.AppendPublish(burst, packet.V311, &out)
			}
			burst = append(burst, packet.Pingreq...)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				pub.write(burst)
			}()
			seen := func(p *peer, h packet.Header, body []byte) string {
				var m packet.Publish
				if err := packet.DecodePublish(&m, p.v, h, body, true); err != nil {
					t.Fatal(err)
				}
				if m.QoS == 1 {
					p.sendAck(packet.TypePuback, m.PacketID, packet.Success)
				}
				return string(m.Topic) + " " + string(m.Payload)
			}
			got := 0
			for pings := 0; pings < n/50+1; {
				switch h, body := pub.read(); h.Type {
				case packet.TypePublish:
					if s := seen(pub, h, body); s != toAll[got] {
						t.Fatalf("the publisher got %.20q, want %.20q", s, toAll[got])
					}
					got++
				case packet.TypePingresp:
					pings++
					// The PINGREQ came before message 40, 90, …, of which one in 50 is not for it.
					before := (pings-1)*50 + 40
					if pings > n/50 {
						before = n
					}
					if want := before - (before+39)/50; got < want {
						t.Fatalf("PINGRESP %d after %d messages, want %d before it", pings, got, want)
					}
				}
			}
			<-sent
			for i, p := range subs {
				list := toAll
				if i == 0 {
					list = toFirst
				}
				for _, want := range list {
					h, body := p.read()
					if s := seen(p, h, body); s != want {
						t.Fatalf("subscriber %d got %.20q, want %.20q", i, s, want)
					}
				}
			}
		})
	}
}

// The client's next connection, which may be on another executor, goes on when this one is through: by then nothing that it has
// published waits any more to be put into an out-buffer. What plugins publish does not wait at all, since they are told at once.
func TestNothingIsGatheredForOneThatIsThrough(t *testing.T) {
	b, addr := start(t)
	for i := range gatherFrom {
		connect(t, addr, fmt.Sprint("s", i)).subscribe("all", 0)
	}
	c := &conn{b: b} // as far as publishing needs one
	s := b.root.lookup("s0")
	m := packet.Message{Topic: []byte("all"), Payload: []byte("x"), Expires: packet.NoExpiry}
	b.engine.Do(func(p *transport.Pass) {
		sc := p.Scratch.(*scratch)
		b.route(p, sc, b.root, &m, source{})
		if sc.frames.Gathering(s) != nil {
			t.Error("what a plugin has published is gathered")
		}
		b.route(p, sc, b.root, &m, source{conn: c})
		if sc.frames.Gathering(s) == nil {
			t.Fatal("what a client has published is not gathered")
		}
		told := false
		c.gone.tell(func() {
			told = true
			if sc.frames.Gathering(s) != nil {
				t.Error("what the connection has published is gathered still")
			}
		})
		if c.through(p); !told {
			t.Error("nobody was told")
		}
	})
}
