package consume

import (
	"slices"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// maxHeld is how many messages may wait in memory, out of the order, for another
// attempt or for the publication of their dead letter, before nothing newer is read.
const maxHeld = 1024

// entry is a message that has been read and is not acknowledged yet. It owns a reference
// to the message.
type entry struct {
	hook.Queued
	size int
	// attempts is how often it has been handed over.
	attempts uint32
	// wanted says that the plugin itself has asked for it again, the last time.
	wanted bool
	// due is when it may be handed over again, or published again.
	due time.Time
	// reason and refusals are of a dead letter; refusals counts its publications.
	reason   string
	refusals uint32
}

// window is what has been read of the queue: the messages that come next, in order, and
// those that the plugin wants to see again later. What was handed over before (attempts > 0)
// precedes what was not.
type window struct {
	s     *settings
	order []*entry
	later []*entry // in no order
	// last is the offset up to which the queue has been read; more is set as long as
	// the queue has not said that it has nothing.
	last uint64
	more bool
	// bytes are those of order, held those of all other entries that are not free.
	bytes, held int
	spare       []*entry
}

func (w *window) init(s *settings) { w.s = s }

// room says how much may be read: two batches, so that the next one is there when
// the plugin answers. dead is the number of dead letters that are not published.
func (w *window) room(dead int) (n, bytes int) {
	if len(w.later)+dead >= maxHeld || w.held >= 4*w.s.batchBytes {
		return 0, 0
	}
	return 2*w.s.batch - len(w.order), 2*w.s.batchBytes - w.bytes
}

func (w *window) add(list []hook.Queued) {
	for i := range list {
		var e *entry
		if n := len(w.spare); n > 0 {
			e, w.spare = w.spare[n-1], w.spare[:n-1]
		} else {
			e = new(entry)
		}
		e.Queued, e.size = list[i], list[i].Message.Size()
		w.bytes += e.size
		w.order = append(w.order, e)
		w.last = e.Offset
	}
}

// next moves to batch, which is empty, what comes next, up to limit. If that has to wait, at
// is when it is worth asking again; the zero time stands for never. What has expired
// is moved to expired instead [MQTT-3.3.2-5].
func (w *window) next(now time.Time, limit int, batch, expired []*entry) (b, x []*entry, at time.Time) {
	at = w.rejoin(now)
	payload, n := 0, 0
	for ; n < len(w.order); n++ {
		e := w.order[n]
		if e.due.After(now) {
			if len(batch) == 0 {
				at = sooner(at, e.due)
			}
			break
		}
		if e.Message.Expired(now.UnixMilli()) {
			expired = append(expired, e)
			continue
		}
		if len(batch) > 0 {
			first := batch[0]
			if len(batch) >= limit || w.lastChance(first) || w.lastChance(e) || first.suspect() != e.suspect() {
				break
			}
			if payload+w.payload(e) > w.s.batchBytes {
				break
			}
		}
		payload += w.payload(e)
		batch = append(batch, e)
	}
	for _, e := range w.order[:n] {
		w.bytes -= e.size
		w.held += e.size
	}
	w.order = slices.Delete(w.order, 0, n)
	return batch, expired, at
}

// suspect reports whether the message may be why a batch has failed, and so must not be in
// one with messages that were not handed over yet. What the plugin has asked for
// again is not: a plugin that lets messages wait until there are more gets them together.
func (e *entry) suspect() bool { return e.attempts > 0 && !e.wanted }

// lastChance reports whether a message has one attempt left, and so must be alone.
func (w *window) lastChance(e *entry) bool {
	return w.s.maxAttempts != 0 && e.attempts+1 >= w.s.maxAttempts
}

// exhausted reports whether a message has no attempt left.
func (w *window) exhausted(e *entry) bool {
	return w.s.maxAttempts != 0 && e.attempts >= w.s.maxAttempts
}

func (w *window) payload(e *entry) int {
	if w.s.fields&pluginv1.FieldPayload == 0 {
		return 0
	}
	return len(e.Message.Payload)
}

// rejoin puts what is due among the others, by its offset, and returns when the next
// one is.
func (w *window) rejoin(now time.Time) (at time.Time) {
	keep := w.later[:0]
	for _, e := range w.later {
		if e.due.After(now) {
			at = sooner(at, e.due)
			keep = append(keep, e)
			continue
		}
		i, _ := slices.BinarySearchFunc(w.order, e, byOffset)
		w.order = slices.Insert(w.order, i, e)
		w.bytes += e.size
		w.held -= e.size
	}
	clear(w.later[len(keep):])
	w.later = keep
	return at
}

// putBack puts entries of the last batch, in order, before all others.
func (w *window) putBack(list []*entry) {
	for _, e := range list {
		w.bytes += e.size
		w.held -= e.size
	}
	w.order = slices.Insert(w.order, 0, list...)
}

// putLater puts an entry of the last batch aside until it is due.
func (w *window) putLater(e *entry) { w.later = append(w.later, e) }

// free gives an entry that is neither in order nor in later up, with its reference.
func (w *window) free(e *entry) {
	w.held -= e.size
	e.Message.Unref()
	*e = entry{}
	w.spare = append(w.spare, e)
}

// clear gives everything up.
func (w *window) clear() {
	for _, e := range slices.Concat(w.order, w.later) {
		e.Message.Unref()
	}
	w.order, w.later, w.spare = nil, nil, nil
	w.bytes, w.held = 0, 0
}

func (w *window) empty() bool { return len(w.order)+len(w.later) == 0 }

// head is the first message, or nil.
func (w *window) head() *entry {
	if len(w.order) == 0 {
		return nil
	}
	return w.order[0]
}

func byOffset(a, b *entry) int {
	switch {
	case a.Offset < b.Offset:
		return -1
	case a.Offset > b.Offset:
		return 1
	}
	return 0
}
