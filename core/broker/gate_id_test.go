package broker

import (
	"testing"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// A message that an interceptor has changed has one id, for the queue that it goes into
// and for the gate that holds its acknowledgement.
func TestGateAndQueueSeeTheSameID(t *testing.T) {
	b, addr := start(t)
	ready := make(chan struct{}, 8)
	q, err := b.Plugins().OpenQueue(hook.QueueSpec{Owner: "p", Name: "q", Filters: []string{"#"}}, func() { ready <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	gated := make(chan uint64, 8)
	h := &fakeHost{
		publish: func(batch []*hook.PublishRequest, _ func()) bool {
			for _, r := range batch {
				m := r.Message
				r.Message = &packet.Message{Topic: m.Topic, Payload: []byte("changed"), Publisher: m.Publisher, Received: m.Received, QoS: m.QoS}
			}
			return true
		},
		gate: func(r *hook.GateRequest, _ func()) bool {
			gated <- r.Message.ID
			return true
		},
	}
	b.Install(h, hook.SetOf(hook.InterceptPublish, hook.GatePublish))
	p := connect(t, addr, "c")
	p.publish("t", "x", 1, 1)
	p.expectAck(packet.TypePuback, 1, packet.Success)
	var got []hook.Queued
	eventually(t, "the message in the queue", func() bool { got, _ = q.Read(0, 1, 1<<20); return len(got) == 1 })
	if id := <-gated; id != got[0].Message.ID || string(got[0].Message.Payload) != "changed" {
		t.Errorf("the gate has %d, the queue %d %s", id, got[0].Message.ID, got[0].Message.Payload)
	}
	got[0].Message.Unref()
}
