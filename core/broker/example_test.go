package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// A broker inside another program: it listens, and the program itself publishes
// and subscribes.
func Example() {
	b, err := broker.New(func(o *broker.Options) {
		o.MQTT.MaxQoS = 1
		o.Logger = slog.New(slog.DiscardHandler)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = b.Listen(broker.Listener{
		Transport:      transport.ListenerConfig{Name: "local", Network: "tcp", Address: "127.0.0.1:0"},
		AllowAnonymous: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	got := make(chan broker.Message, 1)
	cancel, err := b.Subscribe("plant/+/state", func(m broker.Message) { got <- m })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cancel()
	n, err := b.Publish(broker.Message{Topic: "plant/press/state", Payload: []byte("on")})
	if err != nil {
		fmt.Println(err)
		return
	}
	m := <-got
	fmt.Println(n, m.Topic, string(m.Payload))

	ctx, stop := context.WithCancel(context.Background())
	stop() // at once, in this example; a program would pass a context that ends with a signal
	fmt.Println(b.Serve(ctx, 5*time.Second))
	// Output:
	// 1 plant/press/state on
	// <nil>
}

// onlyAnn lets one user in. A Host has more methods; embedding the interface
// leaves out those whose points are not installed.
type onlyAnn struct{ hook.Host }

func (onlyAnn) Authenticate(r *hook.AuthRequest, done func()) bool {
	r.Result.Accept = r.Client.Username == "ann" && string(r.Connect.Password) == "secret"
	return true // answered at once; false would mean that done is called later
}

// A program that embeds the broker decides itself who may connect.
func ExampleBroker_Install() {
	b, err := broker.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	b.Install(onlyAnn{}, hook.SetOf(hook.Authenticate))
	fmt.Println(b.Close(context.Background()))
	// Output: <nil>
}
