package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/patchbay-mq/patchbay/core/topic"
)

// pubOptions are the flags of pub.
type pubOptions struct {
	options
	payloadOptions
	lines       bool
	retain      bool
	repeat      int
	repeatDelay float64
}

// payloadOptions say where one payload comes from; rr has them too.
type payloadOptions struct {
	message string
	file    string
	empty   bool
	stdin   bool
}

func (o *payloadOptions) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.message, "message", "m", "", "send this text")
	f.StringVarP(&o.file, "file", "f", "", "send the contents of a file")
	f.BoolVarP(&o.empty, "null-message", "n", false, "send an empty message (with -r: clear the retained message)")
	f.BoolVarP(&o.stdin, "stdin-file", "s", false, "send all of standard input as one message")
}

// oneSource checks that exactly one of the flags was given that say where the message comes from.
func oneSource(cmd *cobra.Command, letters string) error {
	var given []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Shorthand != "" && strings.Contains(letters, f.Shorthand) {
			given = append(given, "-"+f.Shorthand)
		}
	})
	switch all := "-" + strings.Join(strings.Split(letters, ""), ", -"); len(given) {
	case 0:
		return usagef("no message given: use one of %s", all)
	case 1:
		return nil
	default:
		return usagef("%s exclude each other: use one of %s", strings.Join(given, " and "), all)
	}
}

// read returns the payload.
func (o *payloadOptions) read(stdin io.Reader) ([]byte, error) {
	switch {
	case o.file != "":
		b, err := os.ReadFile(o.file)
		if err != nil {
			return nil, fmt.Errorf("-f: %w", err)
		}
		return b, nil
	case o.stdin:
		b, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return b, nil
	}
	return []byte(o.message), nil // empty with -n
}

func newPub() *cobra.Command {
	o := &pubOptions{}
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC {-m TEXT | -f FILE | -l | -n | -s} [flags]",
		Short: "Publish messages (flags as mosquitto_pub)",
		Long: `Publish messages and wait until the broker has acknowledged them.

Works with any MQTT broker; speaks MQTT 5 unless -V says otherwise.
Exit codes: 0 done, 1 run-time error (refused, connection lost, not acknowledged), 2 usage.`,
		Example: `  patchbay pub -t sensors/1 -m 21.5
  patchbay pub -t sensors/1 -m 21.5 -q 1 -r               # acknowledged and retained
  patchbay pub -t sensors/1 -r -n                         # clear the retained message
  tail -f app.log | patchbay pub -t logs/app -l -q 1      # one message a line
  patchbay pub -L mqtts://me:secret@broker.example/a/b --cafile ca.pem -f image.jpg
  patchbay pub -t a -m hi -D publish user-property origin shell -D publish message-expiry-interval 60`,
	}
	o.options.addTo(cmd, "topic to publish to")
	o.payloadOptions.addTo(cmd)
	f := cmd.Flags()
	f.BoolVarP(&o.lines, "stdin-line", "l", false, "send every line of standard input as a message")
	f.BoolVarP(&o.retain, "retain", "r", false, "retain the message")
	f.IntVar(&o.repeat, "repeat", 1, "publish the message so many times")
	f.Float64Var(&o.repeatDelay, "repeat-delay", 0, "seconds between repetitions")
	return finish(cmd, func(ctx context.Context, args []string) error { return o.run(ctx, cmd, args) })
}

func (o *pubOptions) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	p, err := o.resolve(cmd, args)
	if err != nil {
		return err
	}
	if err := o.check(cmd, p); err != nil {
		return err
	}
	var payload []byte
	if !o.lines {
		if payload, err = o.read(cmd.InOrStdin()); err != nil {
			return err
		}
	}
	l, err := connect(ctx, p, nil, func(link, *paho.Publish) bool { return true })
	if err != nil {
		return err
	}
	template := paho.Publish{Topic: p.topics[0], QoS: o.qos, Retain: o.retain, Properties: &p.properties.publish}
	s := &publisher{link: l, template: template, limit: payloadLimit(&template, l.Granted().maxPacketSize)}
	if o.lines {
		err = s.lines(ctx, cmd.InOrStdin())
	} else {
		err = s.repeat(ctx, payload, o.repeat, time.Duration(o.repeatDelay*float64(time.Second)))
	}
	return s.end(ctx, err)
}

