package ask

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/client"
)

// request is a question as the assistant takes it.
type request struct {
	Message string   `json:"message"`
	System  string   `json:"system,omitempty"`
	Stream  bool     `json:"stream,omitempty"`
	Image   []string `json:"image,omitempty"`
	Reset   bool     `json:"reset,omitempty"`
}

// answer is what comes back, whole or in pieces.
type answer struct {
	ID    string     `json:"id"`
	Seq   int        `json:"seq"`
	Text  string     `json:"text"`
	End   bool       `json:"end"`
	Reset bool       `json:"reset"`
	Error *toldError `json:"error"`
	Usage struct {
		In        int     `json:"input_tokens"`
		Out       int     `json:"output_tokens"`
		Cost      float64 `json:"cost"`
		ToolCalls int     `json:"tool_calls"`
	} `json:"usage"`
}

// toldError is an error of the assistant's.
type toldError struct {
	Code       string `json:"code"`
	Message    string `json:"message"`
	RetryAfter int    `json:"retry_after"`
}

func (e *toldError) Error() string {
	text := e.Code + ": " + plain(e.Message)
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(" (again in %s)", time.Duration(e.RetryAfter)*time.Second)
	}
	return text
}

// message is what came on one of the answer topics.
type message struct {
	piece       bool
	payload     []byte
	correlation string
}

// exchange is a connection in one conversation. It is for one goroutine.
type exchange struct {
	o        *options
	base     string // PREFIX/ASSISTANT/CONVERSATION
	images   []string
	out, err io.Writer
	terminal bool // out is one
	session  *client.Session
	messages chan message
	begun    bool // a question was asked
}

func (e *exchange) connect(ctx context.Context, cmd *cobra.Command) (err error) {
	own, pieces := e.base+"/answer", e.base+"/answer/stream"
	e.session, err = e.o.Connect(ctx, cmd, func(m *paho.Publish) {
		in := message{piece: m.Topic == pieces, payload: m.Payload}
		if m.Properties != nil {
			in.correlation = string(m.Properties.CorrelationData)
		}
		if m.Topic != own && !in.piece || m.Retain {
			return
		}
		select {
		case e.messages <- in:
		default: // nobody reads; the answer comes whole in the end
		}
	})
	if err != nil {
		return err
	}
	if err := e.session.Subscribe(ctx, own, pieces); err != nil {
		_ = e.session.Close() // err says more
		return err
	}
	return nil
}

// ask asks a question and prints the answer.
func (e *exchange) ask(ctx context.Context, question string) error {
	ctx, cancel := context.WithTimeout(ctx, e.o.timeout)
	defer cancel()
	r := request{Message: question, System: e.o.system, Stream: !e.o.whole && !e.o.json, Image: e.images, Reset: e.o.forget && !e.begun}
	e.begun, e.images = true, nil
	body, err := json.Marshal(&r)
	if err != nil {
		return fmt.Errorf("encoding the question: %w", err)
	}
	correlation := rand.Text()
	kind := "application/json"
	p := &paho.PublishProperties{CorrelationData: []byte(correlation), ContentType: kind}
	if err := e.session.Publish(ctx, e.base+"/ask", body, p); errors.Is(err, client.ErrNobody) {
		return errors.New("nobody listens on " + e.base + "/ask: is the plugin assistant on, with that prefix?")
	} else if err != nil {
		return err
	}
	return e.await(ctx, correlation)
}

// await prints what comes until the answer is there.
func (e *exchange) await(ctx context.Context, correlation string) error {
	var printed strings.Builder
	next := 0
	for {
		select {
		case m := <-e.messages:
			if m.correlation != "" && m.correlation != correlation {
				continue
			}
			var a answer
			if err := json.Unmarshal(m.payload, &a); err != nil {
				return fmt.Errorf("the answer is not the assistant's: %w", err)
			}
			if !m.piece {
				return e.finish(&a, m.payload, printed.String())
			}
			if a.Seq == next && a.Text != "" {
				next++
				printed.WriteString(a.Text)
				fmt.Fprint(e.out, e.shown(a.Text))
			}
		case <-e.session.Ended():
			return e.session.Err()
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return client.TimeoutError("no answer within %s (--timeout)", e.o.timeout)
			}
			return errors.New("interrupted")
		}
	}
}

// shown is a text as it is printed. A pipe gets it as it is.
func (e *exchange) shown(text string) string {
	if !e.terminal {
		return text
	}
	return plain(text)
}

// plain leaves control characters out, into which a model can be talked and which a terminal
// would obey.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
}

// finish prints what is left to print of a whole answer.
func (e *exchange) finish(a *answer, payload []byte, printed string) error {
	if a.Error != nil {
		if printed != "" {
			fmt.Fprintln(e.out)
		}
		return a.Error
	}
	switch rest, ok := strings.CutPrefix(a.Text, printed); {
	case e.o.json:
		fmt.Fprintln(e.out, string(payload))
	case a.Reset && a.Text == "":
		fmt.Fprintln(e.err, "forgotten")
	case ok:
		fmt.Fprintln(e.out, e.shown(strings.TrimRight(rest, "\n")))
	default: // a piece was lost
		fmt.Fprintln(e.out, "\n\n"+e.shown(strings.TrimRight(a.Text, "\n")))
	}
	if e.o.usage {
		fmt.Fprintf(e.err, "%d tokens read, %d written", a.Usage.In, a.Usage.Out)
		if a.Usage.Cost > 0 {
			fmt.Fprintf(e.err, ", cost %.6g", a.Usage.Cost)
		}
		fmt.Fprintln(e.err)
	}
	return nil
}
