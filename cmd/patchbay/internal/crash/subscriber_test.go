package crash

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// mood is how a subscriber behaves on one connection in the wild.
type mood struct {
	delay  time.Duration // longest time until a packet is answered
	deafIn int           // messages after which nothing is answered any more; -1 never
	goneIn time.Time     // when the connection ends; zero never
	proper bool          // with DISCONNECT
	off    time.Duration // how long the subscriber then stays away
}

// subscriber receives messages in a persistent session and keeps, by the book,
// the identifiers of QoS 2 messages until they are released.
type subscriber struct {
	client
	account *account
	group   *account // of its shared subscription, or nil
	wishes  []*wish
	slow    bool // answers late
	cuts    bool // stops answering, and cuts its connection
	leaves  bool // disconnects and comes back in the wild
	renews  bool // and begins a new session then, now and then
	absent  int  // misses one life of the broker in so many; 0 none

	mood     mood
	received map[uint16]*incoming // QoS 2, not released yet
	released map[uint16]int       // the visit in which an identifier was released
	open     map[uint16]bool      // identifiers of this connection without our last answer
	answers  []answer             // to be sent, in order
	nextID   uint16
	// settled: connected, nothing is unanswered and nothing unreleased.
	settled atomic.Bool
}

// incoming is a QoS 2 message that was received and not released.
type incoming struct {
	m        *message
	retain   bool // a retained message for a new subscription
	visit    int  // in which it was last received
	answered bool // PUBREC has been sent
}

// answer is a packet to be sent when it is due.
type answer struct {
	due  time.Time
	typ  packet.Type
	id   uint16
	code packet.ReasonCode
	m    *message
}

func (s *subscriber) attend(st *stage) {
	s.settled.Store(false)
	s.client.attend(st, s.serve)
}

// serve is one connection from CONNACK to its end.
func (s *subscriber) serve(st *stage) error {
	s.choose(false)
	s.answers, s.open = nil, map[uint16]bool{}
	if s.renewing {
		s.renewed()
	}
	s.ask()
	var changeAt time.Time
	for wild := false; ; {
		if now := st.wild.Load(); now != wild {
			wild = now
			s.choose(wild)
		}
		if now := time.Now(); wild && now.After(changeAt) {
			s.change()
			changeAt = now.Add(s.upTo(50 * time.Millisecond))
		}
		s.answer(time.Now())
		if err := s.flush(s.handle); err != nil {
			return err
		}
		s.settled.Store(len(s.answers) == 0 && len(s.received) == 0 && !s.asking())
		if closed(st.leave) {
			return s.depart()
		}
		if !s.mood.goneIn.IsZero() && time.Now().After(s.mood.goneIn) {
			s.settled.Store(false)
			s.leave(st)
			return errOwn
		}
		if err := s.listen(st, idle); err != nil {
			return err
		}
	}
}

// listen handles one packet, or waits for it in vain.
func (s *subscriber) listen(st *stage, wait time.Duration) error {
	until := time.Now().Add(wait)
	if len(s.answers) > 0 && s.answers[0].due.Before(until) && s.mood.deafIn != 0 {
		until = s.answers[0].due
	}
	// A deadline that has passed already would let nothing in.
	until = latest(until, time.Now().Add(100*time.Microsecond))
	h, body, err := s.read(st, until)
	if errors.Is(err, errIdle) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.handle(h, body)
}

// depart disconnects in order, after everything that the broker sent before has
// been looked at.
func (s *subscriber) depart() error {
	if err := s.c.send(packet.Pingreq); err != nil {
		return err
	}
	for {
		h, body, err := s.c.next(time.Now().Add(patience))
		if err != nil {
			return err
		}
		if h.Type == packet.TypePingresp {
			s.c.disconnect()
			return nil
		}
		if err := s.handle(h, body); err != nil {
			return err
		}
	}
}

