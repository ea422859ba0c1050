package services

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// With a real broker and a real client: what is published arrives, lists tell of the
// client, and a ban ends its connection with a Reason Code that DISCONNECT may carry.
func TestWithABroker(t *testing.T) {
	b, err := broker.New(func(o *broker.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Name: "l", Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.Broker = b.Plugins() })
	s := w.plugin(t, grantsNamed("publish", "publish_as_client", "retained", "clients", "ban")...)

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	send := func(frame []byte, err error) {
		if err == nil {
			_, err = c.Write(frame)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	next := func(want packet.Type) []byte {
		t.Helper()
		head, err := in.Peek(2)
		if err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, 2+int(head[1])) // all of them are short
		if _, err := io.ReadFull(in, frame); err != nil || packet.Type(frame[0]>>4) != want {
			t.Fatalf("got % x, %v, want %s", frame, err, want)
		}
		return frame[2:]
	}
	send((&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "real"}).Append(nil, packet.V5))
	next(packet.TypeConnack)
	send((&packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "$share/g/a/+"}}}).Append(nil, packet.V5))
	next(packet.TypeSuback)

	out, err := s.Publish(t.Context(), &pluginv1.PublishRequest{Messages: []pluginv1.Message{
		{Topic: "a/b", Payload: []byte("hello"), QoS: 1, Retain: true, ContentType: "x"}, {Topic: "nobody", QoS: 1},
	}})
	if err != nil || out.Results[0].Receivers != 1 || out.Results[1].ReasonCode != uint32(packet.NoMatchingSubscribers) {
		t.Fatalf("got %+v, %v", out, err)
	}
	if body := next(packet.TypePublish); string(body[len(body)-5:]) != "hello" {
		t.Errorf("received %q", body)
	}
	out, err = s.Publish(t.Context(), &pluginv1.PublishRequest{AsClient: "real", Messages: []pluginv1.Message{{Topic: "a/c", QoS: 1, Payload: []byte("self.")}}})
	if err != nil || out.Results[0].Receivers != 1 {
		t.Errorf("as the client: %+v, %v", out, err)
	}
	next(packet.TypePublish)
	kept, err := s.Retained(t.Context(), &pluginv1.RetainedRequest{TopicFilter: "a/#", Fields: uint32(pluginv1.FieldPayload | pluginv1.FieldProperties)})
	if err != nil || len(kept.Messages) != 1 || string(kept.Messages[0].Payload) != "hello" || kept.Messages[0].ContentType != "x" || kept.Messages[0].Origin != "tester" {
		t.Errorf("retained: %+v, %v", kept, err)
	}
	shown, err := s.Screen(t.Context(), &pluginv1.ScreenRequest{ClientID: "real", Messages: []pluginv1.Message{{Topic: "a/b", Payload: []byte("x")}, {Topic: "a/+"}}})
	if err != nil || len(shown.Results) != 2 || shown.Results[0] != (pluginv1.ScreenResult{}) || shown.Results[1].ReasonCode != uint32(packet.TopicNameInvalid) {
		t.Errorf("screened: %+v, %v", shown, err)
	}
	if shown, err = s.Screen(t.Context(), &pluginv1.ScreenRequest{ClientID: "nobody", Messages: []pluginv1.Message{{Topic: "a/b"}}}); err != nil ||
		shown.Results[0].ReasonCode != uint32(packet.NotAuthorized) {
		t.Errorf("screened for nobody: %+v, %v", shown, err)
	}
	clients, err := s.Clients(t.Context(), &pluginv1.ClientsRequest{Fields: uint32(pluginv1.FieldConnection)})
	if err != nil || len(clients.Clients) != 1 || clients.Clients[0].RemoteAddress != c.LocalAddr().String() {
		t.Errorf("clients: %+v, %v", clients, err)
	}
	subs, err := s.Subscriptions(t.Context(), &pluginv1.SubscriptionsRequest{Topic: "a/x"})
	if err != nil || len(subs.Subscriptions) != 1 || subs.Subscriptions[0].Subscription.TopicFilter != "$share/g/a/+" {
		t.Errorf("subscriptions: %+v, %v", subs, err)
	}
	ban, err := s.BanAdd(t.Context(), &pluginv1.BanAddRequest{Ban: &pluginv1.Ban{Address: "127.0.0.0/8", Reason: "go away"}})
	if err != nil || ban.Disconnected != 1 {
		t.Errorf("banned: %+v, %v", ban, err)
	}
	var d packet.Disconnect
	if err := d.Decode(packet.V5, next(packet.TypeDisconnect)); err != nil || d.Code != packet.AdministrativeAction {
		t.Errorf("disconnected with %+v, %v", d, err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("the connection is open: %v", err)
	}
}
