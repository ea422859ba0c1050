package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// tape is a stream of numbered messages to a subscriber that is away while they
// are published.
type tape struct {
	topic string
	qos   byte
	sent  []*entry
}

// entry is one message of a tape. Times are nanoseconds, 0 never.
type entry struct {
	life    int
	acked   int64
	drawn   int   // the life in which it came, the last time
	through int64 // when it was released there, at QoS 2
	gone    bool  // lost
}

// bounded is a run in which a power loss may take what was not synced. What is
// left must be what was there at some earlier moment: nothing is missing in the
// middle, and nothing is missing that was acknowledged before a sync of the log
// began.
type bounded struct {
	t      *testing.T
	m      *machine
	tapes  []*tape // the first is retained too
	life   int
	synced map[int]int64 // by life: when the last sync of its log began

	surely, lost, again int
}

// TestPowerLossBounded: with sync: interval and never a power loss takes no more
// than it is said to take, and what is left is sound.
func TestPowerLossBounded(t *testing.T) {
	for _, mode := range []struct {
		name string
		mode disk.SyncMode
	}{{"interval", disk.SyncInterval}, {"never", disk.SyncNever}} {
		t.Run(mode.name, func(t *testing.T) {
			seed, n := chooseSeed(), kills(12)
			b := &bounded{t: t, m: newMachine(t, mode.mode, seed), synced: map[int]int64{}}
			for i := range 4 {
				b.tapes = append(b.tapes, &tape{topic: fmt.Sprint("tape/", i), qos: byte(1 + i%2)})
			}
			defer func() {
				t.Logf("seed %d, %d lives: %d messages surely safe, %d lost, %d again", seed, b.life, b.surely, b.lost, b.again)
				if t.Failed() {
					t.Logf("data folder and log are in %s", b.m.remains())
				}
			}()
			b.run(n)
			sound(t, b.m)
			if n >= 10 && (b.lost == 0 || mode.mode == disk.SyncInterval && b.surely == 0) {
				t.Errorf("the run has seen too little to show anything")
			}
		})
	}
}

func (b *bounded) run(losses int) {
	b.orderly(false)
	for i := 0; i < losses && !b.t.Failed(); i++ {
		if b.m.rng.IntN(4) == 0 {
			b.must(b.m.launch())
			time.Sleep(time.Duration(b.m.rng.Int64N(int64(b.m.startup()))))
			b.m.kill()
			continue
		}
		b.begin()
		b.drain()
		p := b.connect("publisher", true)
		go func() {
			time.Sleep(minLife + time.Duration(b.m.rng.Int64N(int64(maxLife-minLife))))
			b.m.kill()
		}()
		b.publish(p)
		<-b.m.ended()
		b.synced[b.life] = b.m.life.power.logSynced.Load()
	}
	if !b.t.Failed() {
		b.orderly(true)
		b.orderly(true)
	}
}

// orderly is a life without a loss.
func (b *bounded) orderly(drain bool) {
	b.begin()
	if drain {
		b.drain()
	} else {
		c := b.connect("reader", false)
		sub := packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "tape/#", QoS: 2}}}
		p, err := sub.Append(nil, packet.V5)
		b.must(err)
		b.must(c.send(p))
		_, _, err = c.next(time.Now().Add(patience))
		b.must(err)
		c.disconnect()
	}
	b.synced[b.life] = time.Now().UnixNano()
	b.must(b.m.stop())
}

func (b *bounded) begin() {
	b.life++
	b.must(b.m.start())
}

func (b *bounded) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("life %d: %v", b.life, err)
	}
}

func (b *bounded) errorf(format string, args ...any) {
	b.t.Helper()
	b.t.Errorf("life %d: "+format, append([]any{b.life}, args...)...)
}

// connect connects a client, whose session was there before unless it is new.
func (b *bounded) connect(id string, clean bool) *conn {
	req := &packet.Connect{Version: packet.V5, CleanStart: clean, ClientID: id}
	if !clean {
		req.Props.SetSessionExpiry(sessionExpiry)
	}
	c, ack, err := connect(b.m.address(), req)
	b.must(err)
	if !clean && b.life > 1 && !ack.SessionPresent {
		b.errorf("the session is lost, and it was safe")
	}
	return c
}

