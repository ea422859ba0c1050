package crash

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// stub is a subscriber without a connection, in a world.
type stub struct {
	*world
	*subscriber
	t *testing.T
}

func newStub(t *testing.T) *stub {
	w := newWorld()
	s := &subscriber{
		client:   client{l: w.l, who: w.sub, version: packet.V5, receiveMaximum: 3, rng: rand.New(rand.NewPCG(1, 1))},
		account:  w.account,
		received: map[uint16]*incoming{}, released: map[uint16]int{},
	}
	st := &stub{w, s, t}
	st.reconnect()
	return st
}

// reconnect begins a new connection.
func (s *stub) reconnect() {
	s.visits++
	s.answers, s.open = nil, map[uint16]bool{}
	s.choose(false)
}

// feed hands over a packet as it came from the broker.
func (s *stub) feed(b []byte) {
	s.t.Helper()
	h, n, err := packet.ReadHeader(b)
	if err == nil {
		err = s.subscriber.handle(h, b[n:])
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stub) receive(m *message, id uint16, dup, retain bool) {
	s.t.Helper()
	b, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
		Topic: []byte(m.stream.topic), Payload: m.payload, SubscriptionIDs: []uint32{7}, PacketID: id, QoS: m.stream.qos, Dup: dup, Retain: retain,
	})
	s.feed(b)
}

func (s *stub) pubrel(id uint16) {
	s.t.Helper()
	s.feed(packet.AppendAck(nil, packet.TypePubrel, packet.V5, id, packet.Success, nil))
}

// reply sends the answers, and returns what they are.
func (s *stub) reply() string {
	s.out = s.out[:0]
	s.answer(time.Now())
	return dump(s.out)
}

// dump describes packets by type, identifier and DUP.
func dump(b []byte) (text string) {
	for len(b) > 0 {
		h, n, err := packet.ReadHeader(b)
		if err != nil {
			return text + err.Error()
		}
		body := b[n : n+h.Remaining]
		b = b[n+h.Remaining:]
		var a packet.Ack
		var p packet.Publish
		switch {
		case h.Type != packet.TypePublish:
			err = packet.DecodeAck(&a, h.Type, packet.V5, body)
			text += fmt.Sprintf("%v %d; ", h.Type, a.PacketID)
		default:
			err = packet.DecodePublish(&p, packet.V5, h, body, false)
			text += fmt.Sprintf("%v %d dup %t; ", h.Type, p.PacketID, p.Dup)
		}
		if err != nil {
			return text + err.Error()
		}
	}
	return text
}