// check has the rules between flags that cobra's groups do not express.
func (o *pubOptions) check(cmd *cobra.Command, p *plan) error {
	if err := oneSource(cmd, "mflns"); err != nil {
		return err
	}
	if len(p.topics) != 1 {
		return usagef("want exactly one topic, by -t or -L, not %d", len(p.topics))
	}
	if err := topic.ValidNameString(p.topics[0]); err != nil {
		return usagef("-t: %w", err)
	}
	if o.repeat < 1 || o.repeatDelay < 0 {
		return usagef("--repeat wants a number from 1, --repeat-delay seconds from 0")
	}
	if o.lines && (cmd.Flags().Changed("repeat") || cmd.Flags().Changed("repeat-delay")) {
		return usagef("--repeat and --repeat-delay do not go with -l")
	}
	return nil
}

// publisher sends payloads in the form of one template.
type publisher struct {
	link     link
	template paho.Publish
	limit    int // bytes of payload, -1 = none
}

func (s *publisher) send(ctx context.Context, payload []byte) error {
	if s.limit >= 0 && len(payload) > s.limit {
		return fmt.Errorf("a message of %d bytes is too large: the broker's Maximum Packet Size leaves %d for the payload", len(payload), s.limit)
	}
	m := s.template
	m.Payload = payload
	return s.link.Publish(ctx, &m)
}

func (s *publisher) repeat(ctx context.Context, payload []byte, times int, delay time.Duration) error {
	for i := range times {
		if i > 0 && delay > 0 && !sleep(ctx, delay) {
			return ctx.Err()
		}
		if err := s.send(ctx, payload); err != nil {
			return err
		}
	}
	return nil
}

// lines sends each line without its newline. A last line without one counts, as for mosquitto_pub.
func (s *publisher) lines(ctx context.Context, in io.Reader) error {
	type line struct {
		text []byte
		err  error
	}
	// Reading cannot be interrupted, so it has a goroutine that ends with the process or its input.
	read := make(chan line, 256)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		r := bufio.NewReaderSize(in, readBuffer)
		for {
			text, err := r.ReadBytes('\n')
			select {
			case read <- line{text, err}:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case l := <-read:
			if n := len(l.text); n > 0 {
				if l.text[n-1] == '\n' {
					l.text = l.text[:n-1]
				}
				if err := s.send(ctx, l.text); err != nil {
					return err
				}
			}
			if errors.Is(l.err, io.EOF) {
				return nil
			} else if l.err != nil {
				return fmt.Errorf("reading standard input: %w", l.err)
			}
		case <-s.link.Ended():
			return s.link.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end waits for what is in flight and disconnects. err is how publishing ended.
func (s *publisher) end(ctx context.Context, err error) error {
	wait := ctx
	if err != nil {
		// Something is wrong already; give what is in flight a moment, so that the count is right.
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeFlush)
		defer cancel()
		wait = short
	}
	drained := s.link.Drain(wait)
	if err == nil && drained == nil {
		select {
		case <-s.link.Ended():
			err = s.link.Err() // nothing was to be acknowledged, but QoS 0 may not have arrived
		default:
		}
	}
	disconnected := s.link.Disconnect()
	switch {
	case drained != nil && (err == nil || endClean(ctx, err) || errors.Is(drained, err)):
		return drained // says how many
	case err != nil && !endClean(ctx, err):
		return err
	}
	return disconnected
}

// payloadLimit is how many bytes of payload fit into a packet of max bytes with m's topic and properties;
// -1 if max is 0, which means no limit.
func payloadLimit(m *paho.Publish, maxPacketSize uint32) int {
	if maxPacketSize == 0 {
		return -1
	}
	head := *m
	head.Payload = nil
	size := 0
	for _, b := range head.Packet().Buffers() {
		size += len(b)
	}
	const fixedHeader = 5 // at most; a limit that is 3 bytes too low beats a closed connection
	return max(int(maxPacketSize)-fixedHeader-size, 0)
}
