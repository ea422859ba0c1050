package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// Flags are the flags of pub, sub and rr that say which broker to connect to and as whom,
// for commands of other packages that speak MQTT.
type Flags struct{ options }

// AddTo declares the flags on cmd. Those that only make sense for pub and sub are accepted
// and not shown.
func (f *Flags) AddTo(cmd *cobra.Command) {
	f.addTo(cmd, "")
	for _, name := range []string{
		"topic", "qos", "property", "disable-clean-session", "session-expiry-interval", "id-prefix",
		"will-topic", "will-payload", "will-qos", "will-retain",
	} {
		if err := cmd.Flags().MarkHidden(name); err != nil {
			panic(err) // the flag was not declared: a mistake in this package
		}
	}
}

// SetID sets a Client Identifier, if the user has given none.
func (f *Flags) SetID(id string) {
	if f.id == "" && f.idPrefix == "" {
		f.id = id
	}
}

// Finish gives a command what pub, sub and rr have: signals end its context, errors have
// a method ExitCode.
func Finish(cmd *cobra.Command, run func(ctx context.Context, args []string) error) *cobra.Command {
	return finish(cmd, run)
}

// UsageError is an error with exit code 2, TimeoutError one with 27.
func UsageError(format string, args ...any) error { return usagef(format, args...) }

// TimeoutError is an error with exit code 27, that of a limit of time.
func TimeoutError(format string, args ...any) error {
	return &exitError{exitTimeout, fmt.Errorf(format, args...)}
}

// Session is a connection of the user's. Its methods are safe for concurrent use.
type Session struct {
	link      link
	unmatched atomic.Bool
}

// Connect connects to the broker that the flags of cmd name. received is called with one
// message after the other and must not block.
func (f *Flags) Connect(ctx context.Context, cmd *cobra.Command, received func(*paho.Publish)) (*Session, error) {
	p, err := f.resolve(cmd, nil)
	if err != nil {
		return nil, err
	}
	s := &Session{}
	p.unmatched = func() { s.unmatched.Store(true) }
	s.link, err = connect(ctx, p, nil, func(_ link, m *paho.Publish) bool {
		received(m)
		return true
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Subscribe subscribes to Topic Filters with QoS 1, all of which have to be granted.
func (s *Session) Subscribe(ctx context.Context, topicFilters ...string) error {
	sub := &paho.Subscribe{}
	for _, t := range topicFilters {
		sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: t, QoS: 1})
	}
	codes, err := s.link.Subscribe(ctx, sub)
	if err != nil {
		return err
	}
	for i, code := range codes {
		if packet.ReasonCode(code).IsError() && i < len(topicFilters) {
			return &refusal{what: "cannot subscribe to " + topicFilters[i], reason: reasonText(code)}
		}
	}
	return nil
}

// ErrNobody is returned by Publish if the broker has nobody who gets the message. MQTT 3.x
// does not say so.
var ErrNobody = errors.New("nobody has subscribed to that topic")

// Publish publishes with QoS 1 and waits for the acknowledgement.
func (s *Session) Publish(ctx context.Context, topic string, payload []byte, p *paho.PublishProperties) error {
	s.unmatched.Store(false)
	if err := s.link.Publish(ctx, &paho.Publish{Topic: topic, Payload: payload, QoS: 1, Properties: p}); err != nil {
		return err
	}
	if err := s.link.Drain(ctx); err != nil {
		return err
	}
	if s.unmatched.Load() {
		return ErrNobody
	}
	return nil
}

// Ended is closed when the connection is; Err then says why.
func (s *Session) Ended() <-chan struct{} { return s.link.Ended() }

// Err says why the connection has ended.
func (s *Session) Err() error { return s.link.Err() }

// Close sends DISCONNECT and closes the connection.
func (s *Session) Close() error { return s.link.Disconnect() }
