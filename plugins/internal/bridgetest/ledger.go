package bridgetest

import (
	"fmt"
	"sync"
)

// Ledger knows what was published, and what was acknowledged to publishers. It is safe for
// concurrent use.
type Ledger struct {
	mu                          sync.Mutex
	fate                        map[string][]fate // by key; the index is N
	sent, acknowledged, refused int
}

// fate is what a publisher was told of a message.
type fate byte

const (
	unanswered fate = iota
	acknowledged
	refused
)

// NewLedger returns a Ledger without messages.
func NewLedger() *Ledger { return &Ledger{fate: map[string][]fate{}} }

// Next notes a message that is about to be published for the first time, and returns it.
func (l *Ledger) Next(key string) Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := Message{Key: key, N: len(l.fate[key])}
	l.fate[key] = append(l.fate[key], unanswered)
	l.sent++
	return m
}

// Acknowledged notes that a publisher was told that its message is safe.
func (l *Ledger) Acknowledged(m Message) { l.answer(m, acknowledged, &l.acknowledged) }

// Refused notes that a publisher was told that its message was not taken. It may arrive
// nevertheless: with ack: after_remote, one that was late does.
func (l *Ledger) Refused(m Message) { l.answer(m, refused, &l.refused) }

func (l *Ledger) answer(m Message, f fate, count *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if list := l.fate[m.Key]; list[m.N] == unanswered {
		list[m.N] = f
		*count++
	}
}

// Counts are how many messages there are, and how many were acknowledged and refused.
func (l *Ledger) Counts() (sent, acknowledged, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.acknowledged, l.refused
}

// Promises are messages that were acknowledged at some moment.
type Promises map[Message]struct{}

// Promised is what is acknowledged now, of the keys that which selects; nil selects all.
func (l *Ledger) Promised(which func(key string) bool) Promises {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := Promises{}
	for key, list := range l.fate {
		if which != nil && !which(key) {
			continue
		}
		for n, f := range list {
			if f == acknowledged {
				p[Message{key, n}] = struct{}{}
			}
		}
	}
	return p
}

// Keep takes out of the promises what has arrived. What is left is missing.
func (p Promises) Keep(arrived []Message) {
	for _, m := range arrived {
		delete(p, m)
	}
}

// String says how many are missing and names one of them, the first of its key.
func (p Promises) String() string {
	var first Message
	found := false
	for m := range p {
		if !found || m.Key < first.Key || m.Key == first.Key && m.N < first.N {
			first, found = m, true
		}
	}
	if !found {
		return "nothing"
	}
	return fmt.Sprintf("%d messages, as %q", len(p), first)
}

// Check looks at all that has arrived, in the order of arrival: it returns how many messages
// came again, and what is wrong: a first arrival of a key that came after a later
// one, or a message that nobody has published.
func (l *Ledger) Check(arrived []Message) (twice int, problems []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, newest := map[Message]bool{}, map[string]int{}
	for _, m := range arrived {
		if m.N < 0 || m.N >= len(l.fate[m.Key]) {
			problems = append(problems, fmt.Sprintf("%q was never published", m))
			continue
		}
		if seen[m] {
			twice++
			continue
		}
		seen[m] = true
		if n, ok := newest[m.Key]; ok && m.N < n {
			problems = append(problems, fmt.Sprintf("%q came for the first time after %d", m, n))
			continue
		}
		newest[m.Key] = m.N
	}
	return twice, problems
}
