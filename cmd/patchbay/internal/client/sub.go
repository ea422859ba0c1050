package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// subOptions are the flags of sub.
type subOptions struct {
	options
	outputOptions
	filterOut, unsubscribe       []string
	count                        int
	timeout                      float64
	exitAfterSub                 bool
	retainedOnly, removeRetained bool
	retainAsPublished, noLocal   bool
	subscriptionID               int
}

func newSub() *cobra.Command {
	o := &subOptions{}
	cmd := &cobra.Command{
		Use:   "sub -t FILTER [-t FILTER …] [flags]",
		Short: "Subscribe and print messages (flags as mosquitto_sub)",
		Long: `Subscribe to Topic Filters and print the messages that arrive.

Works with any MQTT broker; speaks MQTT 5 unless -V says otherwise. A lost connection is
made again, with growing pauses of 1 to 30 seconds.
Exit codes: 0 done (-C, -E, Ctrl-C), 1 run-time error, 2 usage, 27 -W ran out.

` + formatHelp,
		Example: `  patchbay sub -t 'sensors/#' -v
  patchbay sub -t 'sensors/+/temp' -F '%I %t %p' -q 1
  patchbay sub -t '$SYS/#' --json -W 5
  patchbay sub -t 'jobs/#' -c -i worker-1 -q 2          # a session that survives disconnection
  patchbay sub -t '$share/workers/jobs/#' -q 1          # share the work
  patchbay sub -t '#' --retained-only --remove-retained -W 2`,
	}
	o.options.addTo(cmd, "Topic Filter to subscribe to, repeatable")
	o.outputOptions.addTo(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&o.filterOut, "filter-out", "T", nil, "do not print topics that match this filter, repeatable")
	f.StringArrayVarP(&o.unsubscribe, "unsubscribe", "U", nil, "unsubscribe from this filter, repeatable (sessions kept with -c)")
	f.IntVarP(&o.count, "count", "C", 0, "end after so many messages")
	f.Float64VarP(&o.timeout, "timeout", "W", 0, "end after so many seconds, with exit code 27")
	f.BoolVarP(&o.exitAfterSub, "exit-after-subscribe", "E", false, "end when the broker has acknowledged the subscriptions")
	f.BoolVar(&o.retainedOnly, "retained-only", false, "print retained messages, end at the first other one")
	f.BoolVar(&o.removeRetained, "remove-retained", false, "clear the retained messages that arrive, but for those of -T")
	f.BoolVar(&o.retainAsPublished, "retain-as-published", false, "keep the retain flag as it was published (MQTT 5)")
	f.BoolVar(&o.noLocal, "no-local", false, "do not get what this client publishes (MQTT 5)")
	f.IntVar(&o.subscriptionID, "sub-id", 0, "Subscription Identifier, 1 to 268435455 (MQTT 5)")
	cmd.MarkFlagsMutuallyExclusive("retained-only", "no-retained")
	return finish(cmd, func(ctx context.Context, args []string) error { return o.run(ctx, cmd, args) })
}

func (o *subOptions) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	p, err := o.resolve(cmd, args)
	if err != nil {
		return err
	}
	if err := o.check(cmd, p); err != nil {
		return err
	}
	out, err := o.printer(cmd)
	if err != nil {
		return err
	}
	s := &subscriber{o: o, plan: p, out: out, stderr: cmd.ErrOrStderr(), state: newSessionState()}
	err = s.run(ctx)
	if flushErr := out.close(); err == nil {
		err = flushErr
	}
	return err
}

func (o *subOptions) check(cmd *cobra.Command, p *plan) error {
	if len(p.topics)+len(o.unsubscribe) == 0 {
		return usagef("no topic given: use -t FILTER")
	}
	for flag, filters := range map[string][]string{"-t": p.topics, "-T": o.filterOut, "-U": o.unsubscribe} {
		for _, filter := range filters {
			if _, err := topic.ParseFilter(filter); err != nil {
				return usagef("%s %s: %w", flag, filter, err)
			}
		}
	}
	changed := cmd.Flags().Changed
	if changed("count") && o.count < 1 {
		return usagef("-C %d: want a number from 1", o.count)
	}
	if changed("timeout") && o.timeout <= 0 {
		return usagef("-W %v: want seconds above 0", o.timeout)
	}
	if p.version != mqtt5 && (o.retainAsPublished || o.noLocal || o.subscriptionID != 0) {
		return usagef("--retain-as-published, --no-local and --sub-id need MQTT 5, but -V is %s", o.version)
	}
	if changed("sub-id") {
		if o.subscriptionID < 1 || o.subscriptionID > maxSubscriptionID {
			return usagef("--sub-id %d: want a number from 1 to %d", o.subscriptionID, maxSubscriptionID)
		}
		p.properties.subscribe.SubscriptionIdentifier = &o.subscriptionID
	}
	return nil
}

// subscriber runs sub, over as many connections as it takes.
type subscriber struct {
	o       *subOptions
	plan    *plan
	out     *printer
	stderr  io.Writer
	state   *sessionState
	printed int
}

