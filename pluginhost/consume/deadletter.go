package consume

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// User Properties of a dead letter.
const (
	propertyTopic    = "patchbay-topic"
	propertyConsumer = "patchbay-consumer"
	propertyReason   = "patchbay-reason"
)

// maxText bounds what a plugin says in words, in bytes.
const maxText = 1024

// publication is what the broker has said of a dead letter.
type publication struct {
	entry  *entry
	result hook.PublishResult
}

// giveUp makes a dead letter of a message that is not in the window.
func (r *Runner) giveUp(e *entry, reason string, now time.Time) {
	if e.reason = cutText(reason); e.reason == "" {
		e.reason = "given up by the plugin"
	}
	if r.Spec.DeadLetterTopic == "" {
		r.bury(e, now)
		return
	}
	if hops := hopsOf(e.Message); hops >= r.MaxHops {
		e.reason = cutText(fmt.Sprintf("%s (not published as a dead letter: %d plugins have published it in turn)", e.reason, hops))
		r.bury(e, now)
		return
	}
	r.publish(e, now)
}

// hopsOf is how many plugins have published m, or what it answers to.
func hopsOf(m *packet.Message) uint8 {
	if m.Origin == nil {
		return 0
	}
	return m.Origin.Hops
}

// publish hands a dead letter to the broker, which calls back once it is safe.
func (r *Runner) publish(e *entry, now time.Time) {
	m := e.Message
	props := packet.Properties{User: []packet.UserProperty{
		{Key: propertyTopic, Value: string(m.Topic)},
		{Key: propertyConsumer, Value: r.Spec.Name},
		{Key: propertyReason, Value: e.reason},
	}}
	wire, err := props.AppendForward(slices.Clone(m.Props))
	if err != nil {
		e.reason = cutText(e.reason + " (not published: " + err.Error() + ")")
		r.bury(e, now)
		return
	}
	letter := packet.Message{
		Topic: []byte(r.Spec.DeadLetterTopic), Payload: m.Payload, Props: wire, QoS: m.QoS,
		Received: now.UnixMilli(), Expires: m.Expires,
		Origin: &packet.Origin{Plugin: r.Plugin, Hops: hopsOf(m) + 1},
	}
	r.publishing[e] = struct{}{}
	r.Broker.Publish(e.Namespace, &letter, func(result hook.PublishResult) {
		r.mu.Lock()
		r.published = append(r.published, publication{e, result})
		r.mu.Unlock()
		r.wake()
	})
}

// afterPublication acknowledges a dead letter that is safe, and keeps one that is not.
func (r *Runner) afterPublication(p publication, now time.Time) {
	e := p.entry
	delete(r.publishing, e)
	if !p.result.Code.IsError() {
		r.bury(e, now)
		return
	}
	e.refusals++
	e.due = now.Add(r.backoff(e.refusals))
	r.unpublished = append(r.unpublished, e)
	text := fmt.Sprintf("dead letter not published: %v", p.result.Code)
	if p.result.Reason != "" {
		text += ": " + p.result.Reason
	}
	r.blame(text, now)
}

// republish tries again what the broker has refused, and returns when the next is due.
func (r *Runner) republish(now time.Time) (at time.Time) {
	waiting := r.unpublished
	r.unpublished = r.unpublished[:0]
	var due []*entry
	for _, e := range waiting {
		if e.due.After(now) {
			at = sooner(at, e.due)
			r.unpublished = append(r.unpublished, e)
		} else {
			due = append(due, e)
		}
	}
	for _, e := range due {
		r.publish(e, now)
	}
	return at
}

// bury acknowledges a dead letter, which has been published or has no topic to go to.
func (r *Runner) bury(e *entry, now time.Time) {
	ev := r.event(hook.DeadLettered, e, now)
	ev.Reason = e.reason
	ev.Plugin = r.Plugin
	r.Broker.Emit(ev)
	if left, ok := r.deathLog.pass(now); ok {
		r.Log.Warn("dead letter", "topic", string(e.Message.Topic), "namespace", e.Namespace, "offset", e.Offset,
			"attempts", e.attempts, "reason", e.reason, "published", r.Spec.DeadLetterTopic != "", "left_out", left)
	}
	r.counts.deadLetters.Add(1)
	r.queue.Ack(e.Offset)
	r.window.free(e)
}

// event is about one message of the queue.
func (r *Runner) event(p hook.Point, e *entry, now time.Time) *hook.Event {
	return &hook.Event{
		Point: p, Time: now.UnixMilli(), Client: e.Client, Message: e.Message, QoS: e.Message.QoS,
		Publisher: e.Message.Publisher, Namespace: e.Namespace,
	}
}

// cutText makes what a plugin says fit for a log and for a UTF-8 Encoded String
// [MQTT-1.5.4-1] [MQTT-1.5.4-2]: up to maxText bytes, no control characters.
func cutText(s string) string {
	if len(s) > maxText {
		n := maxText
		for n > maxText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
