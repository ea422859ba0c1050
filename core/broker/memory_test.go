package broker

import (
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/clock"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// Above the watermark publishers wait; one who holds a part of a large packet
// does not do so for ever; below it everyone goes on.
func TestMemoryWatermark(t *testing.T) {
	clk := clock.NewManual(time.Now())
	b, addr := start(t, func(o *Options) { o.Clock = clk })
	live := b.Live()
	live.Limits.Memory = 1
	b.SetLive(live)
	r := observe(t, b)
	sub, pub, part := connect(t, addr, "sub"), connect(t, addr, "pub"), connect(t, addr, "part")
	sub.subscribe("t", 0)
	clk.Advance(2 * time.Second)

	late := dial(t, addr)
	late.sendConnect("late")
	late.expectConnack(packet.ServerBusy)
	pub.publish("t", "1", 0, 0)
	sub.expectPublish("t", "1") // what has been read is served
	big, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: []byte("t"), Payload: make([]byte, 1<<20)})
	part.write(big[:100<<10])
	eventually(t, "both publishers to be held back", func() bool {
		b.memory.mu.Lock()
		defer b.memory.mu.Unlock()
		return len(b.memory.paused) == 2
	})
	pub.publish("t", "2", 0, 0)
	sub.expectQuiet()
	clk.Advance((partialMillis + 2000) * time.Millisecond)
	part.expectEnd(packet.QuotaExceeded)
	r.of(hook.LimitReached, "", "", reason("limits.memory"))
	if q := publishFor(t, b, "", text("t", "x", 0)); q.Code != packet.QuotaExceeded {
		t.Errorf("a plugin's publication: %+v", q)
	}

	live.Limits.Memory = 0
	b.SetLive(live)
	clk.Advance(2 * time.Second)
	sub.expectPublish("t", "2")
}
