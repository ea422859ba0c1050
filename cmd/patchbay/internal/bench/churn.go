package bench

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/spf13/cobra"
)

// farewell is how long a client waits for the broker to close after DISCONNECT where
// it matters: in churn, because the side that closes first keeps the port busy for a
// minute (TIME_WAIT), and the client's side has only some 28,000.
const farewell = time.Second

// retryPause keeps a worker from hammering a broker that refuses.
const retryPause = 20 * time.Millisecond

func churnScenario() *scenario {
	return &scenario{
		name: "churn", short: "Connect, subscribe, disconnect, again and again",
		long: `
64 workers (--workers) connect, subscribe to a topic of their own and disconnect, as
fast as they can or at --rate. Reported are connects/s and the time from dialling to
SUBACK; with --rate it counts from the moment at which the connect was due.`,
		example: `
patchbay bench churn -d 30s
patchbay bench churn --rate 500 -V 3.1.1`,
		defaults: options{duration: defaultDuration},
		flags: func(cmd *cobra.Command, o *options) {
			f := cmd.Flags()
			o.qosFlag(cmd, "QoS of the subscription")
			f.Float64Var(&o.rate, "rate", 0, "connects/s of all workers together; 0 for as many as they can"+zeroDefault)
			o.durationFlag(f, "time to go on")
			f.Int64Var(&o.count, "count", 1_000_000, "connects at most")
		},
		check: func(o *options) error {
			switch {
			case o.duration <= 0:
				return usagef("--duration %v: want more than 0s", o.duration)
			case o.count < 1:
				return usagef("--count %d: want at least 1", o.count)
			}
			return nil
		},
		conns: func(o *options) int { return o.workers },
		run:   runChurn,
	}
}

// churn is what its workers share.
type churn struct {
	r      *runner
	start  time.Time
	next   atomic.Int64 // number of the next connect
	failed atomic.Int64
}

func runChurn(ctx context.Context, r *runner) error {
	r.sampler.enter(phaseMeasuring)
	ch := &churn{r: r, start: time.Now()}
	// One first: a broker that is not there is an error, not a result.
	if err := ch.once(ctx, 0, ch.start); err != nil {
		return err
	}
	ch.next.Store(1)
	timed, cancel := within(ctx, r.o.duration, context.DeadlineExceeded)
	defer cancel()
	var workers sync.WaitGroup
	for range r.o.workers {
		workers.Go(func() { ch.work(timed) })
	}
	workers.Wait()
	r.result.connected(int(r.opened.Load()), time.Since(ch.start))
	r.result.Connect.Failed = ch.failed.Load()
	return nil
}

// work connects until ctx ends or the count is reached. A worker takes the next
// connect that is due, whoever did the one before: a slow connect holds up the
// schedule only when all workers are busy.
func (ch *churn) work(ctx context.Context) {
	for {
		n := ch.next.Add(1) - 1
		if n >= ch.r.o.count || ctx.Err() != nil {
			return
		}
		due := time.Now()
		if rate := ch.r.o.rate; rate > 0 {
			due = ch.start.Add(time.Duration(float64(n) * 1e9 / rate))
			if !sleep(ctx, time.Until(due)) {
				return
			}
		}
		if err := ch.once(ctx, int(n), due); err != nil {
			if ctx.Err() != nil {
				return
			}
			ch.failed.Add(1)
			ch.r.note(err)
			if !sleep(ctx, retryPause) {
				return
			}
		}
	}
}

// once does connect number n and its farewell.
func (ch *churn) once(ctx context.Context, n int, due time.Time) error {
	r := ch.r
	id := fmt.Sprintf("%s-c%d", r.prefix, n)
	limited, cancel := within(ctx, r.o.setup, fmt.Errorf("not connected after %v (--setup-timeout)", r.o.setup))
	defer cancel()
	c, err := r.open(limited, n, connSpec{clientID: id, filters: []string{id}}, due)
	if err != nil {
		return err
	}
	r.alive.Add(1)
	defer r.alive.Add(-1)
	defer c.nc.Close()
	b, err := (&packet.Disconnect{}).Append(nil, c.version)
	if err != nil {
		return err
	}
	if _, err := c.send(b); err != nil {
		return fmt.Errorf("DISCONNECT: %w", err)
	}
	c.nc.SetReadDeadline(time.Now().Add(farewell))
	// Whatever ends the wait, the connect was done.
	_, _ = io.Copy(io.Discard, c.nc)
	return nil
}