// choose picks a mood for the wild from those that are in the subscriber's nature.
func (s *subscriber) choose(wild bool) {
	s.mood = mood{deafIn: -1}
	if !wild {
		return
	}
	if s.slow {
		s.mood.delay = s.upTo(20 * time.Millisecond)
	}
	switch {
	case s.cuts && s.oneIn(2):
		s.mood.deafIn = s.rng.IntN(40)
		s.mood.goneIn = time.Now().Add(s.upTo(100 * time.Millisecond))
		s.mood.off = s.upTo(10 * time.Millisecond)
	case s.leaves && s.oneIn(2):
		s.mood.goneIn = time.Now().Add(s.upTo(150 * time.Millisecond))
		s.mood.proper = s.oneIn(2)
		s.mood.off = s.upTo(150 * time.Millisecond)
	}
}

func (s *subscriber) leave(st *stage) {
	if s.mood.proper {
		s.l.remark(s.who, "disconnects")
		s.c.disconnect()
	} else {
		s.l.remark(s.who, fmt.Sprintf("cuts the connection with %d packets unanswered", len(s.answers)))
		s.c.cut()
	}
	if s.renews && s.oneIn(3) {
		// From now on until CONNACK nobody knows whether the session is there.
		s.renewing = true
		s.l.renewing(s.account)
	}
	st.pause(s.mood.off)
}

// renewed is what follows the CONNACK of a new session.
func (s *subscriber) renewed() {
	s.renewing = false
	s.l.renewed(s.who, s.account)
	clear(s.received)
	clear(s.released)
	for _, w := range s.wishes {
		w.sub, w.asks = nil, 0
	}
}

// handle takes one packet from the broker.
func (s *subscriber) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.TypePublish:
		var p packet.Publish
		if err := packet.DecodePublish(&p, s.version, h, body, true); err != nil {
			return err
		}
		s.takePublish(&p)
		return nil
	case packet.TypePubrel:
		var a packet.Ack
		if err := packet.DecodeAck(&a, h.Type, s.version, body); err != nil {
			return err
		}
		s.takePubrel(a.PacketID)
		return nil
	case packet.TypeSuback, packet.TypeUnsuback:
		return s.answered(h.Type, body)
	}
	return fmt.Errorf("the broker sent %v to a subscriber", h.Type)
}

// takePublish takes a PUBLISH.
func (s *subscriber) takePublish(p *packet.Publish) {
	m := s.l.identify(s.who, s.version, p)
	if m == nil {
		return
	}
	s.settled.Store(false)
	s.l.note(s.who, m, false, packet.TypePublish, p.PacketID, p.Dup)
	if p.QoS == 0 {
		s.l.faultOf(s.who, m, "it arrived at QoS 0")
		return
	}
	if s.open[p.PacketID] {
		s.l.faultOf(s.who, m, fmt.Sprintf("PUBLISH came with identifier %d, which is in use on this connection", p.PacketID))
	}
	s.open[p.PacketID] = true
	if limit := int(s.receiveMaximum); limit > 0 && len(s.open) > limit {
		s.l.faultOf(s.who, m, fmt.Sprintf("PUBLISH came beyond the Receive Maximum of %d", limit))
	}
	if s.mood.deafIn > 0 {
		s.mood.deafIn--
	}
	held := s.received[p.PacketID]
	switch {
	case held != nil:
		s.again(held, p, m)
	case p.QoS == 2:
		s.checkHeld(p, m)
		s.received[p.PacketID] = &incoming{m: m, retain: p.Retain, visit: s.visits}
		delete(s.released, p.PacketID)
		s.deliver(p, m)
	default:
		s.deliver(p, m)
	}
	if p.QoS == 1 {
		s.later(packet.TypePuback, p.PacketID, packet.Success, m)
	} else {
		s.later(packet.TypePubrec, p.PacketID, packet.Success, m)
	}
}

// deliver hands a message on to the application, which is the ledger. A retained
// message for a new subscription is none of the messages that are owed.
func (s *subscriber) deliver(p *packet.Publish, m *message) {
	switch a := s.accountOf(m); {
	case p.Retain && !m.retain:
		s.l.faultOf(s.who, m, "it arrived as a retained message and was not published as one")
	case !p.Retain:
		s.l.arrived(s.who, a, s.version, p, m)
	}
}

