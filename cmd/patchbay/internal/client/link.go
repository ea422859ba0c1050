package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// link is one MQTT connection, from CONNACK to its end. Its methods are safe for concurrent use.
type link interface {
	// Publish sends m, in the order of the calls. With QoS 1 and 2 it waits only while the broker's
	// Receive Maximum is in flight; Drain tells the outcome. m.Payload must not change until Drain.
	Publish(ctx context.Context, m *paho.Publish) error
	// Drain waits until every message is acknowledged. Its error says how many were refused, and why.
	Drain(ctx context.Context) error
	// Subscribe returns one Reason Code for each subscription (MQTT 3.x: the granted QoS, or 0x80).
	Subscribe(ctx context.Context, s *paho.Subscribe) ([]byte, error)
	Unsubscribe(ctx context.Context, topicFilters []string) error
	// Disconnect sends what is buffered, then DISCONNECT, and closes; bounded in time.
	Disconnect() error
	// Ended is closed when the connection is, Err then says why: nil after Disconnect.
	Ended() <-chan struct{}
	Err() error
	// Enough is closed when the handler has asked for no more messages and its last one is acknowledged.
	Enough() <-chan struct{}
	// Granted is what CONNACK said.
	Granted() granted
}

// granted are the facts of CONNACK that the commands use.
type granted struct {
	clientID      string
	responseInfo  string // Response Information, may be empty
	maxPacketSize uint32 // bytes, 0 = no limit
}

// handler gets the messages of a link one at a time. It returns false when it wants no more: those that
// arrive after it are neither handed over nor acknowledged, so that a session keeps them.
type handler func(l link, m *paho.Publish) (more bool)

// connect dials and logs in. state may be nil; for MQTT 5 it carries a session over to the next link.
func connect(ctx context.Context, p *plan, state *sessionState, handle handler) (link, error) {
	p.debugf("connecting to %s as %q, MQTT %s", p.target, p.connect.ClientID, packet.Version(p.version))
	c, err := p.target.dial(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if p.version == mqtt5 {
		return connect5(ctx, p, c, state, handle)
	}
	return connect3(ctx, p, c, handle)
}

// lifetime is the part of a link that both libraries need: how it ends and when it has had enough.
type lifetime struct {
	ended    chan struct{}
	enough   chan struct{}
	end      sync.Once
	err      error // valid once ended is closed
	last     bool  // the handler wants no more; only its goroutine uses it
	stopping bool  // and its last message is acknowledged; likewise
}

func newLifetime() lifetime {
	return lifetime{ended: make(chan struct{}), enough: make(chan struct{})}
}

func (l *lifetime) Ended() <-chan struct{}  { return l.ended }
func (l *lifetime) Enough() <-chan struct{} { return l.enough }

func (l *lifetime) Err() error {
	<-l.ended
	return l.err
}

func (l *lifetime) finish(err error) {
	l.end.Do(func() {
		l.err = err
		close(l.ended)
	})
}

// deliver hands m to the handler; false means that the handler has had enough before, and m must not be
// acknowledged.
func (l *lifetime) deliver(from link, m *paho.Publish, handle handler) bool {
	if l.stopping {
		return false
	}
	l.last = !handle(from, m)
	return true
}

// acknowledged is called after the acknowledgement of the delivered message was written.
func (l *lifetime) acknowledged() {
	if l.last && !l.stopping {
		l.stopping = true
		close(l.enough)
	}
}

// ledger counts what is in flight, and what became of it.
type ledger struct {
	mu      sync.Mutex
	open    int
	sent    int
	refused int
	first   error         // of those refused
	idle    chan struct{} // closed when open falls to 0; nil while nobody waits
}

func (l *ledger) begin() {
	l.mu.Lock()
	l.open++
	l.sent++
	l.mu.Unlock()
}

// settle ends what begin began; err is nil for a message that the broker took.
func (l *ledger) settle(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if err != nil {
		l.refused++
		if l.first == nil {
			l.first = err
		}
	}
	if l.open == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// abandon takes back what begin began, for a message that was not sent.
func (l *ledger) abandon() {
	l.mu.Lock()
	l.sent--
	l.mu.Unlock()
	l.settle(nil)
}

// drain waits until nothing is in flight, the link has ended or ctx has, and sums up. Only one goroutine
// may drain at a time.
func (l *ledger) drain(ctx context.Context, life *lifetime) error {
	idle := make(chan struct{})
	l.mu.Lock()
	if l.open == 0 {
		close(idle)
	} else {
		l.idle = idle
	}
	l.mu.Unlock()

	var cause error
	select {
	case <-idle:
	case <-life.Ended():
		cause = life.Err()
	case <-ctx.Done():
		cause = errInterrupted
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.refused > 0:
		return fmt.Errorf("%d of %d messages refused: %w", l.refused, l.sent, l.first)
	case l.open > 0 && cause != nil:
		return fmt.Errorf("%d of %d messages not acknowledged: %w", l.open, l.sent, cause)
	}
	return nil
}

var errInterrupted = errors.New("interrupted")

// reasonText names an MQTT 5 Reason Code: "Not authorized (0x87)".
func reasonText(code byte) string {
	return fmt.Sprintf("%s (0x%02X)", packet.ReasonCode(code), code)
}

// lostError is why a connection ended that nobody closed.
func lostError(err error) error {
	return fmt.Errorf("connection lost: %w", innermost(err))
}

// within runs fn, which may hang on a peer that does not read, for at most d.
func within(d time.Duration, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-time.After(d):
		return errors.New("the broker does not read: DISCONNECT was not sent in time")
	}
}
