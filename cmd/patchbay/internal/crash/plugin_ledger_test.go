package crash

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// maxAttempts is how often the recorder's consumer is handed a message at most.
const maxAttempts = 6

// spoilt are the kinds of poison, as the recorder knows them: it asks for the message
// again and lets others overtake it; it stops at it; it fails as a whole.
const spoilt = "rse"

// inquest is the part of the ledger that is about a plugin: what the recorder has
// written down, and what has become of poison. The ledger's lock guards it.
type inquest struct {
	l     *ledger
	dead  *account // letters
	queue *account
	// attempts are the highest numbers of the present life under which poison was
	// handed over, most those of the whole run.
	attempts, most map[*message]int
	buried         map[*message]bool
	last           map[order]*message // that the consumer got
	// disturbed is when the plugin or the broker was killed last, ended when all was
	// acknowledged and the broker was stopped in order.
	disturbed, ended moment
	counts           inquestCounts
}

// inquestCounts say how much of what a run has seen.
type inquestCounts struct {
	PluginKills, BrokerKills, Starts int
	Recorded, RecordedAgain          int
	Poison, Attempts                 int
	Letters, LettersAgain, GivenUp   int
}

func newInquest(l *ledger) *inquest {
	return &inquest{
		l: l, attempts: map[*message]int{}, most: map[*message]int{}, buried: map[*message]bool{}, last: map[order]*message{},
	}
}

// spoil makes a message, which has not been sent, one that a consumer cannot take.
func (l *ledger) spoil(m *message, kind byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head, rest, _ := bytes.Cut(m.payload, []byte("|"))
	m.poison, m.payload = true, fmt.Appendf(nil, "%s|!%c%s", head, kind, rest)
}

// sentAgain is told that an MQTT 5 publisher is about to send m again.
func (l *ledger) sentAgain(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.twice = l.refuses
}

// isPoison is for accounts.
func isPoison(m *message) bool  { return m.poison }
func isHealthy(m *message) bool { return !m.poison }

// hosts opens an account for what the recorder gets below a prefix.
func (l *ledger) hosts(name, prefix string, wants func(*message) bool) *account {
	a := l.account(name, 2, true)
	a.wants = wants
	s := l.subscribing(a, prefix+"#", "", 0)
	l.mu.Lock()
	s.granted = l.tick()
	l.mu.Unlock()
	return a
}

// named finds a message by its name; nil if that is none.
func (l *ledger) named(from, number int) *message {
	if from < 0 || from >= len(l.published) || number < 1 || number > len(l.published[from]) {
		return nil
	}
	return l.published[from][number-1]
}

// recorded is told of a line in one of the recorder's files: "P #N|".
func (q *inquest) recorded(who actor, a *account, line string) {
	var from, number int
	if n, err := fmt.Sscanf(line, "%d #%d|", &from, &number); err != nil || n != 2 {
		return // what was being written when the recorder was killed
	}
	l := q.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	m := l.named(from, number)
	if m == nil || !strings.HasPrefix(m.stream.topic, strings.TrimSuffix(a.subs[0].filter, "#")) {
		l.violate(who, m, "the plugin got what is not for it: "+line)
		return
	}
	q.checkEnded(who, a, m)
	if a.got[m] {
		q.counts.RecordedAgain++
		return
	}
	a.got[m] = true
	q.counts.Recorded++
	if a == q.queue {
		q.checkOrder(m)
	}
	a.settle(m)
}

// checkOrder looks at a message that the consumer got for the first time. Its queue
// keeps the order of a publisher's messages of one QoS whatever their topics.
func (q *inquest) checkOrder(m *message) {
	k := order{m.publisher, m.stream.qos}
	last := q.last[k]
	if last == nil || last.number < m.number {
		q.last[k] = m
	} else if q.queue.entitled(m) && !q.buried[m] {
		q.queue.suspects[m] = last
	}
}

// order is what has one in a consumer's queue.
type order struct {
	publisher actor
	qos       byte
}

func (q *inquest) checkEnded(who actor, a *account, m *message) {
	if a == q.queue && m.began < q.ended {
		q.l.violate(who, m, "the consumer got it again after all was acknowledged and the broker had been stopped in order")
	}
}

