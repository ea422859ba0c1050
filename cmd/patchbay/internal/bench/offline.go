package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func offlineScenario() *scenario {
	return &scenario{
		name: "offline", short: "Persistent sessions, messages while they are away, then they come back",
		long: `
1,000 clients subscribe, each to a topic of its own, with a session that outlives the
connection, and leave. 10 publishers send 100 messages to each; then the clients come
back and drain what was kept for them. Nothing may be lost, unless the broker's limit
of queued messages per session is lower. The sessions are removed at the end.

Reported are messages/s stored and delivered; latencies count from the moment at which
the clients begin to come back.`,
		example: `
patchbay bench offline
patchbay bench offline --subscribers 100 --messages 1000 -q 2`,
		defaults: options{publishers: 10, subscribers: 1000, messages: 100, size: 128, inflight: 256, qos: 1, duration: time.Minute},
		flags: func(cmd *cobra.Command, o *options) {
			f := cmd.Flags()
			f.IntVar(&o.subscribers, "subscribers", o.subscribers, "persistent sessions")
			f.IntVar(&o.publishers, "publishers", o.publishers, "publishers, each a connection, to the topics of as many sessions each")
			f.IntVar(&o.messages, "messages", o.messages, "messages for each session")
			o.messageFlags(cmd)
			o.durationFlag(f, "time that publishing may take at most")
		},
		check: func(o *options) error {
			switch {
			case o.qos == 0:
				return usagef("--qos 0: a session keeps messages of QoS 1 and 2 only while its client is away")
			case o.subscribers < 1:
				return usagef("--subscribers %d: want at least 1", o.subscribers)
			case o.messages < 1:
				return usagef("--messages %d: want at least 1", o.messages)
			}
			o.publishers, o.topics = min(o.publishers, o.subscribers), o.subscribers
			return o.checkMessages()
		},
		conns: func(o *options) int { return o.publishers + o.subscribers },
		run:   runOffline,
	}
}

// runOffline: topic i belongs to session i, and is number i/n of publisher i%n.
func runOffline(ctx context.Context, r *runner) error {
	o, n := &r.o, r.o.publishers
	topics := make([]string, o.subscribers)
	byPublisher := make([][]int, n)
	for i := range topics {
		topics[i] = fmt.Sprintf("%s/offline/%d", r.prefix, i)
		byPublisher[i%n] = append(byPublisher[i%n], i)
	}
	l := layout{
		topics:      topics,
		publishers:  n,
		topicsOf:    func(i int) []int { return byPublisher[i] },
		subscribers: o.subscribers,
		shareOf:     func(i int) share { return share{i % n, 1, i / n, 1} },
		filtersOf:   func(i int) []string { return topics[i : i+1] },
		persistent:  true,
	}
	t, err := newTraffic(r, l)
	if err != nil {
		return err
	}
	r.result.Messages.DeliveriesPerMessage = 1 // though not while they are away
	for i, p := range t.publishers {
		p.limit = int64(o.messages) * int64(len(byPublisher[i]))
	}
	r.sampler.enter(phaseConnecting)
	// Also after Ctrl-C: sessions must not be left behind.
	defer t.removeSessions(context.WithoutCancel(ctx))
	if err := t.connectSubscribers(ctx, l); err != nil {
		return err
	}
	t.leaveSubscribers()
	if err := t.connectPublishers(ctx); err != nil {
		return err
	}
	stored := t.store(ctx)
	off := &offlineResult{Sessions: o.subscribers, StoreSeconds: stored.Seconds()}
	r.result.Offline = off
	if ctx.Err() != nil {
		r.result.Messages.DeliveriesPerMessage = 0 // none was asked for yet
		return nil
	}

	r.sampler.enter(phaseMeasuring)
	back := time.Now()
	t.latencyFrom.Store(r.clock.now())
	l.filtersOf = func(int) []string { return nil } // their sessions have the subscriptions
	if err := t.connectSubscribers(ctx, l); err != nil && ctx.Err() == nil {
		return err
	}
	off.DrainSeconds = t.drain(ctx).Sub(back).Seconds()
	r.sampler.enter(phaseDraining)
	for _, s := range t.subscribers {
		if ctx.Err() == nil && !s.c.connack.SessionPresent {
			off.SessionsLost++
		}
	}
	return nil
}

// store publishes everything for the sessions and waits for the acknowledgements. It
// gives the time that took.
func (t *traffic) store(ctx context.Context) time.Duration {
	t.r.sampler.enter(phaseAway)
	begin := time.Now()
	done := t.begin()
	select {
	case <-done:
	case <-time.After(t.r.o.duration):
	case <-ctx.Done():
	}
	close(t.stop)
	return drain(t.r.o.drain, t.progress, func() bool {
		sent, acked, _ := t.totals()
		return acked >= sent
	}).Sub(begin)
}

// removeSessions connects as each subscriber once more with Clean Start, which ends
// its session. What fails stays for the broker to expire.
func (t *traffic) removeSessions(ctx context.Context) {
	conns := make([]*conn, 0, len(t.subscribers))
	specs := make([]connSpec, len(t.subscribers))
	for i, s := range t.subscribers {
		specs[i] = connSpec{clientID: t.subscriberID(i)}
		if s.c != nil {
			conns = append(conns, s.c)
		}
	}
	t.r.leave(conns)
	clean := make([]*conn, len(specs))
	_, _ = t.r.connectAll(ctx, specs, func(i int, c *conn) error {
		clean[i] = c
		return nil
	})
	conns = conns[:0]
	for _, c := range clean {
		if c != nil {
			conns = append(conns, c)
		}
	}
	t.r.leave(conns)
}
