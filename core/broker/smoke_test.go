package broker

import (
	"context"
	"fmt"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/patchbay-mq/patchbay/core/transport"
)

func startTest(t *testing.T, options ...func(*Options)) (*Broker, string) {
	t.Helper()
	b, err := New(options...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		b.Close(ctx)
	})
	return b, l.Addr().String()
}

func TestPahoSmoke(t *testing.T) {
	_, addr := startTest(t)
	for qos := byte(0); qos < 3; qos++ {
		got := make(chan string, 100)
		sub := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(fmt.Sprint("s", qos)))
		if tok := sub.Connect(); tok.Wait() && tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		sub.Subscribe("t/#", qos, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }).Wait()
		pub := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(fmt.Sprint("p", qos)))
		if tok := pub.Connect(); tok.Wait() && tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		for i := range 50 {
			pub.Publish("t/x", qos, false, fmt.Sprint(i)).Wait()
		}
		for i := range 50 {
			select {
			case m := <-got:
				if m != fmt.Sprint(i) {
					t.Fatalf("qos %d: got %s want %d", qos, m, i)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("qos %d: message %d missing", qos, i)
			}
		}
		pub.Disconnect(0)
		sub.Disconnect(0)
	}
}
