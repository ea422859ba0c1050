package bridgetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// PublisherOptions say what a Publisher does.
type PublisherOptions struct {
	// Addr is the broker's: host:port, or the path of a socket.
	Addr string
	// Keys are the topics to publish to. Each has a connection of its own, so that one that
	// waits for its PUBACKs holds up no other.
	Keys []string
	// Rate is how many messages of each key are published in a second, if the broker takes
	// them; 100 if it is 0.
	Rate int
	// Window is how many of a key may be unacknowledged; 200 if it is 0.
	Window int
	// Pad makes payloads longer, by about so many bytes.
	Pad int
	// Limit ends after so many messages of each key; 0 is without limit.
	Limit int
}

// Publisher publishes with QoS 1, and publishes again, in order, what was not acknowledged when
// its connection was lost, until it is. The Ledger hears of it.
type Publisher struct {
	o    PublisherOptions
	l    *Ledger
	stop chan struct{}
	once sync.Once

	mu      sync.Mutex
	waiting int
	ended   int // keys of which nothing new comes
}

// Publish begins to publish. The end of the test ends it.
func Publish(t testing.TB, l *Ledger, o PublisherOptions) *Publisher {
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Window == 0 {
		o.Window = 200
	}
	p := &Publisher{o: o, l: l, stop: make(chan struct{})}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for i, key := range o.Keys {
		all.Go(func() {
			(&publishing{p: p, key: key, id: fmt.Sprintf("publisher-%d-%s", i, strings.ReplaceAll(key, "/", "-"))}).run(ctx)
		})
	}
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	return p
}

// Stop has nothing new published. What is not acknowledged is still seen to.
func (p *Publisher) Stop() { p.once.Do(func() { close(p.stop) }) }

// Waiting is how many messages have no answer yet. After Stop, or when Limit is reached, it
// comes down to 0.
func (p *Publisher) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting
}

// Done reports whether everything that will be published has been answered.
func (p *Publisher) Done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting == 0 && p.ended == len(p.o.Keys)
}

// publishing is the work on one key. Its fields belong to the goroutine of run.
type publishing struct {
	p       *Publisher
	key, id string
	began   time.Time
	made    int
	ended   bool
	packet  uint16     // the last Packet Identifier
	pending []*pending // in order of publication
}

type pending struct {
	Message
	packet uint16
	again  bool // it may have been sent on an earlier connection
	sent   bool // on this connection
}

func (k *publishing) run(ctx context.Context) {
	k.began = time.Now()
	for ctx.Err() == nil {
		c, err := dial(k.p.o.Addr, k.id)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
			k.make() // what is due while nobody listens waits, up to the window
			continue
		}
		k.serve(ctx, c)
		c.nc.Close()
	}
}

// serve publishes on one connection, until that is lost.
func (k *publishing) serve(ctx context.Context, c *connection) {
	for _, m := range k.pending {
		m.again, m.sent = c.resumed && (m.again || m.sent), false
	}
	acks := make(chan *packets.Puback, 64)
	over := make(chan struct{})
	go func() {
		defer close(acks)
		for {
			in, err := packets.ReadPacket(c.r)
			if err != nil {
				return
			}
			ack, ok := in.Content.(*packets.Puback)
			if !ok {
				return // DISCONNECT
			}
			select {
			case acks <- ack:
			case <-over:
				return
			}
		}
	}()
	defer close(over)
	tick := time.NewTicker(min(max(time.Second/time.Duration(k.p.o.Rate), 2*time.Millisecond), 100*time.Millisecond))
	defer tick.Stop()
	for {
		if err := k.send(c); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case ack, ok := <-acks:
			if !ok {
				return
			}
			k.answered(ack)
		case <-tick.C:
			k.make()
		}
	}
}

// make makes the messages that are due.
func (k *publishing) make() {
	o := &k.p.o
	select {
	case <-k.p.stop:
		k.end()
		return
	default:
	}
	// What was not made because the window was full is not made up for: a load, not a flood.
	due := int(time.Since(k.began).Seconds() * float64(o.Rate))
	if due > 0 {
		k.began = k.began.Add(time.Duration(due) * time.Second / time.Duration(o.Rate))
	}
	for ; due > 0 && len(k.pending) < o.Window; due-- {
		if o.Limit > 0 && k.made == o.Limit {
			k.end()
			return
		}
		k.made++
		k.pending = append(k.pending, &pending{Message: k.p.l.Next(k.key), packet: k.free()})
		k.p.count(1)
	}
}

func (k *publishing) end() {
	if k.ended {
		return
	}
	k.ended = true
	k.p.mu.Lock()
	defer k.p.mu.Unlock()
	k.p.ended++
}

func (p *Publisher) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting += n
}

// free is a Packet Identifier that is not in use: they go round in 65,535, the window is far less.
func (k *publishing) free() uint16 {
	if k.packet++; k.packet == 0 {
		k.packet = 1
	}
	return k.packet
}

// send sends what has not been sent on this connection, as far as the broker takes it.
func (k *publishing) send(c *connection) error {
	for i, m := range k.pending {
		if m.sent || i >= c.window {
			continue
		}
		m.sent = true
		cp := packets.NewControlPacket(packets.PUBLISH)
		p := cp.Content.(*packets.Publish)
		p.Topic, p.QoS, p.PacketID, p.Duplicate, p.Payload = m.Key, 1, m.packet, m.again, m.Payload(k.p.o.Pad)
		if err := c.write(cp); err != nil {
			return err
		}
	}
	return nil
}

func (k *publishing) answered(ack *packets.Puback) {
	for i, m := range k.pending {
		if m.packet != ack.PacketID {
			continue
		}
		if ack.ReasonCode < 0x80 {
			k.p.l.Acknowledged(m.Message)
		} else {
			k.p.l.Refused(m.Message)
		}
		k.pending = append(k.pending[:i], k.pending[i+1:]...)
		k.p.count(-1)
		return
	}
}
