package session

import (
	"math"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// Puback settles a QoS 1 message. The message comes back with its reference; nil
// if no QoS 1 message has that Packet Identifier.
func (s *Session) Puback(id uint16) *packet.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ring.find(id)
	if e == nil || e.state != awaitPuback {
		return nil
	}
	return s.take(e)
}

// Pubrec is the receiver's word that it has a QoS 2 message, or with an error
// code that it refuses it, which settles it. Otherwise PUBREL is appended to the
// Link [MQTT-4.3.3-4], once the Store has noted that: with 0x92 if no message has that identifier; again, if
// this PUBREC came before. The message comes back with its reference if this
// PUBREC was the first.
func (s *Session) Pubrec(id uint16, code packet.ReasonCode) *packet.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link.Load()
	e := s.ring.find(id)
	if e != nil && (e.state == awaitPuback || e.flags&flagFresh != 0) {
		e = nil // of QoS 1, or not sent yet
	}
	if code.IsError() {
		if e == nil || e.state != awaitPubrec {
			return nil
		}
		return s.take(e)
	}
	if e == nil || e.state != awaitPubrec {
		if l != nil && (e == nil || e.flags&flagHeld == 0) {
			answer := packet.Success
			if e == nil {
				answer = packet.PacketIdentifierNotFound
			}
			s.sendPubrel(l, id, answer)
		}
		return nil
	}
	if !s.pubrecReceived(e) && l != nil {
		s.sendPubrel(l, id, packet.Success)
	}
	m := e.msg
	// A PUBREC that comes before its message was resent on this Link is an
	// answer to the last one's.
	e.state, e.msg, e.route = awaitPubcomp, nil, nil
	e.sentAt, e.attempts = coarse(s.env.Now()), 0
	return m
}

// Pubcomp ends a QoS 2 delivery; false if there is none with that identifier.
func (s *Session) Pubcomp(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.ring.find(id)
	if e == nil || e.state != awaitPubcomp {
		return false
	}
	s.take(e)
	return true
}

// take settles e and hands its message to the caller.
func (s *Session) take(e *unacked) *packet.Message {
	m := e.msg
	e.msg = nil
	s.release(e)
	s.load.Add(-1)
	return m
}

// Receive notes a QoS 2 PUBLISH from the client and reports whether its Packet
// Identifier is new: if not, it was received before and must not be routed again
// [MQTT-4.3.3-10]. ok is false if out is not the session's connection any more.
func (s *Session) Receive(out Link, id uint16) (first, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.link.Load(); l == nil || l.out != out {
		return false, false
	}
	return s.inbound.add(id), true
}

// Release forgets a QoS 2 Packet Identifier on PUBREL, or when the message was
// refused; false if it was not known. The Receipt, which may be nil, waits until
// the Store has forgotten it too: before, the client must not use it again.
func (s *Session) Release(id uint16, r *store.Receipt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.durable && !s.ended {
		s.state.Released(id, r)
	}
	return s.inbound.remove(id)
}

// Retry sends again what an MQTT 3 client has left unacknowledged for longer
// than the retry interval on the present connection; MQTT 5 forbids that
// [MQTT-4.4.0-1] and is left alone. Every message has a time of its own. It
// returns how many packets it appended to the Link.
func (s *Session) Retry(f *Frames) (sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lim, l := s.env.Limits.Load(), s.link.Load()
	if l == nil || l.version >= packet.V5 || lim.RetryInterval <= 0 {
		return 0
	}
	now := s.env.Now()
	for i := 0; i < s.ring.n; i++ {
		e := s.ring.at(i)
		if e.state == settled || e.seq >= s.unsent || e.flags&(flagGivenUp|flagHeld) != 0 {
			continue
		}
		wait := float64(lim.RetryInterval) * math.Pow(max(lim.RetryBackoff, 1), float64(e.attempts))
		if float64(coarse(now)-e.sentAt)*100 < wait {
			continue
		}
		if int(e.attempts) >= lim.RetryMax {
			// It stays for the next connection.
			e.flags |= flagGivenUp
			if e.msg != nil {
				s.env.GaveUp(s, e.msg)
			}
			continue
		}
		if l.out.OverHighWater() {
			return sent
		}
		e.attempts++
		if s.sendAgain(f, l, e, now) {
			sent++
		}
	}
	return sent
}
