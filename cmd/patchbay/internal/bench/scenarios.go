package bench

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func fanOutScenario() *scenario {
	return &scenario{
		name: "fan-out", short: "Few publishers, many subscribers to all of their topics",
		long: `
10 publishers send messages of 128 bytes over 128 topics; each of 2,000 subscribers
subscribes to all the topics (256,000 subscriptions), so that every message is
delivered 2,000 times.

By default each publisher sends one message per ms, 10,000/s together, which demands
20,000,000 deliveries/s: more than most brokers can do. They fall behind, and the
figure to look at is the deliveries/s achieved; latencies then grow with the run. Use
--rate 0 to go as fast as the broker can deliver, or a lower --rate for latencies.
Subscribing alone can take a broker a minute (see --setup-timeout).`,
		example: `
patchbay bench fan-out --rate 0
patchbay bench fan-out --subscribers 200 --rate 1000 -q 1 -V 3.1.1`,
		defaults: options{publishers: 10, subscribers: 2000, topics: 128, size: 128, rate: 10_000, window: 16, inflight: 256, duration: defaultDuration},
		flags:    fanFlags,
		check: func(o *options) error {
			if o.subscribers < 1 {
				return usagef("--subscribers %d: want at least 1", o.subscribers)
			}
			return o.checkPace()
		},
		conns: func(o *options) int { return o.publishers + o.subscribers },
		run:   runFan,
	}
}

func fanInScenario() *scenario {
	return &scenario{
		name: "fan-in", short: "Many publishers, few or no subscribers",
		long: `
2,000 publishers send 10 messages of 128 bytes each per ms over 128 topics. That
demands 20,000,000 messages/s, more than most brokers can take: they push back, and
the figure to look at is the messages/s achieved.

Nobody subscribes unless --subscribers says so; each of those subscribes to all the
topics. Without subscribers, a message at QoS 0 counts as published when the broker is
known to have read it, by the answer to a PINGREQ sent behind it.`,
		example: `
patchbay bench fan-in
patchbay bench fan-in --rate 100000 --subscribers 1 -q 1`,
		defaults: options{publishers: 2000, topics: 128, size: 128, rate: 20_000_000, window: 64, inflight: 64, duration: defaultDuration},
		flags:    fanFlags,
		check:    (*options).checkPace,
		conns:    func(o *options) int { return o.publishers + o.subscribers },
		run:      runFan,
	}
}

func fanFlags(cmd *cobra.Command, o *options) {
	f := cmd.Flags()
	f.IntVar(&o.publishers, "publishers", o.publishers, "publishers, each a connection; they send to all topics in turn")
	subscribers := "subscribers, each a connection, to all topics"
	if o.subscribers == 0 {
		subscribers += zeroDefault
	}
	f.IntVar(&o.subscribers, "subscribers", o.subscribers, subscribers)
	f.IntVar(&o.topics, "topics", o.topics, "topics")
	o.messageFlags(cmd)
	o.paceFlags(f)
}

func runFan(ctx context.Context, r *runner) error {
	o := &r.o
	all := make([]int, o.topics)
	topics := make([]string, o.topics)
	for i := range topics {
		all[i], topics[i] = i, fmt.Sprintf("%s/fan/%d", r.prefix, i)
	}
	return r.runTraffic(ctx, layout{
		topics:      topics,
		publishers:  o.publishers,
		topicsOf:    func(int) []int { return all },
		subscribers: o.subscribers,
		shareOf:     func(int) share { return share{0, o.publishers, 0, o.topics} },
		filtersOf:   func(int) []string { return topics },
		fan:         o.subscribers,
		persistent:  o.persistent,
	})
}

func pairScenario() *scenario {
	return &scenario{
		name: "pair", short: "Pairs of one publisher and one subscriber",
		long: `
Each of 100 publishers sends messages of 128 bytes to a topic of its own, to which one
subscriber subscribes: 10,000 messages/s by default, and as many deliveries. With
--rate 0 the pairs go as fast as their windows allow.`,
		example: `
patchbay bench pair -q 2
patchbay bench pair --pairs 10 --rate 1000 -d 1m     # latencies at leisure
patchbay bench pair --rate 0                         # throughput`,
		defaults: options{pairs: 100, size: 128, rate: 10_000, window: 256, inflight: 256, duration: defaultDuration},
		flags: func(cmd *cobra.Command, o *options) {
			cmd.Flags().IntVar(&o.pairs, "pairs", o.pairs, "pairs, two connections each")
			o.messageFlags(cmd)
			o.paceFlags(cmd.Flags())
		},
		check: func(o *options) error {
			if o.pairs < 1 {
				return usagef("--pairs %d: want at least 1", o.pairs)
			}
			o.publishers, o.subscribers, o.topics = o.pairs, o.pairs, o.pairs
			return o.checkPace()
		},
		conns: func(o *options) int { return 2 * o.pairs },
		run: func(ctx context.Context, r *runner) error {
			topics := make([]string, r.o.pairs)
			for i := range topics {
				topics[i] = fmt.Sprintf("%s/pair/%d", r.prefix, i)
			}
			return r.runTraffic(ctx, layout{
				topics:      topics,
				publishers:  r.o.pairs,
				topicsOf:    func(i int) []int { return []int{i} },
				subscribers: r.o.pairs,
				shareOf:     func(i int) share { return share{i, 1, 0, 1} },
				filtersOf:   func(i int) []string { return topics[i : i+1] },
				fan:         1,
				persistent:  r.o.persistent,
			})
		},
	}
}
