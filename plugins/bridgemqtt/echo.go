package bridgemqtt

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// echoes is how many messages are remembered that a server may send back, echoTime for
	// how long.
	echoes   = 1 << 15
	echoTime = time.Minute
)

// echo recognises what a 3.1.1 server sends back that knows nothing of bridges: each
// message that goes where a subscription of the bridge is comes back once. A message of
// somebody else that is just the same is not told from it, nor need it be: one of the two is
// taken, the other not.
type echo struct {
	seed maphash.Seed
	mu   sync.Mutex
	sent map[uint64]int
	ring []sentEcho // oldest at first
	head int
}

type sentEcho struct {
	sum uint64
	at  time.Time
}

func newEcho() *echo { return &echo{seed: maphash.MakeSeed(), sent: map[uint64]int{}} }

func (e *echo) sum(topic string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(e.seed)
	h.WriteString(topic)
	h.WriteByte(0)
	h.Write(payload)
	return h.Sum64()
}

// send notes a message that goes.
func (e *echo) send(topic string, payload []byte, now time.Time) {
	sum := e.sum(topic, payload)
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.head < len(e.ring) && (len(e.ring)-e.head >= echoes || now.Sub(e.ring[e.head].at) > echoTime) {
		e.take(e.ring[e.head].sum)
		e.head++
	}
	if e.head > len(e.ring)/2 {
		e.ring = append(e.ring[:0], e.ring[e.head:]...)
		e.head = 0
	}
	e.ring = append(e.ring, sentEcho{sum, now})
	e.sent[sum]++
}

// comes reports whether a message that has come is one that has gone.
func (e *echo) comes(topic string, payload []byte) bool {
	sum := e.sum(topic, payload)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.take(sum)
}

// take is called with mu held.
func (e *echo) take(sum uint64) bool {
	n := e.sent[sum]
	switch {
	case n == 0:
		return false
	case n == 1:
		delete(e.sent, sum)
	default:
		e.sent[sum]--
	}
	return true
}