// send puts the next message of a tape into p. Its Packet Identifier is free: few
// are under way.
func (b *bounded) send(p []byte, i int, size int) []byte {
	t := b.tapes[i]
	t.sent = append(t.sent, &entry{life: b.life})
	n := len(t.sent)
	p, _ = packet.AppendPublish(p, packet.V5, &packet.PublishOut{
		Topic: []byte(t.topic), QoS: t.qos, Retain: i == 0, PacketID: t.identifier(n, i),
		Payload: content(actor(i), n, size),
	})
	return p
}

// identifiers are those of one tape: more than it ever has under way.
const identifiers = 1000

func (t *tape) identifier(n, i int) uint16 { return uint16(1 + i*identifiers + n%identifiers) }

// acked takes an answer to a message and returns what is to be answered.
func (b *bounded) acked(h packet.Header, body []byte) (answer []byte, done bool) {
	var a packet.Ack
	b.must(packet.DecodeAck(&a, h.Type, packet.V5, body))
	i := int(a.PacketID-1) / identifiers
	t := b.tapes[i]
	for n := len(t.sent); h.Type != packet.TypePubcomp && n > 0; n-- {
		if t.identifier(n, i) != a.PacketID {
			continue
		}
		if a.Code.IsError() {
			b.errorf("%s #%d was refused: %v", t.topic, n, a.Code)
		}
		t.sent[n-1].acked = time.Now().UnixNano()
		break
	}
	if h.Type == packet.TypePubrec {
		return packet.AppendAck(nil, packet.TypePubrel, packet.V5, a.PacketID, packet.Success, nil), false
	}
	return nil, true
}

// publish publishes until the power fails.
func (b *bounded) publish(c *conn) {
	defer c.cut()
	rng := rand.New(rand.NewPCG(uint64(b.life), 0))
	var out []byte
	for open := 0; ; {
		for ; open < maxOutgoing; open++ {
			out = b.send(out, rng.IntN(len(b.tapes)), rng.IntN(2000))
		}
		if c.send(out) != nil {
			return
		}
		out = out[:0]
		h, body, err := c.next(time.Now().Add(patience))
		if err != nil {
			return
		}
		answer, done := b.acked(h, body)
		out = append(out, answer...)
		if done {
			open--
		}
	}
}

// probe publishes one message on each tape: behind it nothing old can come.
func (b *bounded) probe() {
	c := b.connect("prober", true)
	defer c.disconnect()
	var out []byte
	for i := range b.tapes {
		out = b.send(out, i, 0)
	}
	for open := len(b.tapes); ; {
		b.must(c.send(out))
		if open == 0 {
			return
		}
		h, body, err := c.next(time.Now().Add(patience))
		b.must(err)
		answer, done := b.acked(h, body)
		out = answer
		if done {
			open--
		}
	}
}

// drain reads all that is there, and holds it against what should be.
func (b *bounded) drain() {
	b.checkRetained()
	b.probe()
	c := b.connect("reader", false)
	defer c.disconnect()
	came, open := make([][]int, len(b.tapes)), map[uint16]*entry{}
	for !b.drained(came) || len(open) > 0 {
		h, body, err := c.next(time.Now().Add(patience))
		b.must(err)
		var out []byte
		switch h.Type {
		case packet.TypePublish:
			var p packet.Publish
			b.must(packet.DecodePublish(&p, packet.V5, h, body, true))
			e := b.take(&p, came)
			if p.QoS == 2 {
				open[p.PacketID] = e
				out = packet.AppendAck(nil, packet.TypePubrec, packet.V5, p.PacketID, packet.Success, nil)
			} else {
				out = packet.AppendAck(nil, packet.TypePuback, packet.V5, p.PacketID, packet.Success, nil)
			}
		case packet.TypePubrel:
			var a packet.Ack
			b.must(packet.DecodeAck(&a, h.Type, packet.V5, body))
			// One of no message is of a handshake whose end was lost.
			if e := open[a.PacketID]; e != nil {
				e.through = time.Now().UnixNano()
				delete(open, a.PacketID)
			}
			out = packet.AppendAck(nil, packet.TypePubcomp, packet.V5, a.PacketID, packet.Success, nil)
		default:
			b.t.Fatalf("life %d: %v came", b.life, h.Type)
		}
		b.must(c.send(out))
	}
	for i := range came {
		b.check(b.tapes[i], came[i])
	}
}

