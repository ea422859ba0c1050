package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// link5 is a link on paho.golang.
type link5 struct {
	lifetime
	ledger     ledger
	client     *paho.Client
	conn       *conn
	granted    granted
	properties *properties
	debugf     func(string, ...any)
	unmatched  func()
}

// sessionState is the Session State of MQTT 5 across reconnections.
type sessionState struct{ *state.State }

func newSessionState() *sessionState { return &sessionState{state.NewInMemory()} }

// observedSession listens to the session between Paho's client and its state. It is how publishing
// becomes asynchronous with an outcome (paho.golang's AsyncSend has none), and how a link knows that an
// acknowledgement has been written.
type observedSession struct {
	*state.State
	outcomes     chan packets.ControlPacket
	acknowledged func()
}

var _ session.SessionManager = (*observedSession)(nil)

// AddToSession makes all PUBLISH packets report to one channel.
func (s *observedSession) AddToSession(ctx context.Context, p session.Packet, resp chan<- packets.ControlPacket) error {
	if p.Type() == packets.PUBLISH {
		resp = s.outcomes
	}
	return s.State.AddToSession(ctx, p, resp)
}

// Ack is called for every message, QoS 0 too, for which there is nothing to send.
func (s *observedSession) Ack(pb *packets.Publish) error {
	var err error
	if pb.QoS > 0 {
		err = s.State.Ack(pb)
	}
	s.acknowledged()
	return err
}

func connect5(ctx context.Context, p *plan, c *conn, kept *sessionState, handle handler) (link, error) {
	if kept == nil {
		kept = newSessionState()
	}
	l := &link5{lifetime: newLifetime(), conn: c, properties: &p.properties, debugf: p.debugf, unmatched: p.unmatched}
	observed := &observedSession{State: kept.State, outcomes: make(chan packets.ControlPacket, 1024), acknowledged: l.acknowledged}
	l.client = paho.NewClient(paho.ClientConfig{
		Conn:    c,
		Session: observed,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			if !l.deliver(l, r.Packet, handle) {
				// Paho acknowledges when this returns, which it must not do while that can be sent.
				<-c.closed
			}
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { l.finish(disconnected(d)) },
		OnClientError:      func(err error) { l.finish(lostError(err)) },
		AuthHandler:        &authAnswer{connect: &p.properties.connect, answer: &p.properties.auth},
		// Also bounds the wait for a place within Receive Maximum, which may take as long as the
		// broker likes; what must be answered soon gets a context with answerTimeout.
		PacketTimeout: 24 * time.Hour,
	})
	ack, err := l.client.Connect(ctx, p.connect)
	if err != nil {
		return nil, connectError(p, ack, err)
	}
	l.granted = granted{clientID: p.connect.ClientID, responseInfo: ack.Properties.ResponseInfo}
	if ack.Properties.AssignedClientID != "" {
		l.granted.clientID = ack.Properties.AssignedClientID
	}
	if ack.Properties.MaximumPacketSize != nil {
		l.granted.maxPacketSize = *ack.Properties.MaximumPacketSize
	}
	p.debugf("received CONNACK: %s, session present %t, client id %q", packet.ReasonCode(ack.ReasonCode), ack.SessionPresent, l.granted.clientID)
	go l.collect(observed.outcomes)
	return l, nil
}

// connectError explains a CONNECT that failed; ack is nil when there was no CONNACK.
func connectError(p *plan, ack *paho.Connack, err error) error {
	if ack == nil {
		return noConnack(p, err)
	}
	r := &refusal{what: "connection refused by " + p.target.String(), reason: reasonText(ack.ReasonCode), detail: ack.Properties.ReasonString, permanent: true}
	switch packet.ReasonCode(ack.ReasonCode) {
	case packet.ServerUnavailable, packet.ServerBusy, packet.QuotaExceeded, packet.ConnectionRateExceeded:
		r.permanent = false
	case packet.UnsupportedProtocolVersion:
		r.advice = "try -V 3.1.1"
	case packet.BadUserNameOrPassword, packet.NotAuthorized:
		r.advice = "check -u and -P"
	case packet.ClientIdentifierNotValid:
		r.advice = "give another one with -i"
	case packet.UseAnotherServer, packet.ServerMoved:
		if ack.Properties.ServerReference != "" {
			r.advice = "its Server Reference is " + ack.Properties.ServerReference
		}
	}
	return r
}

// noConnack is the error for a broker that closed or stayed silent instead of answering CONNECT.
func noConnack(p *plan, err error) error {
	r := &refusal{what: "no CONNACK from " + p.target.String(), reason: innermost(err).Error()}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		r.reason = "no answer within " + answerTimeout.String()
	case p.version == mqtt5:
		r.reason, r.advice = "it closed the connection", "is it an MQTT broker? if it lacks MQTT 5, use -V 3.1.1; if it expects TLS, give --cafile"
	default:
		r.reason, r.advice = "it closed the connection", "is it an MQTT broker, and does it expect TLS?"
	}
	return r
}

