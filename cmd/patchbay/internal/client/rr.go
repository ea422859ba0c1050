package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// rrOptions are the flags of rr.
type rrOptions struct {
	options
	payloadOptions
	outputOptions
	responseTopic string
	timeout       float64
}

func newRR() *cobra.Command {
	o := &rrOptions{}
	cmd := &cobra.Command{
		Use:   "rr -t TOPIC {-m TEXT | -f FILE | -n | -s} [-e RESPONSE-TOPIC] [flags]",
		Short: "Send a request and print the response (flags as mosquitto_rr)",
		Long: `Publish a request with a Response Topic and Correlation Data, wait for one response and
print it. Without -e the Response Topic is unique to this request, below the broker's
Response Information where it gives one. A response with other Correlation Data is not ours
and is passed over. MQTT 3.x has no such properties: -V 3.1.1 needs -e, and takes the first
message that arrives there.
Exit codes: 0 answered, 1 run-time error, 2 usage, 27 no response within -W.

` + formatHelp,
		Example: `  patchbay rr -t services/time -m now -W 5
  patchbay rr -t rpc/add -m '{"a":1,"b":2}' -F %J -q 1
  patchbay rr -V 3.1.1 -t rpc/add -e rpc/add/answer -m '1 2'`,
	}
	o.options.addTo(cmd, "topic to send the request to")
	o.payloadOptions.addTo(cmd)
	o.outputOptions.addTo(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.responseTopic, "response-topic", "e", "", "topic to wait for the response on (default unique)")
	f.Float64VarP(&o.timeout, "timeout", "W", 0, "seconds to wait for the response (default: for ever)")
	return finish(cmd, func(ctx context.Context, args []string) error { return o.run(ctx, cmd, args) })
}

func (o *rrOptions) run(ctx context.Context, cmd *cobra.Command, args []string) error {
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
	payload, err := o.read(cmd.InOrStdin())
	if err == nil {
		err = o.request(ctx, p, out, payload)
	}
	if flushErr := out.close(); err == nil {
		err = flushErr
	}
	return err
}

func (o *rrOptions) check(cmd *cobra.Command, p *plan) error {
	if err := oneSource(cmd, "mfns"); err != nil {
		return err
	}
	if len(p.topics) != 1 {
		return usagef("want exactly one topic, by -t or -L, not %d", len(p.topics))
	}
	if err := topic.ValidNameString(p.topics[0]); err != nil {
		return usagef("-t: %w", err)
	}
	if o.responseTopic == "" {
		o.responseTopic = p.properties.publish.ResponseTopic
	}
	if o.responseTopic != "" {
		if err := topic.ValidNameString(o.responseTopic); err != nil {
			return usagef("-e: %w", err)
		}
	} else if p.version != mqtt5 {
		return usagef("-e is missing: MQTT %s cannot tell the responder where to answer", o.version)
	}
	if cmd.Flags().Changed("timeout") && o.timeout <= 0 {
		return usagef("-W %v: want seconds above 0", o.timeout)
	}
	if p.properties.publish.CorrelationData == nil {
		p.properties.publish.CorrelationData = []byte(rand.Text())
	}
	if o.responseTopic == "" {
		// Brokers that know who may read what tell so by Response Information (MQTT 5 §3.1.2.11.6).
		p.connect.Properties.RequestResponseInfo = true
	}
	return nil
}

// request subscribes, publishes and waits.
func (o *rrOptions) request(ctx context.Context, p *plan, out *printer, payload []byte) error {
	correlation := p.properties.publish.CorrelationData
	l, err := connect(ctx, p, nil, func(_ link, m *paho.Publish) (more bool) {
		p.debugf("received PUBLISH (q%d, r%t, m%d, %q, %d bytes)", m.QoS, m.Retain, m.PacketID, m.Topic, len(m.Payload))
		got := m.Properties.CorrelationData
		if o.noRetained && m.Retain || len(got) > 0 && !bytes.Equal(got, correlation) {
			return true
		}
		out.print(m)
		return false
	})
	if err != nil {
		return err
	}
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(o.timeout*float64(time.Second)))
		defer cancel()
	}
	if err := o.exchange(ctx, p, l, payload); err != nil {
		_ = l.Disconnect() // err says more
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return &exitError{exitTimeout, fmt.Errorf("no response within %v s (-W)", o.timeout)}
		case endClean(ctx, err):
			return errInterrupted
		}
		return err
	}
	return l.Disconnect()
}

func (o *rrOptions) exchange(ctx context.Context, p *plan, l link, payload []byte) error {
	responseTopic := o.responseTopic
	if responseTopic == "" {
		responseTopic = "patchbay/rr/" + rand.Text()
		if info := l.Granted().responseInfo; info != "" {
			responseTopic = info + "/" + rand.Text()
		}
	}
	p.debugf("response topic %s", responseTopic)
	codes, err := l.Subscribe(ctx, &paho.Subscribe{
		Properties:    &p.properties.subscribe,
		Subscriptions: []paho.SubscribeOptions{{Topic: responseTopic, QoS: p.qos}},
	})
	if err != nil {
		return err
	}
	if len(codes) != 1 || packet.ReasonCode(codes[0]).IsError() {
		return &refusal{what: "cannot subscribe to the Response Topic " + responseTopic, reason: fmt.Sprintf("SUBACK % x", codes), advice: "choose another with -e"}
	}
	request := paho.Publish{Topic: p.topics[0], QoS: p.qos, Properties: &p.properties.publish}
	request.Properties.ResponseTopic = responseTopic
	s := &publisher{link: l, template: request, limit: payloadLimit(&request, l.Granted().maxPacketSize)}
	if err := s.send(ctx, payload); err != nil {
		return err
	}
	if err := l.Drain(ctx); err != nil {
		return err
	}
	select {
	case <-l.Enough():
		return nil
	case <-l.Ended():
		return l.Err()
	case <-ctx.Done():
		return errInterrupted
	}
}