// attempted is told of a line about poison: "P #N|A|" for attempt A.
func (q *inquest) attempted(who actor, line string) {
	var from, number, attempt int
	if n, err := fmt.Sscanf(line, "%d #%d|%d|", &from, &number, &attempt); err != nil || n != 3 {
		return
	}
	l := q.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	q.counts.Attempts++
	m := l.named(from, number)
	switch {
	case m == nil || !m.poison:
		l.violate(who, m, "the consumer found it spoilt, and it is not: "+line)
		return
	case attempt < 1 || attempt > maxAttempts:
		l.violate(who, m, fmt.Sprintf("the consumer got it in attempt %d of %d", attempt, maxAttempts))
	case attempt <= q.attempts[m] && m.sends < 2: // else it may have come twice
		l.violate(who, m, fmt.Sprintf("the consumer got it in attempt %d after attempt %d of the same life", attempt, q.attempts[m]))
	}
	q.checkEnded(who, q.queue, m)
	q.attempts[m] = attempt
	q.most[m] = max(q.most[m], attempt)
}

// letter is told of a dead letter.
func (q *inquest) letter(who actor, p *packet.Publish) {
	l := q.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	var from, number int
	_, _ = fmt.Sscanf(string(p.Payload), "%d #%d|", &from, &number)
	m := l.named(from, number)
	if m == nil || !bytes.Equal(p.Payload, m.payload) {
		l.violate(who, m, fmt.Sprintf("a dead letter came of what nobody published: %.40q", p.Payload))
		return
	}
	l.noteLocked(who, m, false, packet.TypePublish, p.PacketID, p.Dup)
	about := map[string]string{}
	for k, v := range p.Props.UserProperties() {
		about[string(k)] = string(v)
	}
	reason := about["patchbay-reason"]
	switch {
	case about["patchbay-topic"] != m.stream.topic || about["patchbay-consumer"] != "queue" || reason == "":
		l.violate(who, m, fmt.Sprintf("its dead letter says %q", about))
	case !bytes.HasPrefix(p.Props.Forward(nil), m.forward):
		l.violate(who, m, fmt.Sprintf("its dead letter has other properties: % x", p.Props.Forward(nil)))
	case !l.expiryFits(m, p):
		l.violate(who, m, fmt.Sprintf("its dead letter has the Message Expiry Interval %d s", p.Props.MessageExpiry))
	case !m.poison && strings.Contains(reason, "poison"):
		l.violate(who, m, "it was given up for the sake of another: "+reason)
	case m.poison && m.began > q.disturbed && q.most[m] != maxAttempts:
		l.violate(who, m, fmt.Sprintf("it was given up after attempt %d of %d: %s", q.most[m], maxAttempts, reason))
	}
	q.bury(m)
}

func (q *inquest) bury(m *message) {
	switch {
	case q.buried[m]:
		q.counts.LettersAgain++
		return
	case m.poison:
		q.counts.Letters++
	default:
		// Whoever kills a plugin may find it with a message that has had all its attempts.
		q.counts.GivenUp++
		delete(q.queue.suspects, m)
		q.queue.settle(m)
	}
	q.buried[m] = true
	q.dead.got[m] = true
	q.dead.settle(m)
}

// upsetting is told that the plugin is going to be killed: what happens from now on may
// be because of that.
func (q *inquest) upsetting() {
	q.l.mu.Lock()
	defer q.l.mu.Unlock()
	q.disturbed = ^moment(0)
}

// upset is told that the plugin, or the broker, was killed.
func (q *inquest) upset(broker bool) {
	q.l.mu.Lock()
	defer q.l.mu.Unlock()
	q.disturbed = q.l.tick()
	if !broker {
		q.counts.PluginKills++
		return
	}
	q.counts.BrokerKills++
	clear(q.attempts)
}

// end is told that nothing is owed and the broker was stopped in order.
func (q *inquest) end() {
	q.l.mu.Lock()
	defer q.l.mu.Unlock()
	q.ended = q.l.tick()
	clear(q.attempts)
}

func (q *inquest) summary() inquestCounts {
	q.l.mu.Lock()
	defer q.l.mu.Unlock()
	c := q.counts
	for _, list := range q.l.published {
		for _, m := range list {
			if m.poison && m.acked != 0 {
				c.Poison++
			}
		}
	}
	return c
}