// TestCrashSubscriber: what can be seen at one subscriber's connections.
func TestCrashSubscriber(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*stub)
		want string
	}{
		{"by the book", func(s *stub) {
			m := s.publish(s.two)
			s.receive(m, 5, false, false)
			s.reply()
			s.pubrel(5)
			s.reply()
			s.receive(s.publish(s.two), 5, false, false)
		}, ""},
		{"resent at every step", func(s *stub) {
			m := s.publish(s.two)
			s.receive(m, 5, false, false)
			s.reconnect()
			s.receive(m, 5, true, false)
			s.reply()
			s.reconnect()
			s.receive(m, 5, true, false)
			s.reply()
			s.reconnect()
			s.pubrel(5)
			s.reconnect()
			s.pubrel(5)
			s.reply()
		}, ""},
		{"resent without DUP", func(s *stub) {
			m := s.publish(s.two)
			s.receive(m, 5, false, false)
			s.reconnect()
			s.receive(m, 5, false, false)
		}, "sent again without DUP"},
		{"resent under another identifier", func(s *stub) {
			// The ledger would see a second arrival too; here it does not know it.
			m := s.publish(s.two)
			s.received[5] = &incoming{m: m, visit: 1}
			s.receive(m, 6, true, false)
		}, "was received under 5 before"},
		{"another message under its identifier", func(s *stub) {
			s.receive(s.publish(s.two), 5, false, false)
			s.reconnect()
			s.receive(s.publish(s.two), 5, true, false)
		}, "under which #1 of pub was received and not released"},
		{"a QoS 1 message under its identifier", func(s *stub) {
			s.receive(s.publish(s.two), 5, false, false)
			s.reconnect()
			s.receive(s.publish(s.one), 5, true, false)
		}, "under which #1 of pub was received and not released"},
		{"again on a live connection", func(s *stub) {
			m := s.publish(s.two)
			s.receive(m, 5, false, false)
			s.receive(m, 5, true, false)
		}, "in use on this connection"},
		{"an identifier before PUBACK", func(s *stub) {
			s.receive(s.publish(s.one), 5, false, false)
			s.receive(s.publish(s.one), 5, false, false)
		}, "in use on this connection"},
		{"an identifier after PUBACK", func(s *stub) {
			s.receive(s.publish(s.one), 5, false, false)
			s.reply()
			s.receive(s.publish(s.one), 5, false, false)
		}, ""},
		{"released and sent again", func(s *stub) {
			m := s.publish(s.two)
			s.receive(m, 5, false, false)
			s.reply()
			s.pubrel(5)
			s.reconnect()
			s.receive(m, 5, true, false)
		}, "a second time at QoS 2"},
		{"PUBREL before PUBREC", func(s *stub) {
			s.receive(s.publish(s.two), 5, false, false)
			s.pubrel(5)
		}, "PUBREL came before PUBREC was sent"},
		{"PUBREL out of nowhere", func(s *stub) { s.pubrel(5) }, "which is of no message"},
		{"PUBREL twice", func(s *stub) {
			s.receive(s.publish(s.two), 5, false, false)
			s.reply()
			s.pubrel(5)
			s.pubrel(5)
		}, "twice on one connection"},
		{"Receive Maximum", func(s *stub) {
			for id := range uint16(4) {
				s.receive(s.publish(s.one), id+1, false, false)
			}
		}, "beyond the Receive Maximum of 3"},
		{"Receive Maximum counts to PUBCOMP", func(s *stub) {
			for id := range uint16(4) {
				s.receive(s.publish(s.two), id+1, false, false)
				s.reply()
			}
		}, "beyond the Receive Maximum of 3"},
		{"within the Receive Maximum", func(s *stub) {
			for id := range uint16(9) {
				s.receive(s.publish(s.two), id+1, false, false)
				s.reply()
				s.pubrel(id + 1)
				s.reply()
			}
		}, ""},
		{"a retained message for a new subscription", func(s *stub) {
			m := s.l.publish(s.two, true, false, 10, nil, 0)
			s.receive(m, 5, false, false)
			s.receive(m, 6, false, true)
		}, ""},
		{"RETAIN on what was not retained", func(s *stub) {
			s.receive(s.publish(s.two), 5, false, true)
		}, "was not published as one"},
		{"at QoS 0", func(s *stub) {
			m := s.publish(&stream{publisher: s.pub, topic: "t/0"})
			s.receive(m, 0, false, false)
		}, "at QoS 0"},
		{"never released", func(s *stub) {
			s.receive(s.publish(s.two), 5, false, false)
			s.stuck()
		}, "identifier 5 is never released"},
		{"not connected", func(s *stub) { s.stuck() }, "is not connected"},
		{"SUBACK does not come", func(s *stub) {
			s.wish(s.subscriber.account, "t/#", "", false)
			s.ask()
			s.stuck()
		}, "no answer to SUBSCRIBE"},
		{"the session is there", func(s *stub) { s.checkPresent(false, true); s.checkPresent(true, false) }, ""},
		{"the session is lost", func(s *stub) { s.checkPresent(false, true); s.checkPresent(false, false) }, "the session is lost"},
		{"no CONNACK was seen", func(s *stub) { s.checkPresent(false, false) }, ""},
		{"there cannot be a session", func(s *stub) { s.checkPresent(true, true) }, "there cannot be a session"},
		{"a clean start finds a session", func(s *stub) { s.clean = true; s.checkPresent(true, false) }, "there cannot be a session"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStub(t)
			test.do(s)
			s.l.expect(t, test.want)
		})
	}
}