// disconnected is the error for a DISCONNECT from the broker.
func disconnected(d *paho.Disconnect) error {
	r := &refusal{what: "disconnected by the broker", reason: reasonText(d.ReasonCode), detail: d.Properties.ReasonString, permanent: true}
	switch packet.ReasonCode(d.ReasonCode) {
	case packet.Success, packet.ServerBusy, packet.ServerShuttingDown, packet.KeepAliveTimeout, packet.ConnectionRateExceeded,
		packet.MaximumConnectTime, packet.UnspecifiedError, packet.ImplementationSpecificError, packet.MessageRateTooHigh, packet.QuotaExceeded:
		r.permanent = false
	case packet.SessionTakenOver:
		r.advice = "another client connected with the same Client Identifier"
	}
	return r
}

// collect books the outcome of every PUBLISH with QoS 1 or 2.
func (l *link5) collect(outcomes <-chan packets.ControlPacket) {
	for {
		select {
		case cp := <-outcomes:
			l.ledger.settle(l.outcome(cp))
		case <-l.client.Done():
			return
		}
	}
}

func (l *link5) outcome(cp packets.ControlPacket) error {
	var code byte
	var props *packets.Properties
	switch ack := cp.Content.(type) {
	case *packets.Puback:
		code, props = ack.ReasonCode, ack.Properties
	case *packets.Pubrec:
		code, props = ack.ReasonCode, ack.Properties
	case *packets.Pubcomp:
		code, props = ack.ReasonCode, ack.Properties
	}
	l.debugf("received %s for message %d: %s", cp.PacketType(), cp.PacketID(), packet.ReasonCode(code))
	if !packet.ReasonCode(code).IsError() {
		if packet.ReasonCode(code) == packet.NoMatchingSubscribers && l.unmatched != nil {
			l.unmatched()
		}
		return nil
	}
	text := reasonText(code)
	if props != nil && props.ReasonString != "" {
		text += ": " + props.ReasonString
	}
	return errors.New(text)
}

func (l *link5) Publish(ctx context.Context, m *paho.Publish) error {
	l.debugf("sending PUBLISH (q%d, r%t, %q, %d bytes)", m.QoS, m.Retain, m.Topic, len(m.Payload))
	if m.QoS == 0 {
		_, err := l.client.Publish(ctx, m)
		return l.cause(err)
	}
	l.ledger.begin()
	_, err := l.client.PublishWithOptions(ctx, m, paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	if err != nil && !errors.Is(err, paho.ErrNetworkErrorAfterStored) {
		l.ledger.abandon()
	}
	return l.cause(err)
}

// cause explains err; it prefers the reason for which the connection ended over its consequence.
func (l *link5) cause(err error) error {
	if err == nil || errors.Is(err, paho.ErrInvalidArguments) || errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the broker has not answered within %v", answerTimeout)
	}
	select {
	case <-l.Ended():
		return l.Err()
	case <-time.After(closeFlush):
		return lostError(err)
	}
}

func (l *link5) Drain(ctx context.Context) error { return l.ledger.drain(ctx, &l.lifetime) }

func (l *link5) Subscribe(ctx context.Context, s *paho.Subscribe) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ack, err := l.client.Subscribe(ctx, s)
	if ack == nil {
		return nil, l.cause(err)
	}
	return ack.Reasons, nil
}

func (l *link5) Unsubscribe(ctx context.Context, topicFilters []string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ack, err := l.client.Unsubscribe(ctx, &paho.Unsubscribe{Topics: topicFilters, Properties: &l.properties.unsubscribe})
	if ack == nil {
		return l.cause(err)
	}
	for i, code := range ack.Reasons {
		if packet.ReasonCode(code).IsError() && i < len(topicFilters) {
			return &refusal{what: "cannot unsubscribe from " + topicFilters[i], reason: reasonText(code)}
		}
	}
	return nil
}

func (l *link5) Disconnect() error {
	l.finish(nil)
	err := within(2*(closeFlush+maxLinger), func() error {
		var last bytes.Buffer
		packet := paho.Disconnect{Properties: &l.properties.disconnect}
		if _, err := packet.Packet().WriteTo(&last); err != nil {
			return fmt.Errorf("encoding DISCONNECT: %w", err)
		}
		err := l.conn.sendLast(last.Bytes())
		// The DISCONNECT that Paho now writes is refused, the rest of what it does is wanted.
		_ = l.client.Disconnect(&packet)
		if closeErr := l.conn.Close(); err == nil {
			err = closeErr
		}
		return err
	})
	l.debugf("sent DISCONNECT")
	return err
}

func (l *link5) Granted() granted { return l.granted }

// authAnswer answers an AUTH challenge with what -D auth says; without it, with nothing.
type authAnswer struct {
	connect *paho.ConnectProperties
	answer  *paho.AuthProperties
}

func (a *authAnswer) Authenticate(*paho.Auth) *paho.Auth {
	answer := *a.answer
	if answer.AuthMethod == "" {
		// Every AUTH of an exchange carries the method of CONNECT [MQTT-4.12.0-5].
		answer.AuthMethod = a.connect.AuthMethod
	}
	return &paho.Auth{ReasonCode: byte(packet.ContinueAuthentication), Properties: &answer}
}

func (a *authAnswer) Authenticated() {}
