package session

import (
	"sort"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// State of an unacknowledged message.
const (
	awaitPuback uint8 = iota
	awaitPubrec
	awaitPubcomp // PUBREC came, PUBREL was sent; the message itself is gone
	settled      // out of order; leaves when all before it have left
)

// unacked is a message that was sent at QoS 1 or 2 and not settled yet.
type unacked struct {
	msg   *packet.Message
	route *store.Route
	// seq counts the messages of the session; the Packet Identifier follows from
	// it, so that finding one by its identifier is arithmetic.
	seq      uint64
	pos      uint64 // its place in the Store
	sentAt   uint32 // coarse, in units of 100 ms, wraps
	state    uint8
	qos      uint8
	attempts uint8
	flags    uint8
}

const (
	flagRetain  uint8 = 1 << iota
	flagCounted       // sent as PUBLISH on the present Link: counts against Receive Maximum
	flagGivenUp       // the retry cap was reached
	flagHeld          // its next packet waits for the Store
	flagFresh         // no PUBLISH has been sent yet
)

// idOf is the Packet Identifier of the message with the given seq: 1 to 65535
// [MQTT-2.2.1-3].
func idOf(seq uint64) uint16 { return uint16(seq%65535) + 1 }

// ring holds the unacknowledged messages in the order of sending, so that resend
// keeps the order [MQTT-4.6.0-1]. Its seqs increase from front to back.
type ring struct {
	buf     []unacked // length a power of two
	head, n int
	settled int // entries in state settled
	next    uint64
}

func (r *ring) at(i int) *unacked { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

// live is the number of messages that are not settled.
func (r *ring) live() int { return r.n - r.settled }

// push appends e with the next free seq.
func (r *ring) push(e unacked) *unacked {
	if r.n == len(r.buf) {
		r.makeRoom()
	}
	// After 65,535 further messages an identifier comes round again; it is
	// skipped as long as it is taken [MQTT-2.2.1-3].
	for r.n > 0 && r.next-r.at(0).seq >= 65535 && r.find(idOf(r.next)) != nil {
		r.next++
	}
	e.seq = r.next
	r.next++
	r.n++
	p := r.at(r.n - 1)
	*p = e
	return p
}

// restore appends an entry that has its seq, which is above those before it.
func (r *ring) restore(e unacked) {
	if r.n == len(r.buf) {
		r.makeRoom()
	}
	r.n++
	*r.at(r.n - 1) = e
}

// makeRoom takes out what is settled if that is worth it, else doubles.
func (r *ring) makeRoom() {
	size := len(r.buf)
	if r.settled < size/2 || size == 0 {
		size = max(8, 2*size)
	}
	buf := make([]unacked, size)
	k := 0
	for i := range r.n {
		if e := r.at(i); e.state != settled {
			buf[k] = *e
			k++
		}
	}
	r.buf, r.head, r.n, r.settled = buf, 0, k, 0
}

// find returns the message with the given Packet Identifier, nil if there is
// none that is not settled.
func (r *ring) find(id uint16) *unacked {
	if r.n == 0 || id == 0 {
		return nil
	}
	first, last := r.at(0).seq, r.at(r.n-1).seq
	seq := first + (uint64(id)-1+65535-first%65535)%65535
	if last-first > 4*65535 {
		// One message was left unacknowledged for very long; the window is bounded.
		for i := range r.n {
			if e := r.at(i); idOf(e.seq) == id && e.state != settled {
				return e
			}
		}
		return nil
	}
	for ; seq <= last; seq += 65535 {
		if e := r.bySeq(seq); e != nil && e.state != settled {
			return e
		}
	}
	return nil
}

// from returns the first message whose seq is not below the given one, nil if
// there is none.
func (r *ring) from(seq uint64) *unacked {
	i := sort.Search(r.n, func(i int) bool { return r.at(i).seq >= seq })
	if i == r.n {
		return nil
	}
	return r.at(i)
}

func (r *ring) bySeq(seq uint64) *unacked {
	if r.n == 0 {
		return nil
	}
	// Without gaps, the usual case, the distance is the index.
	if i := seq - r.at(0).seq; i < uint64(r.n) && r.at(int(i)).seq == seq {
		return r.at(int(i))
	}
	i := sort.Search(r.n, func(i int) bool { return r.at(i).seq >= seq })
	if i < r.n && r.at(i).seq == seq {
		return r.at(i)
	}
	return nil
}

// settle marks e and takes all settled entries off the front.
func (r *ring) settle(e *unacked) {
	e.state, e.msg, e.route = settled, nil, nil
	r.settled++
	for r.n > 0 && r.at(0).state == settled {
		r.head = (r.head + 1) & (len(r.buf) - 1)
		r.n--
		r.settled--
	}
}

// trim gives the memory of an empty ring back.
func (r *ring) trim() {
	if r.n == 0 {
		r.buf, r.head = nil, 0
	}
}