// TestCrashSubscriberAnswers: by the book, in order, and not at all when deaf.
func TestCrashSubscriberAnswers(t *testing.T) {
	s := newStub(t)
	s.receive(s.publish(s.two), 1, false, false)
	s.receive(s.publish(s.one), 2, false, false)
	if got, want := s.reply(), "PUBREC 1; PUBACK 2; "; got != want {
		t.Errorf("answers %q, want %q", got, want)
	}
	s.mood.deafIn = 1
	s.receive(s.publish(s.one), 3, false, false)
	if got := s.reply(); got != "" {
		t.Errorf("deaf, and answers %q", got)
	}
	s.mood.deafIn = -1
	s.pubrel(1)
	if got, want := s.reply(), "PUBACK 3; PUBCOMP 1; "; got != want {
		t.Errorf("answers %q, want %q", got, want)
	}
	s.l.expect(t, "")
}

// TestCrashPublisherResumes: what goes out at a new connection.
func TestCrashPublisherResumes(t *testing.T) {
	for _, test := range []struct {
		name           string
		clean, givesUp bool
		want           string
	}{
		{"session", false, false, "PUBLISH 1 dup true; PUBLISH 2 dup true; PUBREL 3; PUBLISH 4 dup true; "},
		{"clean", true, false, "PUBLISH 2 dup false; PUBLISH 1 dup false; "},
		{"gives up", true, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			p := &publisher{client: client{l: w.l, who: w.pub, version: packet.V5, clean: test.clean, rng: rand.New(rand.NewPCG(1, 1))}, givesUp: test.givesUp}
			for _, s := range []*stream{w.one, w.two, w.two, w.one} {
				o := &outgoing{m: w.publish(s)}
				p.outgoing = append(p.outgoing, o)
				p.send(o, false)
			}
			if err := p.acknowledge(packet.TypePubrec, 3); err != nil {
				t.Fatal(err)
			}
			for _, wrong := range []packet.Type{packet.TypePuback, packet.TypePubrec} {
				if p.acknowledge(wrong, 3) == nil || p.acknowledge(wrong, 9) == nil {
					t.Errorf("%v is taken where it is not awaited", wrong)
				}
			}
			p.visits++
			p.out = nil
			p.resume()
			if got := dump(p.out); got != test.want {
				t.Errorf("sends %q, want %q", got, test.want)
			}
		})
	}
}

// acknowledge feeds an acknowledgement.
func (p *publisher) acknowledge(typ packet.Type, id uint16) error {
	b := packet.AppendAck(nil, typ, packet.V5, id, packet.Success, nil)
	return p.handle(packet.Header{Type: typ, Remaining: 2}, b[2:])
}

// script is a connection that the broker's bytes are read from.
type script struct {
	net.Conn
	in io.Reader
}

func (s *script) Read(b []byte) (int, error)      { return s.in.Read(b) }
func (s *script) SetReadDeadline(time.Time) error { return nil }

// FuzzCrashClients: whatever a broker sends, clients take it or end the
// connection with an error.
func FuzzCrashClients(f *testing.F) {
	w := newWorld()
	m := w.publish(w.two)
	b, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: []byte("t/2"), Payload: m.payload, PacketID: 1, QoS: 2})
	for _, typ := range []packet.Type{packet.TypePuback, packet.TypePubrec, packet.TypePubrel, packet.TypePubcomp} {
		b = packet.AppendAck(b, typ, packet.V5, 1, packet.Success, nil)
	}
	f.Add(b)
	f.Add([]byte{0xE0, 2, 0x8E, 0, 0x90, 4, 0, 1, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newStub(t)
		s.wish(s.subscriber.account, "t/#", "", false)
		s.ask()
		p := &publisher{client: client{l: s.l, who: s.pub, version: packet.V5}}
		o := &outgoing{m: s.publish(s.two)}
		p.outgoing = append(p.outgoing, o)
		p.send(o, false)
		for _, handle := range []handler{s.subscriber.handle, p.handle} {
			c := newConn(&script{in: bytes.NewReader(b)}, packet.V5)
			for {
				h, body, err := c.next(time.Time{})
				if err != nil || handle(h, body) != nil {
					break
				}
				s.reply()
			}
		}
	})
}