const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// run connects, and connects again after a connection that was lost. A first connection that fails is
// the user's to know.
func (s *subscriber) run(ctx context.Context) error {
	var timeout <-chan time.Time
	connected, pause := false, firstPause
	for {
		l, err := connect(ctx, s.plan, s.state, s.handle)
		if err == nil {
			if s.o.timeout > 0 && !connected {
				timeout = time.After(time.Duration(s.o.timeout * float64(time.Second)))
			}
			connected, pause = true, firstPause
			var done bool
			if done, err = s.serve(ctx, l, timeout); done {
				return err
			}
		}
		var refused *refusal
		switch {
		case endClean(ctx, err):
			return nil
		case !connected, errors.As(err, &refused) && refused.permanent:
			return err
		}
		fmt.Fprintf(s.stderr, "%v; connecting again in %v\n", err, pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		case <-timeout:
			return s.timedOut()
		}
		pause = min(2*pause, maxPause)
	}
}

func (s *subscriber) timedOut() error {
	return &exitError{exitTimeout, fmt.Errorf("timed out after %v s (-W)", s.o.timeout)}
}

// serve subscribes and waits for one of the ends. done is false when another connection may help.
func (s *subscriber) serve(ctx context.Context, l link, timeout <-chan time.Time) (done bool, err error) {
	if err := s.subscribe(ctx, l); err != nil {
		select {
		case <-l.Ended(): // before the answer came
			return false, err
		default:
		}
		_ = l.Disconnect() // err says more
		if endClean(ctx, err) {
			err = nil
		}
		return true, err
	}
	if s.o.exitAfterSub {
		return true, l.Disconnect()
	}
	select {
	case <-l.Enough():
		return true, l.Disconnect()
	case <-ctx.Done():
		return true, l.Disconnect()
	case <-timeout:
		_ = l.Disconnect() // the exit code is the timeout's
		return true, s.timedOut()
	case <-s.out.failed:
		_ = l.Disconnect() // the printer's close reports why
		return true, nil
	case <-l.Ended():
		return false, l.Err()
	}
}

// subscribe subscribes and unsubscribes. It fails when the broker takes none of the filters.
func (s *subscriber) subscribe(ctx context.Context, l link) error {
	if len(s.plan.topics) > 0 {
		request := &paho.Subscribe{Properties: &s.plan.properties.subscribe}
		for _, filter := range s.plan.topics {
			request.Subscriptions = append(request.Subscriptions, paho.SubscribeOptions{
				Topic: filter, QoS: s.plan.qos, NoLocal: s.o.noLocal, RetainAsPublished: s.o.retainAsPublished,
			})
		}
		codes, err := l.Subscribe(ctx, request)
		if err != nil {
			return err
		}
		if err := s.report(codes); err != nil {
			return err
		}
	}
	if len(s.o.unsubscribe) > 0 {
		return l.Unsubscribe(ctx, s.o.unsubscribe)
	}
	return nil
}

// report says which filters the broker refused; all of them together are an error.
func (s *subscriber) report(codes []byte) error {
	var refusals []*refusal
	for i, filter := range s.plan.topics {
		if i >= len(codes) {
			return &refusal{what: "bad SUBACK", reason: "fewer answers than filters", permanent: true}
		}
		if packet.ReasonCode(codes[i]).IsError() {
			refusals = append(refusals, &refusal{what: "cannot subscribe to " + filter, reason: reasonText(codes[i]), permanent: true})
			continue
		}
		s.plan.debugf("subscribed to %s with QoS %d", filter, codes[i])
	}
	if len(refusals) == len(codes) {
		return refusals[0]
	}
	for _, r := range refusals {
		fmt.Fprintln(s.stderr, r)
	}
	return nil
}

// handle is the handler of the link: one message at a time. The order of its tests is mosquitto_sub's.
func (s *subscriber) handle(l link, m *paho.Publish) (more bool) {
	s.plan.debugf("received PUBLISH (q%d, r%t, m%d, %q, %d bytes)", m.QoS, m.Retain, m.PacketID, m.Topic, len(m.Payload))
	if s.o.retainedOnly && !m.Retain {
		return false
	}
	for _, filter := range s.o.filterOut {
		if topic.Match(filter, m.Topic) {
			return true
		}
	}
	if s.o.removeRetained && m.Retain {
		s.clear(l, m.Topic)
	}
	if m.Retain && s.o.noRetained {
		return true
	}
	s.out.print(m)
	s.printed++
	return s.o.count == 0 || s.printed < s.o.count
}

// clear removes a retained message. QoS 0, because a handler that waited for an acknowledgement would
// wait for itself; the connection keeps the order, so it arrives before DISCONNECT.
func (s *subscriber) clear(l link, name string) {
	err := l.Publish(context.Background(), &paho.Publish{Topic: name, Retain: true, Properties: &paho.PublishProperties{}})
	if err != nil {
		fmt.Fprintf(s.stderr, "cannot clear the retained message of %s: %v\n", name, err)
	}
}