// again takes a PUBLISH whose identifier is that of a message that was received
// and not released [MQTT-4.3.3-10]. It must be that message, and say so.
func (s *subscriber) again(held *incoming, p *packet.Publish, m *message) {
	switch {
	case held.m != m || held.retain != p.Retain || p.QoS != 2:
		s.l.faultOf(s.who, m, fmt.Sprintf("it came with identifier %d, under which #%d of %s was received and not released",
			p.PacketID, held.m.number, s.l.name(held.m.publisher)))
	case !p.Dup:
		s.l.faultOf(s.who, m, "it was sent again without DUP [MQTT-3.3.1-1]")
	}
	held.visit, held.answered = s.visits, false
}

// checkHeld: m came under a new identifier; it must not have been received under
// another that is not released.
func (s *subscriber) checkHeld(p *packet.Publish, m *message) {
	for id, held := range s.received {
		if held.m == m && held.retain == p.Retain && !p.Retain && !m.twice {
			s.l.faultOf(s.who, m, fmt.Sprintf("it came with identifier %d, and was received under %d before, which is not released", p.PacketID, id))
		}
	}
}

// takePubrel takes a PUBREL: for a message that was received, or once more for one
// that was released on an earlier connection.
func (s *subscriber) takePubrel(id uint16) {
	held := s.received[id]
	visit, before := s.released[id]
	code := packet.Success
	switch {
	case held != nil:
		if !held.answered {
			s.l.faultOf(s.who, held.m, fmt.Sprintf("PUBREL came before PUBREC was sent, identifier %d", id))
		}
		s.l.note(s.who, held.m, false, packet.TypePubrel, id, held.visit != s.visits)
		s.released[id] = s.visits
		delete(s.received, id)
		s.later(packet.TypePubcomp, id, code, held.m)
		return
	case !before:
		s.l.fault(s.who, fmt.Sprintf("PUBREL came for identifier %d, which is of no message", id))
	case visit == s.visits:
		s.l.fault(s.who, fmt.Sprintf("PUBREL came twice on one connection, identifier %d", id))
	}
	s.released[id] = s.visits
	if s.version == packet.V5 {
		code = packet.PacketIdentifierNotFound
	}
	s.later(packet.TypePubcomp, id, code, nil)
}

// later puts an answer in line. Answers of one kind have to leave in order
// [MQTT-4.6.0-2..4], so all do.
func (s *subscriber) later(typ packet.Type, id uint16, code packet.ReasonCode, m *message) {
	due := time.Now()
	if s.mood.delay > 0 {
		due = due.Add(s.upTo(s.mood.delay))
	}
	if n := len(s.answers); n > 0 {
		due = latest(due, s.answers[n-1].due)
	}
	s.answers = append(s.answers, answer{due, typ, id, code, m})
}

// answer sends what is due, unless the subscriber has gone deaf.
func (s *subscriber) answer(now time.Time) {
	if s.mood.deafIn == 0 {
		return
	}
	for len(s.answers) > 0 && !s.answers[0].due.After(now) {
		a := s.answers[0]
		s.answers = s.answers[1:]
		s.l.note(s.who, a.m, true, a.typ, a.id, false)
		s.out = packet.AppendAck(s.out, a.typ, s.version, a.id, a.code, nil)
		if a.typ != packet.TypePubrec {
			delete(s.open, a.id)
		} else if held := s.received[a.id]; held != nil {
			held.answered = true
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stuck reports what keeps the subscriber from settling.
func (s *subscriber) stuck() {
	for id, held := range s.received {
		s.l.faultOf(s.who, held.m, fmt.Sprintf("identifier %d is never released", id))
	}
	for _, w := range s.wishes {
		if w.asks != 0 {
			s.l.fault(s.who, "no answer to SUBSCRIBE or UNSUBSCRIBE of "+w.wire)
		}
	}
	if !slices.ContainsFunc(s.wishes, func(w *wish) bool { return w.asks != 0 }) && len(s.received) == 0 {
		s.l.fault(s.who, "is not connected")
	}
}
