package serve

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/patchbay-mq/patchbay/core/broker"
)

// settle gives memory back while the broker is at rest. A collector that works as seldom as
// tuneCollector has it leaves up to twice what lives behind after a burst (of clients that connect,
// of messages that were queued), and would do so until the next burst.
//
// A collection at rest is in nobody's way: it runs beside what little there is to do. It returns
// when ctx ends, and does nothing where the operator has set GOGC.
func settle(ctx context.Context, s *broker.Stats) {
	if os.Getenv("GOGC") != "" {
		return
	}
	const (
		look  = time.Second
		pause = 10 * time.Second // between two collections
	)
	t := time.NewTicker(look)
	defer t.Stop()
	var last time.Time
	before, quiet := work(s), 0
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		now := work(s)
		if now-before < restful {
			quiet++
		} else {
			quiet = 0
		}
		before = now
		if quiet < 2 || time.Since(last) < pause {
			continue
		}
		if worthwhile() {
			debug.FreeOSMemory()
			last = time.Now()
		}
	}
}

// restful is how much work a second may bring to a broker at rest.
const restful = 500

// work is how much a broker has done.
func work(s *broker.Stats) (n int64) {
	n = s.Accepted.Load()
	for i := range s.PacketsReceived {
		n += s.PacketsReceived[i].Load() + s.PacketsSent[i].Load()
	}
	return n
}

// worthwhile reports whether there is enough to be had: what may be garbage, and what is free and
// still ours, against what lived after the last collection.
func worthwhile() bool {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	objects, free, live := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()
	const least = 4 << 20
	return objects+free > live+max(least, live/4)
}
