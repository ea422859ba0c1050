package clock

import "sync"

// slots is the number of the wheel's slots: one turn takes 51.2 s, so that
// keep-alives (the bulk of all timers) are looked at once or twice before they
// are due, and an hour's Session Expiry 70 times.
const slots = 512

// Timer is one deadline. The zero value is not armed; the struct is meant to be
// embedded, so that arming allocates nothing. A Timer must not be copied after
// first use.
type Timer struct {
	// Fire is called when the deadline has passed, in the clock's goroutine: it
	// must not block. It is set before the first Arm and not changed after. The
	// timer may be armed again from within.
	Fire func(now int64)

	next, prev *Timer
	at         int64 // tick number
	armed      bool
}

type wheel struct {
	mu   sync.Mutex
	tick int64 // the last tick that was handled
	slot [slots]Timer
	due  []*Timer
}

func (w *wheel) init(now int64) {
	w.tick = now / tickMillis
	for i := range w.slot {
		s := &w.slot[i]
		s.next, s.prev = s, s
	}
}

// Arm sets t to fire at the Unix millisecond at or later, never earlier; an
// armed timer is moved. A deadline in the past fires with the next tick.
func (c *Clock) Arm(t *Timer, at int64) {
	w := &c.wheel
	w.mu.Lock()
	if t.armed {
		t.unlink()
	}
	t.at = max((at+tickMillis-1)/tickMillis, w.tick+1)
	t.armed = true
	head := &w.slot[t.at%slots]
	t.prev, t.next = head.prev, head
	head.prev.next = t
	head.prev = t
	w.mu.Unlock()
}

// Disarm takes t from the wheel and reports whether it was armed. When it
// returns false the timer's function may be running, or be about to run.
func (c *Clock) Disarm(t *Timer) bool {
	w := &c.wheel
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.armed {
		return false
	}
	t.unlink()
	return true
}

func (t *Timer) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
	t.armed = false
}

// advance handles the ticks up to now. The functions run without the lock; a
// timer that one of them disarms in the same tick may fire all the same.
func (w *wheel) advance(now int64) {
	target := now / tickMillis
	for {
		w.mu.Lock()
		if w.tick >= target {
			w.mu.Unlock()
			return
		}
		w.tick++
		w.due = w.due[:0]
		head := &w.slot[w.tick%slots]
		for t := head.next; t != head; {
			next := t.next
			if t.at <= w.tick {
				t.unlink()
				w.due = append(w.due, t)
			}
			t = next
		}
		due := w.due
		w.mu.Unlock()
		for i, t := range due {
			due[i] = nil
			t.Fire(now)
		}
	}
}
