//go:build !race

package pluginhost

import (
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// The host itself allocates nothing for a message about which plugins have nothing to
// say, as long as they say so at once.
func TestInlineAnswersAllocateNothing(t *testing.T) {
	h, _ := newTestHost(t)
	defer closeHost(t, h)
	m := new(pluginv1.Manifest)
	for _, p := range []pluginv1.Point{
		pluginv1.PointInterceptPublish, pluginv1.PointAuthorizePublish, pluginv1.PointAuthorizeReceive, pluginv1.PointInterceptDeliver,
	} {
		m.Hooks = append(m.Hooks, pluginv1.Hook{Point: p, TopicFilters: []string{"t/#"}, Fields: uint32(pluginv1.FieldPayload | pluginv1.FieldProperties)})
	}
	for _, name := range []string{"a", "b"} {
		serve(t, h, name, newFake(func(*pluginv1.Batch, *pluginv1.Answer, func(error)) (bool, error) { return true, nil }), false, m)
	}
	c := client("c")
	var list []*hook.PublishRequest
	for range 16 {
		list = append(list, &hook.PublishRequest{Client: c, Message: keep("t/a", "payload", 1)})
	}
	view := &packet.Message{Topic: []byte("t/a"), Payload: []byte("payload"), Received: time.Now().UnixMilli()}
	authorize := &hook.AuthorizeRequest{Client: c, Point: hook.AuthorizePublish, Topic: "t/a"}
	receive := &hook.ReceiveRequest{Client: c, Message: view}
	done := func() {}
	for name, f := range map[string]func(){
		"Publish":   func() { h.Publish(list, done) },
		"Authorize": func() { h.Authorize(authorize, done) },
		"Receive":   func() { h.Receive(receive) },
	} {
		f()
		// Elsewhere, and by the race detector, one may be allocated now and then.
		if n := testing.AllocsPerRun(1000, f); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
