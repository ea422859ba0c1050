package bridge

import (
	"errors"

	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Message is one message for the other side. It is valid until Send returns.
type Message struct {
	*sdk.Message
	// Client published it; an empty one if that is not known.
	Client *sdk.Client
	// Offset of the message in its route: it grows, and stays the same when the message
	// comes again. 0: the message comes from the gate alone.
	Offset uint64
	// Attempt is 1 for the first time, and counts failures of this message alone.
	Attempt uint32

	place int // in the ConsumeBatch
}

type outcome uint8

const (
	unsaid outcome = iota
	done
	failed
	refused
)

// Batch is a number of messages of one route, in order. Its methods may be called by
// one goroutine at a time.
type Batch struct {
	Route    *Route
	Scope    *template.Scope
	Messages []Message

	waiting  *waiting // who is told at once of what is done
	source   template.Source
	outcomes []outcome
	reasons  []error
}

func newBatch(r *route, messages []Message) *Batch {
	return &Batch{
		Route: r.Route, Scope: &r.scope, Messages: messages, waiting: &r.waiting, outcomes: make([]outcome, len(messages)), reasons: make([]error, len(messages)),
	}
}

// Source returns what templates read of the i-th message, until the next call.
func (b *Batch) Source(i int) *template.Source {
	m := &b.Messages[i]
	if b.source.Message != m.Message {
		b.source.Reset(b.Scope, m.Message, m.Client)
	}
	return &b.source
}

// Done says that the other side has the i-th message. With ack: after_remote its publisher
// is told at once, also if the rest of the batch takes long.
func (b *Batch) Done(i int) {
	b.outcomes[i], b.reasons[i] = done, nil
	b.waiting.settle(b.Messages[i].Message, nil)
}

// Fail says that the other side has trouble with the i-th message itself: it comes again,
// before what came after it, and after max_attempts it becomes a dead letter.
func (b *Batch) Fail(i int, why error) { b.outcomes[i], b.reasons[i] = failed, why }

// Refuse says that there is no hope for the i-th message: it becomes a dead letter.
func (b *Batch) Refuse(i int, why error) { b.outcomes[i], b.reasons[i] = refused, why }

// Settled reports whether something has been said of the i-th message.
func (b *Batch) Settled(i int) bool { return b.outcomes[i] != unsaid }

// errNotSaid is for a Send that returns without a word of some messages.
var errNotSaid = errors.New("nothing was heard of the message")

// settle gives what Send has not spoken of its outcome: done, or with an error unsaid.
func (b *Batch) settle(err error) {
	if err != nil {
		return
	}
	for i, o := range b.outcomes {
		if o == unsaid {
			b.outcomes[i] = done
		}
	}
}
