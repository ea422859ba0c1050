package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
)

// window3 is how many PUBLISH packets with QoS 1 and 2 a 3.x link has in flight. These versions have no
// Receive Maximum; Mosquitto 2.0 drops what a client sends beyond the 20 of its max_inflight_messages, and
// its own clients keep to 20.
const window3 = 20

// link3 is a link on paho.mqtt.golang, for MQTT 3.1 and 3.1.1.
type link3 struct {
	lifetime
	ledger  ledger
	client  mqtt3.Client
	conn    *conn
	slots   chan struct{}    // one entry for each message in flight
	tokens  chan mqtt3.Token // of these messages, in order
	granted granted
	debugf  func(string, ...any)
}

func connect3(ctx context.Context, p *plan, c *conn, handle handler) (link, error) {
	l := &link3{lifetime: newLifetime(), conn: c, slots: make(chan struct{}, window3), tokens: make(chan mqtt3.Token, window3), debugf: p.debugf}
	l.granted.clientID = p.connect.ClientID
	options := mqtt3.NewClientOptions()
	options.Servers = []*url.URL{{Scheme: "tcp", Host: "dialled"}} // the connection is open already
	options.SetCustomOpenConnectionFn(func(*url.URL, mqtt3.ClientOptions) (net.Conn, error) { return c, nil })
	options.SetProtocolVersion(uint(p.version))
	options.SetClientID(p.connect.ClientID)
	options.SetUsername(p.connect.Username)
	options.SetPassword(string(p.connect.Password))
	options.SetCleanSession(p.connect.CleanStart)
	options.SetKeepAlive(time.Duration(p.connect.KeepAlive) * time.Second)
	options.SetConnectTimeout(answerTimeout)
	options.SetAutoReconnect(false)
	options.SetAutoAckDisabled(true)
	if will := p.connect.WillMessage; will != nil {
		options.SetBinaryWill(will.Topic, will.Payload, will.QoS, will.Retain)
	}
	options.SetDefaultPublishHandler(func(_ mqtt3.Client, m mqtt3.Message) {
		if l.deliver(l, fromMessage3(m), handle) {
			m.Ack()
			l.acknowledged()
		}
	})
	options.SetConnectionLostHandler(func(_ mqtt3.Client, err error) { l.finish(lostError(err)) })
	l.client = mqtt3.NewClient(options)

	token, ok := l.client.Connect().(*mqtt3.ConnectToken)
	if !ok {
		return nil, errors.New("paho.mqtt.golang: Connect returned an unknown token")
	}
	select {
	case <-token.Done():
	case <-ctx.Done():
		// The library cannot be told to stop; without its connection it does.
		if err := c.Close(); err != nil {
			p.debugf("closing: %v", err)
		}
		return nil, noConnack(p, ctx.Err())
	}
	if err := token.Error(); err != nil {
		return nil, connackError3(p, token.ReturnCode(), err)
	}
	p.debugf("received CONNACK: accepted, session present %t", token.SessionPresent())
	go l.collect()
	return l, nil
}

// connackNames are the return codes of MQTT 3.1.1, table 3.1.
var connackNames = map[byte]refusal{
	1: {reason: "unacceptable protocol version (1)", advice: "try another -V"},
	2: {reason: "identifier rejected (2)", advice: "give another one with -i"},
	3: {reason: "server unavailable (3)"},
	4: {reason: "bad user name or password (4)", advice: "check -u and -P"},
	5: {reason: "not authorized (5)", advice: "check -u and -P"},
}

func connackError3(p *plan, code byte, err error) error {
	r, known := connackNames[code]
	if !known {
		return noConnack(p, err)
	}
	r.what, r.permanent = "connection refused by "+p.target.String(), code != 3
	return &r
}

// fromMessage3 gives a message the form that the commands know. There are no properties in 3.x.
func fromMessage3(m mqtt3.Message) *paho.Publish {
	return &paho.Publish{
		PacketID: m.MessageID(), QoS: m.Qos(), Retain: m.Retained(), Topic: m.Topic(), Payload: m.Payload(),
		Properties: &paho.PublishProperties{},
	}
}

// collect books the outcomes in the order of sending: acknowledgements come in that order, and where they
// do not it only delays the window.
func (l *link3) collect() {
	for {
		select {
		case token := <-l.tokens:
			select {
			case <-token.Done():
				if err := token.Error(); err != nil {
					// 3.x has no negative acknowledgement: the connection is lost, which its handler
					// says better, or should be.
					select {
					case <-l.ended:
					case <-time.After(closeFlush):
						l.finish(lostError(err))
					}
					return
				}
				l.ledger.settle(nil)
				<-l.slots
			case <-l.ended:
				return
			}
		case <-l.ended:
			return
		}
	}
}

func (l *link3) Publish(ctx context.Context, m *paho.Publish) error {
	l.debugf("sending PUBLISH (q%d, r%t, %q, %d bytes)", m.QoS, m.Retain, m.Topic, len(m.Payload))
	if m.QoS == 0 {
		// Publish returns when the packet is on its way to the connection, before anything that follows.
		token := l.client.Publish(m.Topic, 0, m.Retain, m.Payload)
		select {
		case <-token.Done():
			return token.Error()
		default:
			return nil
		}
	}
	select {
	case l.slots <- struct{}{}:
	case <-l.ended:
		return l.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.ledger.begin()
	l.tokens <- l.client.Publish(m.Topic, m.QoS, m.Retain, m.Payload)
	return nil
}

func (l *link3) Drain(ctx context.Context) error { return l.ledger.drain(ctx, &l.lifetime) }

func (l *link3) Subscribe(ctx context.Context, s *paho.Subscribe) ([]byte, error) {
	filters := make(map[string]byte, len(s.Subscriptions))
	for _, sub := range s.Subscriptions {
		filters[sub.Topic] = sub.QoS
	}
	token, ok := l.client.SubscribeMultiple(filters, nil).(*mqtt3.SubscribeToken)
	if !ok {
		return nil, errors.New("paho.mqtt.golang: SubscribeMultiple returned an unknown token")
	}
	if err := l.await(ctx, token, "SUBACK"); err != nil {
		return nil, err
	}
	codes := make([]byte, len(s.Subscriptions))
	for i, sub := range s.Subscriptions {
		codes[i] = token.Result()[sub.Topic]
	}
	return codes, nil
}

func (l *link3) Unsubscribe(ctx context.Context, topicFilters []string) error {
	return l.await(ctx, l.client.Unsubscribe(topicFilters...), "UNSUBACK")
}

func (l *link3) await(ctx context.Context, token mqtt3.Token, answer string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	select {
	case <-token.Done():
		return token.Error()
	case <-l.ended:
		return l.Err()
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return fmt.Errorf("no %s within %v", answer, answerTimeout)
	}
}

func (l *link3) Disconnect() error {
	l.finish(nil)
	l.client.Disconnect(uint(closeFlush / time.Millisecond))
	err := within(closeFlush+maxLinger, l.conn.Close)
	l.debugf("sent DISCONNECT")
	return err
}

func (l *link3) Granted() granted { return l.granted }

var (
	_ link = (*link5)(nil)
	_ link = (*link3)(nil)
)
