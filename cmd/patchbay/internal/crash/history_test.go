package crash

import (
	"fmt"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// maxViolations is how many violations a report shows: the first ones say most,
// and others often follow from them.
const maxViolations = 8

// maxRemarks is how many of a client's last remarks a report shows.
const maxRemarks = 12

// note is a packet about a message, as a client sent or received it. There are
// millions of them in a long run, so they are small.
type note struct {
	at    time.Duration
	stage int32
	id    uint16
	who   actor
	typ   packet.Type
	sent  bool
	dup   bool
}

// remark is something else that a client did or saw.
type remark struct {
	at    time.Duration
	stage int
	text  string
}

// violation is something that must not be.
type violation struct {
	remark
	who actor
	m   *message // nil if it is not about one
}

// note writes down a packet about m, which may be nil.
func (l *ledger) note(who actor, m *message, sent bool, typ packet.Type, id uint16, dup bool) {
	if m == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked(who, m, sent, typ, id, dup)
}

func (l *ledger) noteLocked(who actor, m *message, sent bool, typ packet.Type, id uint16, dup bool) {
	l.tick()
	m.notes = append(m.notes, note{time.Since(l.start), int32(l.stage), id, who, typ, sent, dup})
	if typ == packet.TypePublish && sent {
		m.sends++
	}
	t := &l.totals
	switch {
	case typ == packet.TypePublish && dup && sent:
		t.Republished++
	case typ == packet.TypePublish && dup:
		t.Redelivered++
	case typ == packet.TypePubrel && dup && sent:
		t.PubrelResent++
	case typ == packet.TypePubrel && dup:
		t.PubrelRedelivered++
	}
}

// remark writes down something about a client.
func (l *ledger) remark(who actor, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remarkLocked(who, text)
}

func (l *ledger) remarkLocked(who actor, text string) {
	l.remarks[who] = append(l.remarks[who], remark{time.Since(l.start), l.stage, text})
}

// fault is a violation that is about a client and not about a message.
func (l *ledger) fault(who actor, text string) { l.faultOf(who, nil, text) }

// faultOf is a violation that is about a message, or none.
func (l *ledger) faultOf(who actor, m *message, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violate(who, m, text)
}

func (l *ledger) violate(who actor, m *message, text string) {
	l.violations = append(l.violations, violation{remark{time.Since(l.start), l.stage, text}, who, m})
	if len(l.violations) == 1 {
		close(l.failed)
	}
}

// broken returns the violations so far.
func (l *ledger) broken() []violation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.violations
}

// advance begins the next life of the broker.
func (l *ledger) advance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stage++
}

// died ends a life.
func (l *ledger) died() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaths = append(l.deaths, time.Since(l.start))
}

// progress changes with everything that the ledger is told of a message.
func (l *ledger) progress() moment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *ledger) summary() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals
}

// report describes the first violations, at most so many: what, where, and what
// had happened before.
func (l *ledger) report(most int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for i, v := range l.violations {
		if i == most {
			fmt.Fprintf(&b, "and %d more\n", len(l.violations)-i)
			break
		}
		l.describe(&b, i+1, v)
	}
	b.WriteString("the broker was killed")
	for i, d := range l.deaths {
		if i >= len(l.deaths)-maxRemarks {
			fmt.Fprintf(&b, ", in life %d at %s", i+1, stamp(d))
		}
	}
	return b.String()
}

// digest is one line for each of the first violations.
func (l *ledger) digest(most int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, v := range l.violations[:min(most, len(l.violations))] {
		l.headline(&b, v)
	}
	return b.String()
}

func (l *ledger) headline(b *strings.Builder, v violation) {
	about := ""
	if v.m != nil {
		about = fmt.Sprintf("message %s #%d: ", l.names[v.m.publisher], v.m.number)
	}
	fmt.Fprintf(b, "life %d, %s, %s: %s%s\n", v.stage, stamp(v.at), l.names[v.who], about, v.text)
}

func (l *ledger) describe(b *strings.Builder, i int, v violation) {
	fmt.Fprintf(b, "%d. ", i)
	l.headline(b, v)
	if m := v.m; m != nil {
		acked := "not acknowledged"
		if m.acked != 0 {
			acked = "acknowledged"
		}
		fmt.Fprintf(b, "   the message: %s, QoS %d, retain %t, %d bytes, published at %s, %s\n", m.stream.topic, m.stream.qos, m.retain, len(m.payload), stamp(m.sent), acked)
		for _, n := range m.notes {
			fmt.Fprintf(b, "     life %d, %s  %s\n", n.stage, stamp(n.at), n.text(l.names[n.who]))
		}
	}
	remarks := l.remarks[v.who]
	fmt.Fprintf(b, "   the client %s (%s):\n", l.names[v.who], l.abouts[v.who])
	for _, r := range remarks[max(0, len(remarks)-maxRemarks):] {
		fmt.Fprintf(b, "     life %d, %s  %s\n", r.stage, stamp(r.at), r.text)
	}
}

func stamp(d time.Duration) string { return fmt.Sprintf("%.4fs", d.Seconds()) }

func (n note) text(who string) string {
	verb, again := "receives", ""
	if n.sent {
		verb = "sends"
	}
	if n.dup {
		again = ", again"
		if n.typ == packet.TypePublish {
			again = ", DUP"
		}
	}
	return fmt.Sprintf("%-4s %s %v, identifier %d%s", who, verb, n.typ, n.id, again)
}