// drained reports whether the last message of each tape has come.
func (b *bounded) drained(came [][]int) bool {
	for i, t := range b.tapes {
		if n := len(came[i]); n == 0 || came[i][n-1] < len(t.sent) {
			return false
		}
	}
	return true
}

// find returns which message p is.
func (b *bounded) find(p *packet.Publish) (i, n int) {
	_, err := fmt.Sscanf(string(p.Payload), "%d #%d|", &i, &n)
	if err != nil || i < 0 || i >= len(b.tapes) || n < 1 || n > len(b.tapes[i].sent) || string(p.Topic) != b.tapes[i].topic {
		b.t.Fatalf("life %d: a message came on %s that nobody published: %.40q", b.life, p.Topic, p.Payload)
	}
	if size := len(p.Payload) - len(content(actor(i), n, 0)); !bytes.Equal(p.Payload, content(actor(i), n, size)) {
		b.errorf("%s #%d came with another content", p.Topic, n)
	}
	return i, n
}

func (b *bounded) take(p *packet.Publish, came [][]int) *entry {
	i, n := b.find(p)
	t := b.tapes[i]
	if k := len(came[i]); k > 0 && n <= came[i][k-1] {
		b.errorf("%s #%d came after #%d", t.topic, n, came[i][k-1])
	}
	came[i] = append(came[i], n)
	e := t.sent[n-1]
	if e.drawn != 0 {
		b.again++
		if p.QoS == 2 && e.through != 0 && e.through < b.synced[e.drawn] {
			b.errorf("%s #%d came again at QoS 2, and the log was synced since it was released", t.topic, n)
		}
	}
	e.drawn, e.through = b.life, 0
	return e
}

// check looks for what is missing on a tape, of what has not been there before.
func (b *bounded) check(t *tape, came []int) {
	here := map[int]bool{}
	last := map[int]int{} // by life: the last message of it that is there
	for _, n := range came {
		here[n] = true
		last[t.sent[n-1].life] = n
	}
	for i, e := range t.sent {
		n := i + 1
		safe := e.acked != 0 && e.acked < b.synced[e.life]
		switch {
		case e.gone:
		case here[n] || e.drawn != 0:
			if safe && e.drawn == b.life {
				b.surely++
			}
		case n < last[e.life]:
			b.errorf("%s #%d is missing, and #%d of the same life is there", t.topic, n, last[e.life])
		case safe:
			b.errorf("%s #%d is missing, and the log was synced since it was acknowledged", t.topic, n)
		default:
			e.gone = true
			b.lost++
		}
	}
}

// checkRetained looks at the retained message of the first tape: one that is
// at least as new as the newest that is surely safe.
func (b *bounded) checkRetained() {
	t, least := b.tapes[0], 0
	for i, e := range t.sent {
		if e.acked != 0 && e.acked < b.synced[e.life] {
			least = i + 1
		}
	}
	if least == 0 {
		return
	}
	c := b.connect("looker", true)
	defer c.disconnect()
	sub := packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: t.topic}}}
	out, err := sub.Append(nil, packet.V5)
	b.must(err)
	b.must(c.send(out))
	for {
		h, body, err := c.next(time.Now().Add(patience))
		if err != nil {
			b.errorf("the retained message does not come, #%d at least: %v", least, err)
			return
		}
		if h.Type != packet.TypePublish {
			continue
		}
		var p packet.Publish
		b.must(packet.DecodePublish(&p, packet.V5, h, body, true))
		if _, n := b.find(&p); n < least {
			b.errorf("#%d is retained, and the log was synced since #%d was acknowledged", n, least)
		}
		return
	}
}
