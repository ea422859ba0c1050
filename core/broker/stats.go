package broker

import (
	"sync/atomic"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// Stats are the broker's counters and gauges. They only ever grow, except where
// said. All are safe to read at any time.
type Stats struct {
	// Connections accepted, and Connected now (a gauge) with its maximum.
	Accepted, Refused       atomic.Int64
	Connected, MaxConnected atomic.Int64
	// Sessions that exist, of clients that are connected or away (a gauge).
	Sessions, SessionsExpired atomic.Int64
	TakenOver                 atomic.Int64
	AuthFailures              atomic.Int64
	ProtocolErrors            atomic.Int64

	// Packets by type, received from and sent to clients.
	PacketsReceived, PacketsSent [16]atomic.Int64
	// BytesSent counts closed connections only; Gauges has the whole.
	BytesReceived, BytesSent atomic.Int64
	// Payload bytes of PUBLISH packets.
	PublishBytesReceived, PublishBytesSent atomic.Int64
	// Retransmitted counts timed resends, GivenUp those that reached their cap.
	Retransmitted, GivenUp atomic.Int64

	dropped [len(hook.DropReasons)]atomic.Int64
}

// Dropped is the number of deliveries dropped for one of the hook.Drop… reasons.
func (s *Stats) Dropped(reason string) int64 { return s.dropped[dropIndex(reason)].Load() }

// TotalDropped is the number of all dropped deliveries but those of messages
// that nobody had subscribed to.
func (s *Stats) TotalDropped() (n int64) {
	for i := range s.dropped {
		if hook.DropReasons[i] != hook.DropNoSubscriber {
			n += s.dropped[i].Load()
		}
	}
	return n
}

func dropIndex(reason string) int {
	for i, r := range hook.DropReasons {
		if r == reason {
			return i
		}
	}
	panic("broker: unknown reason for a drop: " + reason)
}

// tally counts during one turn of an executor, without atomic operations; fold
// adds it to the broker's Stats at the end.
type tally struct {
	in, out         [16]uint32
	bytesIn         int64
	payloadIn       int64
	payloadOut      int64
	inSeen, outSeen uint16 // which of in and out are not zero
	noSubscriber    uint32
}

func (t *tally) received(p packet.Type, size int) {
	t.in[p]++
	t.inSeen |= 1 << p
	t.bytesIn += int64(size)
}

func (t *tally) sent(p packet.Type, n int) {
	t.out[p] += uint32(n)
	t.outSeen |= 1 << p
}

func (t *tally) fold(s *Stats) {
	for i := 0; t.inSeen != 0; i, t.inSeen = i+1, t.inSeen>>1 {
		if t.inSeen&1 != 0 {
			s.PacketsReceived[i].Add(int64(t.in[i]))
			t.in[i] = 0
		}
	}
	for i := 0; t.outSeen != 0; i, t.outSeen = i+1, t.outSeen>>1 {
		if t.outSeen&1 != 0 {
			s.PacketsSent[i].Add(int64(t.out[i]))
			t.out[i] = 0
		}
	}
	if t.bytesIn != 0 {
		s.BytesReceived.Add(t.bytesIn)
		t.bytesIn = 0
	}
	if t.payloadIn != 0 {
		s.PublishBytesReceived.Add(t.payloadIn)
		t.payloadIn = 0
	}
	if t.payloadOut != 0 {
		s.PublishBytesSent.Add(t.payloadOut)
		t.payloadOut = 0
	}
	if t.noSubscriber != 0 {
		s.dropped[noSubscriberIndex].Add(int64(t.noSubscriber))
		t.noSubscriber = 0
	}
}

var noSubscriberIndex = dropIndex(hook.DropNoSubscriber)
