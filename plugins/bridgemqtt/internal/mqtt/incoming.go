package mqtt

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Incoming is a message that has come. What it points to is its own.
type Incoming struct {
	Message
	// Size is that of the packet. TooLarge says that it was larger than Options.MaxPacket, and
	// has no payload (3.1.1 servers cannot be told).
	Size     int
	TooLarge bool
	// Echo says that it may be one that this Link has published; see Options.Sending.
	Echo bool

	id   uint16
	conn *connection
}

const (
	// maxQueued and maxQueuedBytes are how much may wait here. Of QoS 1 and 2 the
	// Receive Maximum bounds it; of QoS 0 the connection is not read then.
	maxQueued      = 8192
	maxQueuedBytes = 16 << 20
	// patience is how long the connection is not read because of messages of QoS 0. Then
	// these are dropped: acknowledgements are behind them.
	patience = 5 * time.Second
)

// incoming is what has come and is not acknowledged.
type incoming struct {
	mu    sync.Mutex
	queue []*Incoming
	bytes int
	more  chan struct{} // has something when queue has
	room  chan struct{} // has something when something was taken from queue
	// second are Packet Identifiers of QoS 2; true: PUBREC was sent.
	second  map[uint16]bool
	dropped int64
}

func (q *incoming) init() {
	q.more, q.room, q.second = make(chan struct{}, 1), make(chan struct{}, 1), map[uint16]bool{}
}

// forget begins a new session.
func (q *incoming) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.second)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// publish reads a PUBLISH.
func (c *connection) publish(h header) error {
	var p publish
	var err error
	tooLarge := h.remaining > int(c.link.o.MaxPacket)
	if tooLarge {
		p, err = c.skip(h)
	} else {
		var b []byte
		if b, err = c.body(h.remaining); err == nil {
			p, err = parsePublish(b, h.flags, c.version)
		}
	}
	if err != nil {
		return err
	}
	c.link.in.put(c, &Incoming{Message: p.Message, Size: h.remaining, TooLarge: tooLarge, Echo: c.echoes(), id: p.id, conn: c})
	return nil
}

// skip reads what is needed to acknowledge a PUBLISH that is too large, and no more.
func (c *connection) skip(h header) (p publish, err error) {
	begin, err := c.body(min(h.remaining, 4+65535))
	if err != nil {
		return p, err
	}
	d := body{b: begin}
	p.QoS, p.Retain = h.flags>>1&3, h.flags&1 != 0
	p.Topic = d.string()
	if p.QoS > 0 {
		p.id = d.uint16()
	}
	if d.err != nil || p.QoS == 3 {
		return p, fmt.Errorf("%w: PUBLISH", errMalformed)
	}
	for left := int64(h.remaining - len(begin)); left > 0; {
		n, err := io.CopyN(io.Discard, c.r, min(left, readBuffer))
		if err != nil {
			return p, eof(err)
		}
		left -= n
	}
	return p, nil
}

// put queues a message that has come.
func (q *incoming) put(c *connection, x *Incoming) {
	q.mu.Lock()
	if x.QoS == 2 {
		if answered, known := q.second[x.id]; known {
			q.mu.Unlock()
			if answered { // it is here, and the server has not heard so
				c.append(func(b []byte) []byte { return appendAck(b, typePubrec, x.id) })
			}
			return
		}
		q.second[x.id] = false
	}
	if x.QoS == 0 && !q.wait() {
		q.dropped++
		q.mu.Unlock()
		return
	}
	q.queue = append(q.queue, x)
	q.bytes += x.Size
	q.mu.Unlock()
	signal(q.more)
}

// wait returns when there is room, or false. It is called with mu held.
func (q *incoming) wait() bool {
	var over <-chan time.Time
	for len(q.queue) >= maxQueued || q.bytes >= maxQueuedBytes {
		q.mu.Unlock()
		if over == nil {
			t := time.NewTimer(patience)
			defer t.Stop()
			over = t.C
		}
		select {
		case <-q.room:
		case <-over:
			q.mu.Lock()
			return false
		}
		q.mu.Lock()
	}
	return true
}

// Receive returns messages that have come, in order: up to max, and up to maxBytes, but
// one at least. It waits for them until ctx ends.
func (l *Link) Receive(ctx context.Context, max, maxBytes int) ([]*Incoming, error) {
	q := &l.in
	for {
		q.mu.Lock()
		n, size := 0, 0
		for n < len(q.queue) && n < max && (n == 0 || size+q.queue[n].Size <= maxBytes) {
			size += q.queue[n].Size
			n++
		}
		if n > 0 {
			out := q.queue[:n:n]
			q.queue = q.queue[n:]
			q.bytes -= size
			rest := len(q.queue) > 0
			q.mu.Unlock()
			signal(q.room)
			if rest {
				signal(q.more)
			}
			return out, nil
		}
		q.queue = nil
		q.mu.Unlock()
		select {
		case <-q.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Acknowledge says that messages are safe on this side. One whose connection is gone
// the server sends again, or has forgotten.
func (l *Link) Acknowledge(list []*Incoming) {
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	q := &l.in
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, x := range list {
		if x.QoS == 2 {
			if _, known := q.second[x.id]; known {
				q.second[x.id] = true
			} else {
				continue // of a session before
			}
		}
	}
	if c == nil {
		return
	}
	c.append(func(b []byte) []byte {
		for _, x := range list {
			switch {
			case x.QoS == 1 && x.conn == c:
				b = appendAck(b, typePuback, x.id)
			case x.QoS == 2 && q.second[x.id]:
				b = appendAck(b, typePubrec, x.id)
			}
		}
		return b
	})
}

// released deals with PUBREL.
func (q *incoming) released(c *connection, id uint16) {
	q.mu.Lock()
	delete(q.second, id)
	q.mu.Unlock()
	c.append(func(b []byte) []byte { return appendAck(b, typePubcomp, id) })
}

// Dropped is how many messages of QoS 0 were dropped because there was no room.
func (l *Link) Dropped() int64 {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	return l.in.dropped
}
