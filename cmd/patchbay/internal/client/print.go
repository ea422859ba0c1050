package client

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"
)

// formatHelp is the part of --help about -F.
const formatHelp = `Output format (-F), as of mosquitto_sub:
  %t topic   %p payload   %x %X payload in hexadecimal   %l its length   %q QoS   %r retain flag
  %m Packet Identifier   %j JSON object   %J the same with a JSON payload embedded (--pretty indents)
  %A Topic Alias   %C Content Type   %D Correlation Data   %E Message Expiry Interval
  %F Payload Format Indicator   %P User Properties   %R Response Topic   %S Subscription Identifier
  %I ISO 8601 time   %U Unix time with nanoseconds   @X as %X of strftime(3)   @N nanoseconds
  %% @@ \\ the character itself   \0 \a \e \n \r \t \v   widths: %20t %-20t %08l %10.10t`

// outputOptions are the flags about printing that sub and rr share.
type outputOptions struct {
	format     string
	noNewline  bool
	verbose    bool
	json       bool
	pretty     bool
	noRetained bool
}

func (o *outputOptions) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.format, "format", "F", "", "output format, see above")
	f.BoolVarP(&o.noNewline, "no-newline", "N", false, "print no newline after a message")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print the topic before the payload")
	f.BoolVar(&o.json, "json", false, "print each message as a JSON object (-F %j)")
	f.BoolVar(&o.pretty, "pretty", false, "indent JSON")
	f.BoolVarP(&o.noRetained, "no-retained", "R", false, "do not print retained messages")
	cmd.MarkFlagsMutuallyExclusive("format", "json")
	complete(cmd, "format", "%t\ttopic", "%p\tpayload", "%j\tJSON object", "%J\tJSON object with JSON payload", "%I %t %p\ttime, topic and payload")
}

// printer compiles the format; its errors are of usage.
func (o *outputOptions) printer(cmd *cobra.Command) (*printer, error) {
	text := "%p"
	switch {
	case o.format != "":
		text = o.format
	case o.json:
		text = "%j"
	case o.verbose:
		text = "%t %p"
	}
	f, err := compileFormat(text, o.pretty)
	if err != nil {
		return nil, usagef("-F: %w", err)
	}
	return &printer{
		format: f, newline: !o.noNewline, stderr: cmd.ErrOrStderr(),
		out: newFlushWriter(cmd.OutOrStdout()), failed: make(chan struct{}),
	}, nil
}

// printer writes messages to standard output. Its methods but close are called by one goroutine.
type printer struct {
	format  *format
	newline bool
	stderr  io.Writer
	out     *flushWriter
	buf     []byte
	failed  chan struct{} // closed when standard output takes no more
	once    sync.Once
}

// print prints m. With QoS 1 and 2 it returns when the output has been written, because the message is
// acknowledged after that: a message that got lost on its way to standard output will be sent again.
func (p *printer) print(m *paho.Publish) {
	var err error
	if p.buf, err = p.format.append(p.buf[:0], m, time.Now()); err != nil {
		fmt.Fprintln(p.stderr, err)
		return
	}
	if p.newline {
		p.buf = append(p.buf, '\n')
	}
	_, err = p.out.Write(p.buf)
	if err == nil && m.QoS > 0 {
		err = p.out.Flush()
	}
	if err != nil {
		p.once.Do(func() { close(p.failed) })
	}
}

// close writes out what is buffered. It returns the error that made printing fail.
func (p *printer) close() error {
	if err := p.out.Close(); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}
