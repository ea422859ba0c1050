package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/spf13/cobra"
)

func idleScenario() *scenario {
	return &scenario{
		name: "idle", short: "Many connections that do nothing",
		long: `
Opens 10,000 connections, --workers of them at a time, and keeps them for -d; nothing
is sent but PINGREQ. Reported are connects/s, the time from dialling to CONNACK, and
how many connections the broker has dropped; look at its memory meanwhile.

More than 20,000 connections to a loopback address leave from 127.0.0.1, 127.0.0.2 and
so on (Linux); to another address the local ports, some 28,000, are the limit.`,
		example: `
patchbay bench idle --connections 50000 -d 1m
patchbay bench idle --workers 500 -d 0s              # only the connect rate`,
		defaults: options{connections: 10_000, duration: defaultDuration},
		flags: func(cmd *cobra.Command, o *options) {
			f := cmd.Flags()
			f.IntVar(&o.connections, "connections", o.connections, "connections")
			o.durationFlag(f, "time to stay connected")
		},
		check: func(o *options) error {
			if o.connections < 1 {
				return usagef("--connections %d: want at least 1", o.connections)
			}
			return nil
		},
		conns: func(o *options) int { return o.connections },
		run:   runIdle,
	}
}

func runIdle(ctx context.Context, r *runner) error {
	specs := make([]connSpec, r.o.connections)
	for i := range specs {
		specs[i].clientID = fmt.Sprintf("%s-i%d", r.prefix, i)
	}
	r.sampler.enter(phaseMeasuring)
	took, err := r.connectAll(ctx, specs, func(_ int, c *conn) error {
		r.serve(c, idler{c}, nil)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	r.result.connected(int(r.opened.Load()), took)
	start := time.Now()
	r.sampler.enter(phaseStaying)
	sleep(ctx, r.o.duration)
	r.result.Idle = &idleResult{Seconds: time.Since(start).Seconds(), Connections: r.alive.Load()}
	return nil
}

// idler takes nothing but PINGRESP.
type idler struct{ c *conn }

func (i idler) handle(h packet.Header, body []byte, _ int64) error {
	if h.Type != packet.TypePingresp {
		return i.c.unexpected(h, body)
	}
	return nil
}

func (idler) flush(int64) error { return nil }
