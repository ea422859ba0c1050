package sdk

import (
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// PublishBatch is a number of messages on their way, of one client mostly, in order.
type PublishBatch struct {
	requests  []PublishRequest
	decisions []Decision
}

// Len is the number of messages.
func (b *PublishBatch) Len() int { return len(b.requests) }

// At returns the i-th message, which may be changed.
func (b *PublishBatch) At(i int) *PublishRequest { return &b.requests[i] }

// Decide says what becomes of the i-th message. Without it, it continues.
func (b *PublishBatch) Decide(i int, d Decision) { b.decisions[i] = d }

// GateBatch is a number of messages whose acknowledgements wait.
type GateBatch struct {
	batch     *pluginv1.Batch
	decisions []Decision
}

// Len is the number of messages.
func (b *GateBatch) Len() int { return len(b.batch.Events) }

// Message returns the i-th message.
func (b *GateBatch) Message(i int) *Message { return messageOf(b.batch, i) }

// Client returns who published the i-th message.
func (b *GateBatch) Client(i int) *Client { return clientOf(b.batch.Clients, b.batch.Events[i].Client) }

// Decide says something of the i-th message alone: Deny, or Later. Without it, the
// message is as safe as Gate's error says of all.
func (b *GateBatch) Decide(i int, d Decision) { b.decisions[i] = d }

// EventBatch is a number of observations at one point.
type EventBatch struct {
	// Point of all events.
	Point Point
	// Lost is how many observations of this point were dropped before this batch,
	// because the plugin was too slow.
	Lost uint64

	batch *pluginv1.Batch
}

// Event is something that has happened. Which fields are set is said at each Point.
type Event struct {
	*pluginv1.Event
	// Client that it is about, an empty one if there is none.
	Client *Client
	// Message that it is about, an empty one if there is none.
	Message *Message
}

// Len is the number of events.
func (b *EventBatch) Len() int { return len(b.batch.Events) }

// At returns the i-th event.
func (b *EventBatch) At(i int) Event {
	e := &b.batch.Events[i]
	return Event{e, clientOf(b.batch.Clients, e.Client), messageOf(b.batch, i)}
}

// ConsumeBatch is a number of messages of one of Plugin.Queues, in order.
type ConsumeBatch struct {
	// Queue is its name.
	Queue string

	batch *pluginv1.ConsumeBatch
	marks []mark
}

// mark is what a consumer has said of a delivery.
type mark struct {
	outcome pluginv1.Outcome
	reason  string
	after   time.Duration
}

// Delivery is a message that is handed over.
type Delivery struct {
	// Offset grows from message to message and stays the same when it comes again.
	Offset uint64
	// Attempt is 1 for the first time.
	Attempt uint32
	Message *Message
	// Client published it; an empty one if that is not known.
	Client *Client
}

// Len is the number of messages.
func (b *ConsumeBatch) Len() int { return len(b.batch.Deliveries) }

// At returns the i-th message.
func (b *ConsumeBatch) At(i int) Delivery {
	d := &b.batch.Deliveries[i]
	m := d.Message
	if m == nil {
		m = &noMessage
	}
	return Delivery{d.Offset, d.Attempt, m, clientOf(b.batch.Clients, d.Client)}
}

// Ack acknowledges the i-th message also if Consume returns an error.
func (b *ConsumeBatch) Ack(i int) { b.marks[i] = mark{outcome: pluginv1.OutcomeOk} }

// Retry has the i-th message come again after a pause, 0 for the queue's own. What came
// after it in the batch and is acknowledged overtakes it.
func (b *ConsumeBatch) Retry(i int, after time.Duration, reason string) {
	b.marks[i] = mark{pluginv1.OutcomeRetry, reason, after}
}

// DeadLetter gives the i-th message up.
func (b *ConsumeBatch) DeadLetter(i int, reason string) {
	b.marks[i] = mark{outcome: pluginv1.OutcomeDeadLetter, reason: reason}
}

// StopAt acknowledges what comes before the i-th message, and has it and all after it
// come again: that keeps the order.
func (b *ConsumeBatch) StopAt(i int, after time.Duration, reason string) {
	for j := i; j < len(b.marks); j++ {
		b.marks[j] = mark{pluginv1.OutcomeRetry, reason, after}
	}
}

// What stands for what is absent. Plugins must not change what they get, these included.
var (
	noClient  Client
	noMessage Message
	noAuth    Authentication
)

// clientOf returns the n-th client, counted from 1.
func clientOf(list []Client, n uint32) *Client {
	if n == 0 || uint64(n) > uint64(len(list)) {
		return &noClient
	}
	return &list[n-1]
}

// messageOf returns the message of the i-th event, which may be an earlier one's.
func messageOf(b *pluginv1.Batch, i int) *Message {
	e := &b.Events[i]
	if e.Message != nil {
		return e.Message
	}
	if n := e.MessageOf; n > 0 && uint64(n) <= uint64(i) && b.Events[n-1].Message != nil {
		return b.Events[n-1].Message
	}
	return &noMessage
}
