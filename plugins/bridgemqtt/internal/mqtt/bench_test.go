package mqtt

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// acknowledger is a server that acknowledges, for one client.
func acknowledger(b *testing.B) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		c := newConnection(nil, nil, nc, V5, false)
		for {
			h, err := readHeader(c.r)
			if err != nil {
				return
			}
			body, err := c.body(h.remaining)
			if err != nil {
				return
			}
			var out []byte
			switch h.kind {
			case typeConnect:
				out = []byte{0x20, 3, 0, 0, 0}
			case typePublish:
				p, _ := parsePublish(body, h.flags, V5)
				out = appendAck(nil, typePuback, p.id)
			}
			if _, err := nc.Write(out); err != nil {
				return
			}
		}
	}()
	return l.Addr().String()
}

// batch is how many messages a bridge has to publish at once.
const batch = 256

func BenchmarkLink(b *testing.B) {
	at, _ := ParseServer("mqtt://" + acknowledger(b))
	link := New(Options{Servers: []*Server{at}, Versions: []Version{V5}, KeepAlive: time.Minute, ConnectTimeout: wait, ReceiveMaximum: 10, MaxInflight: 500, RetryMin: time.Millisecond, RetryMax: time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go link.Run(ctx)
	b.ReportAllocs()
	payload := make([]byte, 100)
	list, memory := make([]*Outgoing, batch), make([]Outgoing, batch)
	for n := 0; n < b.N; n += batch {
		var wg sync.WaitGroup
		wg.Add(batch)
		for i := range list {
			memory[i] = Outgoing{Message: Message{Topic: "a/b/c", Payload: payload, QoS: 1}, Done: func(byte, string) { wg.Done() }}
			list[i] = &memory[i]
		}
		link.Publish(list)
		wg.Wait()
	}
}

// BenchmarkPaho is the same by paho.golang as its documentation says: a goroutine for each
// message that waits, and so without order. It is what doc.go says of it.
func BenchmarkPaho(b *testing.B) {
	nc, err := net.Dial("tcp", acknowledger(b))
	if err != nil {
		b.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{Conn: nc})
	if _, err := c.Connect(b.Context(), &paho.Connect{ClientID: "c", KeepAlive: 60, CleanStart: true}); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Disconnect(&paho.Disconnect{}) }()
	b.ReportAllocs()
	payload := make([]byte, 100)
	for n := 0; n < b.N; n += batch {
		var wg sync.WaitGroup
		for range batch {
			wg.Go(func() {
				if _, err := c.Publish(b.Context(), &paho.Publish{Topic: "a/b/c", Payload: payload, QoS: 1}); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
}
