package trial

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// Line is one line of a recording: what a plugin is asked. Exactly one of Batch and
// Consume is there.
type Line struct {
	// Number of the line in its file, from 1.
	Number  int
	Batch   *pluginv1.Batch
	Consume *pluginv1.ConsumeBatch
}

// Answer is what a plugin has said to a Line. Exactly one of Answer and Result is there;
// a call that has failed is an Answer, or a Result, with its error.
type Answer struct {
	Answer *pluginv1.Answer
	Result *pluginv1.ConsumeResult
}

// maxLine bounds a line: the largest batch of the contract, in base64, with room to spare.
const maxLine = 64 << 20

// Read reads a recording: lines of JSON, each a Batch or a ConsumeBatch of the contract
// in protobuf's JSON mapping. Lines that are empty or begin with "#" are skipped. The
// error says in which line, and where in it.
func Read(r io.Reader) ([]Line, error) {
	var list []Line
	err := each(r, func(number int, text []byte) error {
		l := Line{Number: number}
		var kind struct {
			Point    json.RawMessage `json:"point"`
			Consumer *string         `json:"consumer"`
		}
		if err := json.Unmarshal(text, &kind); err != nil {
			return err
		}
		var m pluginv1.Proto
		if kind.Consumer != nil {
			l.Consume = new(pluginv1.ConsumeBatch)
			m = l.Consume
		} else {
			l.Batch = new(pluginv1.Batch)
			m = l.Batch
		}
		if err := v1json.UnmarshalJSON(text, m); err != nil {
			return err
		}
		list = append(list, l)
		return l.check(kind.Point)
	})
	return list, err
}

// check says what a broker would never ask.
func (l *Line) check(point json.RawMessage) error {
	if l.Consume != nil {
		if len(l.Consume.Deliveries) == 0 {
			return errors.New("the batch has no deliveries")
		}
		return clients(len(l.Consume.Clients), len(l.Consume.Deliveries), func(i int) uint32 { return l.Consume.Deliveries[i].Client })
	}
	switch b := l.Batch; {
	case point == nil:
		return errors.New(`it is neither a batch, which has a "point", nor messages for a consumer, which have its name in "consumer"`)
	case b.Point.Mode() == 0:
		return fmt.Errorf("%s is no point; POINT_AUTHENTICATE is one", point)
	case len(b.Events) == 0:
		return errors.New("the batch has no events")
	default:
		return clients(len(b.Clients), len(b.Events), func(i int) uint32 { return b.Events[i].Client })
	}
}

func clients(there, n int, client func(i int) uint32) error {
	for i := range n {
		if c := client(i); int64(c) > int64(there) {
			return fmt.Errorf("element %d is about client %d, and there are %d (they count from 1)", i, c, there)
		}
	}
	return nil
}

// each calls fn for each line that says something.
func each(r io.Reader, fn func(number int, text []byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	number := 0
	for s.Scan() {
		number++
		text := bytes.TrimSpace(s.Bytes())
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		if err := fn(number, text); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("line %d: %w", number+1, err)
	}
	return nil
}

// ReadAnswers reads the answers that are expected to lines: one line for each.
func ReadAnswers(r io.Reader, lines []Line) ([]Answer, error) {
	var list []Answer
	err := each(r, func(_ int, text []byte) error {
		if len(list) == len(lines) {
			return fmt.Errorf("there are more answers than the %d batches", len(lines))
		}
		var a Answer
		var m pluginv1.Proto
		if lines[len(list)].Consume != nil {
			a.Result = new(pluginv1.ConsumeResult)
			m = a.Result
		} else {
			a.Answer = new(pluginv1.Answer)
			m = a.Answer
		}
		list = append(list, a)
		return v1json.UnmarshalJSON(text, m)
	})
	if err == nil && len(list) < len(lines) {
		err = fmt.Errorf("there are %d answers to %d batches", len(list), len(lines))
	}
	return list, err
}

// Append appends the answer as a line, with its end.
func (a *Answer) Append(b []byte) []byte {
	if a.Result != nil {
		b = v1json.AppendJSON(b, a.Result)
	} else {
		b = v1json.AppendJSON(b, a.Answer)
	}
	return append(b, '\n')
}

// String tells in a few words what is asked: `authenticate, client c1, user ann`.
func (l *Line) String() string {
	if c := l.Consume; c != nil {
		return fmt.Sprintf("consume %s, %s", c.Consumer, about(len(c.Deliveries), c.Deliveries[0].Message))
	}
	b := l.Batch
	e := &b.Events[0]
	text := pluginhost.PointName(b.Point)
	if e.Client > 0 {
		c := &b.Clients[e.Client-1]
		if text += ", client " + c.ClientID; c.ClientID == "" {
			text += "without id"
		}
		if c.Username != "" {
			text += ", user " + c.Username
		}
	}
	m := messageOf(b, e)
	switch {
	case m != nil:
		return text + ", " + about(len(b.Events), m)
	case len(e.Subscriptions) > 0:
		text += ", " + e.Subscriptions[0].TopicFilter
	case e.Topic != "":
		text += ", " + e.Topic
	}
	if len(b.Events) > 1 {
		text += fmt.Sprintf(", and %d more", len(b.Events)-1)
	}
	return text
}

func about(n int, m *pluginv1.Message) string {
	text := "no message"
	if m != nil {
		text = fmt.Sprintf("%s, %d bytes", m.Topic, max(len(m.Payload), int(m.PayloadSize)))
	}
	if n > 1 {
		text += fmt.Sprintf(", and %d more", n-1)
	}
	return text
}
