package bench

import (
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// share says which messages a subscriber is due: those of some publishers on some of
// their topics, both given by consecutive indices.
type share struct {
	firstPublisher, publishers int
	firstStream, streams       int
}

func (s share) size() int { return s.publishers * s.streams }

// tally counts deliveries. Its owner adds to it, the sampler reads it.
type tally struct {
	delivered  atomic.Uint64 // distinct messages
	duplicated atomic.Uint64 // deliveries of a message that had been delivered
	late       atomic.Uint64 // delivered, but after a later one of its publisher and topic
	foreign    atomic.Uint64 // not of this run, or not subscribed to
}

// subscriber is the receiving side of a connection, and of the one that follows it in
// the same session. Its read loop owns everything but the tally.
type subscriber struct {
	t     *traffic
	c     *conn
	ended chan struct{} // closed when the read loop of c has ended
	share
	tally

	ledgers  []ledger      // by publisher and topic
	released *[1024]uint64 // QoS 2: bit per Packet Identifier between PUBREC and PUBREL

	// Of what one read brought:
	pub       packet.Publish
	ack       packet.Ack
	out       []byte // acknowledgements
	latencies []int64
	credits   []int64 // by publisher of the share: messages no longer under way
	credited  []int   // the publishers that have some
	counts    [4]uint64
}

func newSubscriber(t *traffic, s share) *subscriber {
	return &subscriber{t: t, share: s, ledgers: make([]ledger, s.size()), credits: make([]int64, s.publishers)}
}

func (s *subscriber) handle(h packet.Header, body []byte, now int64) error {
	switch h.Type {
	case packet.TypePublish:
		if err := packet.DecodePublish(&s.pub, s.c.version, h, body, true); err != nil {
			return err
		}
		if s.acknowledge() {
			s.deliver(now)
		}
		return nil
	case packet.TypePubrel:
		if err := packet.DecodeAck(&s.ack, h.Type, s.c.version, body); err != nil {
			return err
		}
		id := s.ack.PacketID
		if s.released != nil {
			s.released[id>>6] &^= 1 << (id & 63)
		}
		s.out = packet.AppendAck(s.out, packet.TypePubcomp, s.c.version, id, packet.Success, nil)
		return nil
	case packet.TypePingresp:
		return nil
	}
	return s.c.unexpected(h, body)
}

// acknowledge answers the PUBLISH and reports whether it is a new message: at QoS 2
// a second one with the same Packet Identifier is not, until PUBREL has come
// [MQTT-4.3.3-10].
func (s *subscriber) acknowledge() bool {
	id := s.pub.PacketID
	switch s.pub.QoS {
	case 1:
		s.out = packet.AppendAck(s.out, packet.TypePuback, s.c.version, id, packet.Success, nil)
	case 2:
		s.out = packet.AppendAck(s.out, packet.TypePubrec, s.c.version, id, packet.Success, nil)
		if s.released == nil {
			s.released = new([1024]uint64)
		}
		if s.released[id>>6]&(1<<(id&63)) != 0 {
			return false
		}
		s.released[id>>6] |= 1 << (id & 63)
	}
	return true
}

// deliver enters the message into the account.
func (s *subscriber) deliver(now int64) {
	st, ok := readStamp(s.pub.Payload)
	p, n := int(st.Publisher)-s.firstPublisher, int(st.Stream)-s.firstStream
	if !ok || st.Nonce != s.t.r.nonce || p < 0 || p >= s.publishers || n < 0 || n >= s.streams {
		s.counts[3]++
		return
	}
	v, missed := s.ledgers[p*s.streams+n].deliver(st.Seq)
	s.counts[v]++
	if v == verdictDuplicate {
		return
	}
	s.latencies = append(s.latencies, now-max(st.Time, s.t.latencyFrom.Load()))
	if v == verdictInOrder {
		if s.credits[p] == 0 {
			s.credited = append(s.credited, p)
		}
		s.credits[p] += 1 + int64(missed)
	}
}

func (s *subscriber) flush(int64) error {
	for v, n := range s.counts {
		if n == 0 {
			continue
		}
		switch verdict(v) {
		case verdictInOrder:
			s.delivered.Add(n)
		case verdictLate:
			s.delivered.Add(n)
			s.late.Add(n)
		case verdictDuplicate:
			s.duplicated.Add(n)
		default:
			s.foreign.Add(n)
		}
	}
	s.counts = [4]uint64{}
	s.t.r.meter.record(s.c.num, s.latencies)
	s.latencies = s.latencies[:0]
	for _, p := range s.credited {
		s.t.publishers[s.firstPublisher+p].credit(s.credits[p])
		s.credits[p] = 0
	}
	s.credited = s.credited[:0]
	if len(s.out) == 0 {
		return nil
	}
	err := s.c.post(s.out)
	s.out = s.out[:0]
	return err
}
