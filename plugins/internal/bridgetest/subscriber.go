package bridgetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// Subscriber is a client of a broker that is the other side, or gets what comes from there:
// it keeps its session, and remembers what has arrived.
type Subscriber struct {
	t     testing.TB
	addr  string
	id    string
	parse func(topic string, payload []byte) (Message, error)
	subs  []packets.SubOptions

	mu      sync.Mutex
	arrived []Message
	ready   chan struct{}
	once    sync.Once
}

// Subscribe subscribes to Topic Filters with QoS 1, and returns when the broker has said yes.
// parse says which message it is; nil is ParseMessage of the payload, whatever the topic.
func Subscribe(t testing.TB, addr, clientID string, parse func(topic string, payload []byte) (Message, error), filters ...string) *Subscriber {
	t.Helper()
	if parse == nil {
		parse = func(_ string, payload []byte) (Message, error) { return ParseMessage(payload) }
	}
	s := &Subscriber{t: t, addr: addr, id: clientID, parse: parse, ready: make(chan struct{})}
	for _, f := range filters {
		s.subs = append(s.subs, packets.SubOptions{Topic: f, QoS: 1})
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-s.ready:
	case <-time.After(Patience):
		t.Fatalf("%s could not subscribe within %s", clientID, Patience)
	}
	return s
}

// Arrived is all that has arrived, in the order of arrival, what came again included: the
// Arrived of Chaos.
func (s *Subscriber) Arrived(context.Context) ([]Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.arrived), nil
}

// Count is how many messages have arrived, what came again included.
func (s *Subscriber) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.arrived)
}

func (s *Subscriber) run(ctx context.Context) {
	for ctx.Err() == nil {
		if c, err := dial(s.addr, s.id); err == nil {
			stop := context.AfterFunc(ctx, func() { c.nc.Close() })
			_ = s.serve(c) // why a connection was lost is of no interest
			stop()
			c.nc.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

func (s *Subscriber) serve(c *connection) error {
	if !c.resumed {
		cp := packets.NewControlPacket(packets.SUBSCRIBE)
		p := cp.Content.(*packets.Subscribe)
		p.PacketID, p.Subscriptions = 1, s.subs
		if err := c.write(cp); err != nil {
			return err
		}
	}
	for {
		in, err := packets.ReadPacket(c.r)
		if err != nil {
			return err
		}
		switch p := in.Content.(type) {
		case *packets.Suback:
			for _, code := range p.Reasons {
				if code >= 0x80 {
					s.t.Errorf("%s: a subscription was refused: 0x%02X", s.id, code)
				}
			}
			s.once.Do(func() { close(s.ready) })
		case *packets.Publish:
			if err := s.take(c, p); err != nil {
				return err
			}
		case *packets.Disconnect:
			return errors.New("disconnected")
		}
	}
}

func (s *Subscriber) take(c *connection, p *packets.Publish) error {
	if m, err := s.parse(p.Topic, p.Payload); err != nil {
		s.t.Errorf("%s: %s: %v", s.id, p.Topic, err)
	} else {
		s.mu.Lock()
		s.arrived = append(s.arrived, m)
		s.mu.Unlock()
	}
	if p.QoS == 0 {
		return nil
	}
	cp := packets.NewControlPacket(packets.PUBACK)
	cp.Content.(*packets.Puback).PacketID = p.PacketID
	return c.write(cp)
}
