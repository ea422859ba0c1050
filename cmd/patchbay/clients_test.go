package main_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
)

// target is a listener of a broker.
type target struct {
	network string // tcp, tls, ws, wss or unix
	address string
	tls     *tls.Config
	path    string // of WebSocket; "" is /mqtt
	header  http.Header
	preface []byte // sent before anything else: a PROXY header
}

func (b *broker) target(name string, t *tls.Config) target {
	network := name
	switch name {
	case "tcp", "tls", "ws", "wss", "unix":
	default:
		network = "tcp"
		if t != nil {
			network = "tls"
		}
	}
	return target{network: network, address: b.addr[name], tls: t}
}

func (t target) url() string {
	switch t.network {
	case "unix":
		return "unix://" + t.address
	case "ws", "wss":
		path := t.path
		if path == "" {
			path = "/mqtt"
		}
		return t.network + "://" + t.address + path
	case "tls":
		return "ssl://" + t.address
	}
	return "tcp://" + t.address
}

// dial opens a connection up to where MQTT begins, WebSocket as Paho does it.
func (t target) dial() (net.Conn, error) {
	if t.network == "ws" || t.network == "wss" {
		return mqtt3.NewWebsocket(t.url(), t.tls, patience, t.header, nil)
	}
	network := "tcp"
	if t.network == "unix" {
		network = "unix"
	}
	conn, err := net.DialTimeout(network, t.address, patience)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(t.preface); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if t.network != "tls" {
		return conn, nil
	}
	secure := tls.Client(conn, t.tls)
	if err := secure.Handshake(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// message is what a client got.
type message struct {
	Topic, Payload string
	QoS            byte
}

func (m message) String() string { return fmt.Sprintf("%d %s %s", m.QoS, m.Topic, m.Payload) }

// client is a connected client of one of the Go libraries.
type client interface {
	// subscribe asks for QoS 2; got is called for one message after the other.
	subscribe(filter string, got func(message)) error
	// publish returns when the message has been acknowledged as its QoS demands.
	publish(topic string, qos byte, payload string) error
	close()
}

// client3 is Paho for MQTT 3.1.1.
type client3 struct{ c mqtt3.Client }

// connect3 connects by MQTT 3.1.1. The client stays disconnected once it is.
func connect3(to target, id string, change ...func(*mqtt3.ClientOptions)) (*client3, error) {
	o := mqtt3.NewClientOptions().AddBroker(to.url()).SetClientID(id).SetProtocolVersion(4).SetTLSConfig(to.tls).
		SetAutoReconnect(false).SetConnectTimeout(patience).SetHTTPHeaders(to.header)
	if to.preface != nil {
		o.SetCustomOpenConnectionFn(func(*url.URL, mqtt3.ClientOptions) (net.Conn, error) { return to.dial() })
	}
	for _, f := range change {
		f(o)
	}
	c := &client3{mqtt3.NewClient(o)}
	return c, c.wait(c.c.Connect())
}

func (c *client3) wait(token mqtt3.Token) error {
	if !token.WaitTimeout(patience) {
		return errors.New("no answer")
	}
	return token.Error()
}

func (c *client3) subscribe(filter string, got func(message)) error {
	return c.wait(c.c.Subscribe(filter, 2, func(_ mqtt3.Client, m mqtt3.Message) {
		got(message{m.Topic(), string(m.Payload()), m.Qos()})
	}))
}

func (c *client3) publish(topic string, qos byte, payload string) error {
	return c.wait(c.c.Publish(topic, qos, false, payload))
}

func (c *client3) close() { c.c.Disconnect(0) }

// client5 is Paho for MQTT 5.
type client5 struct {
	c       *paho.Client
	connack *paho.Connack
	down    chan struct{}        // closed with the connection
	said    chan paho.Disconnect // the server's DISCONNECT

	mu  sync.Mutex
	got func(message)
}

// refused is the Reason Code of a CONNACK that lets nobody in.
type refused byte

func (r refused) Error() string { return fmt.Sprintf("CONNACK with Reason Code 0x%02X", byte(r)) }

// connect5 connects by MQTT 5.
func connect5(to target, id string, change ...func(*paho.Connect)) (*client5, error) {
	conn, err := to.dial()
	if err != nil {
		return nil, err
	}
	// Paho writes a packet in parts, and PINGREQ when it likes.
	conn = packets.NewThreadSafeConn(conn)
	c := &client5{down: make(chan struct{}), said: make(chan paho.Disconnect, 1)}
	var once sync.Once
	over := func() { once.Do(func() { close(c.down) }) }
	c.c = paho.NewClient(paho.ClientConfig{
		ClientID: id, Conn: conn, PacketTimeout: 4 * patience, // each call has a limit of its own
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){c.received},
		OnServerDisconnect: func(d *paho.Disconnect) {
			c.said <- *d
			over()
		},
		OnClientError: func(error) { over() },
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request := &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}
	for _, f := range change {
		f(request)
	}
	c.connack, err = c.c.Connect(ctx, request)
	switch {
	case err != nil && c.connack != nil:
		return nil, refused(c.connack.ReasonCode)
	case err != nil:
		_ = conn.Close() // Paho may have
		return nil, err
	}
	return c, nil
}

func (c *client5) received(p paho.PublishReceived) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.got != nil {
		c.got(message{p.Packet.Topic, string(p.Packet.Payload), p.Packet.QoS})
	}
	return true, nil
}

func (c *client5) subscribe(filter string, got func(message)) error {
	c.mu.Lock()
	c.got = got
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := c.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 2}}})
	return err
}

func (c *client5) publish(topic string, qos byte, payload string) error {
	return c.send(&paho.Publish{Topic: topic, QoS: qos, Payload: []byte(payload)})
}

func (c *client5) send(p *paho.Publish) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := c.c.Publish(ctx, p)
	return err
}

func (c *client5) close() { _ = c.c.Disconnect(&paho.Disconnect{}) }

// mustConnect5 connects and disconnects at the end of the test.
func mustConnect5(t testing.TB, to target, id string, change ...func(*paho.Connect)) *client5 {
	t.Helper()
	c, err := connect5(to, id, change...)
	if err != nil {
		t.Fatalf("%s: connect %s: %v", to.network, id, err)
	}
	t.Cleanup(c.close)
	return c
}

// mustConnect3 is the same for MQTT 3.1.1.
func mustConnect3(t testing.TB, to target, id string, change ...func(*mqtt3.ClientOptions)) *client3 {
	t.Helper()
	c, err := connect3(to, id, change...)
	if err != nil {
		t.Fatalf("%s: connect %s: %v", to.network, id, err)
	}
	t.Cleanup(c.close)
	return c
}

// roundTrip shows that a client is connected and served.
func roundTrip(t testing.TB, c client, topic string) {
	t.Helper()
	got := make(chan message, 1)
	if err := c.subscribe(topic, func(m message) { got <- m }); err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	if err := c.publish(topic, 1, "ping"); err != nil {
		t.Fatalf("publish: %v", err)
	}
	select {
	case m := <-got:
		if want := (message{topic, "ping", 1}); m != want {
			t.Fatalf("got %v, want %v", m, want)
		}
	case <-time.After(patience):
		t.Fatal("the message did not come back")
	}
}

// closedByPeer waits until the other side has closed the connection.
func closedByPeer(t testing.TB, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 512)
	for {
		_, err := conn.Read(buf)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("the connection stays open")
		}
		if err != nil {
			return
		}
	}
}
