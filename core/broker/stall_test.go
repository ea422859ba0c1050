package broker

import (
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// flood publishes n numbered messages as fast as the socket takes them.
func flood(p *peer, topic string, n int, qos byte) chan error {
	done := make(chan error, 1)
	go func() {
		var b []byte
		payload := make([]byte, 1000)
		for i := range n {
			binary.BigEndian.PutUint32(payload, uint32(i))
			b, _ = packet.AppendPublish(b[:0], p.v, &packet.PublishOut{Topic: []byte(topic), Payload: payload, QoS: qos, PacketID: uint16(i%1000 + 1)})
			if _, err := p.nc.Write(b); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return done
}

// A bulk transfer to one receiver that reads more slowly than its publisher
// writes loses nothing.
func TestPublisherIsSlowedToItsOnlyReceiver(t *testing.T) {
	const n = 20_000
	for qos := byte(0); qos < 2; qos++ {
		b, addr := start(t, func(o *Options) { o.Limits.PublisherStall = patience })
		sub, pub := connect(t, addr, "sub"), connect(t, addr, "pub")
		sub.subscribe("bulk", qos)
		if qos > 0 {
			go io.Copy(io.Discard, pub.nc) // acknowledgements
		}
		done := flood(pub, "bulk", n, qos)
		eventually(t, "the publisher to be held back", func() bool { return b.stats.PacketsReceived[packet.TypePublish].Load() > 100 })
		for i := range n {
			h, body := sub.read()
			var m packet.Publish
			if err := packet.DecodePublish(&m, sub.v, h, body, true); err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint32(m.Payload); got != uint32(i) {
				t.Fatalf("QoS %d: message %d after %d", qos, got, i-1)
			}
			if qos > 0 {
				sub.sendAck(packet.TypePuback, m.PacketID, packet.Success)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if d := b.stats.TotalDropped(); d != 0 {
			t.Errorf("QoS %d: %d messages were dropped", qos, d)
		}
	}
}

// A receiver that has stopped reading holds its publisher up once, and then
// loses messages with a reason.
func TestStuckReceiverDoesNotHoldThePublisherUp(t *testing.T) {
	b, addr := start(t, func(o *Options) { o.Limits.PublisherStall = 200 * time.Millisecond })
	sub, pub := connect(t, addr, "sub"), connect(t, addr, "pub")
	sub.subscribe("bulk", 0)
	if err := <-flood(pub, "bulk", 30_000, 0); err != nil {
		t.Fatal(err)
	}
	pub.expectQuiet()
	if b.stats.Dropped(hook.DropOutBufferFull) == 0 {
		t.Error("nothing was dropped; where did 30 MB go?")
	}
	if got := b.Gauges(); got.MemoryUsed > 1<<30 {
		t.Errorf("memory: %d bytes", got.MemoryUsed)
	}
}
