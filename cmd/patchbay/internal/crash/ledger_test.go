package crash

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// moment is a point in the order of all that the ledger was told of; 0 is never.
type moment uint64

// actor is the index of a client.
type actor uint8

// message is one that was published. Once it is in the ledger only the ledger
// changes it.
type message struct {
	publisher actor
	number    int // 1, 2, 3, … for each publisher
	stream    *stream
	place     int // 1, 2, 3, … in the stream
	retain    bool
	payload   []byte
	forward   []byte // MQTT 5 properties that have to arrive as they are
	expiry    uint32 // Message Expiry Interval in seconds, 0 none
	poison    bool   // a consumer cannot take it
	// twice: it was sent again, and may have been refused after it had been routed. With
	// an error in PUBREC, what has the same identifier is another message [MQTT-4.3.3-9].
	twice bool

	began moment // before it was sent for the first time
	acked moment // after PUBACK or PUBREC was read
	sent  time.Duration
	sends int // of PUBLISH
	notes []note
}

// stream is what has an order: the messages of one publisher, topic and QoS.
type stream struct {
	publisher actor
	topic     string
	qos       byte
	length    int
}

// ledger knows what the broker owes, and what it has done wrong. It is safe for
// concurrent use.
type ledger struct {
	mu    sync.Mutex
	start time.Time
	now   moment
	stage int // lives of the broker so far
	// deaths are the times of its kills.
	deaths []time.Duration

	names     []string // by actor
	abouts    []string
	remarks   [][]remark
	published [][]*message // by actor and number-1
	retained  map[string][]*message
	accounts  []*account

	violations []violation
	failed     chan struct{} // closed with the first of them
	totals     totals

	// witness, if not nil, is called before an acknowledgement is entered: it enters
	// what others have written down before.
	witness func()
	// refuses: the broker may refuse messages, as a gate of it may be down.
	refuses bool
}

// totals say how much of what a run has seen.
type totals struct {
	Published, Acknowledged, Abandoned       int
	Delivered, Repeated                      int
	Republished, PubrelResent                int
	Redelivered, PubrelRedelivered, Retained int
	Subscribed, Unsubscribed, Renewed        int
	Refused                                  int
}

func newLedger() *ledger {
	return &ledger{start: time.Now(), retained: map[string][]*message{}, failed: make(chan struct{})}
}

// enter adds a client, whose name is its Client Identifier; about is for reports.
func (l *ledger) enter(name, about string) actor {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names, l.abouts = append(l.names, name), append(l.abouts, about)
	l.remarks = append(l.remarks, nil)
	l.published = append(l.published, nil)
	return actor(len(l.names) - 1)
}

func (l *ledger) name(who actor) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[who]
}

// account opens an account for messages that are delivered at up to the given QoS.
// ordered is false where several clients share a subscription.
func (l *ledger) account(name string, qos byte, ordered bool) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &account{name: name, qos: qos, ordered: ordered, got: map[*message]bool{}, due: map[*stream][]*message{}, last: map[*stream]*message{}, suspects: map[*message]*message{}}
	l.accounts = append(l.accounts, a)
	return a
}

func (l *ledger) tick() moment {
	l.now++
	return l.now
}

// publish enters a message that is about to be sent. With clear it is one that
// deletes a retained message and has no payload.
func (l *ledger) publish(s *stream, retain, clear bool, size int, forward []byte, expiry uint32) *message {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.length++
	m := &message{
		publisher: s.publisher, number: len(l.published[s.publisher]) + 1, stream: s, place: s.length,
		retain: retain, forward: forward, expiry: expiry, began: l.tick(), sent: time.Since(l.start),
	}
	if !clear {
		m.payload = content(m.publisher, m.number, size)
	}
	l.published[s.publisher] = append(l.published[s.publisher], m)
	if retain {
		l.retained[s.topic] = append(l.retained[s.topic], m)
	}
	l.totals.Published++
	return m
}

// content is the payload of a message: what it is, and as many bytes more that
// differ from message to message.
func content(who actor, number, size int) []byte {
	b := fmt.Appendf(nil, "%d #%d|", who, number)
	for i := range size {
		b = append(b, byte('a'+(number+i*i)%26))
	}
	return b
}

// acknowledged is told that PUBACK or PUBREC came for m. From now on it is due
// wherever it has not arrived.
func (l *ledger) acknowledged(m *message, code packet.ReasonCode) {
	if l.witness != nil {
		l.witness()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.acked != 0 {
		return
	}
	if code.IsError() && l.refuses {
		l.tick()
		l.totals.Refused++
		return
	}
	m.acked = l.tick()
	l.totals.Acknowledged++
	entitled := false
	for _, a := range l.accounts {
		if !a.entitled(m) {
			continue
		}
		entitled = entitled || !a.early // a gate is no subscriber
		switch {
		case a.got[m]:
		case a.early:
			l.violate(m.publisher, m, "acknowledged, and it is not in "+a.name)
		default:
			a.due[m.stream] = append(a.due[m.stream], m)
		}
	}
	switch {
	case code.IsError():
		l.violate(m.publisher, m, fmt.Sprintf("the broker refused it: %v", code))
	case code == packet.NoMatchingSubscribers && entitled:
		l.violate(m.publisher, m, "acknowledged with No matching subscribers, and there is one")
	}
}

// abandoned is told that a publisher gives up a message that was not acknowledged.
func (l *ledger) abandoned() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Abandoned++
}

// identify finds the message that p is and checks that it is what was published.
// It returns nil after a violation.
func (l *ledger) identify(who actor, v packet.Version, p *packet.Publish) *message {
	l.mu.Lock()
	defer l.mu.Unlock()
	var from, number int
	if _, err := fmt.Sscanf(string(p.Payload), "%d #%d|", &from, &number); err != nil ||
		from < 0 || from >= len(l.published) || number < 1 || number > len(l.published[from]) {
		l.violate(who, nil, fmt.Sprintf("a message arrived on %s that nobody published: %.40q", p.Topic, p.Payload))
		return nil
	}
	m := l.published[from][number-1]
	var what string
	switch {
	case string(p.Topic) != m.stream.topic:
		what = "its topic: " + string(p.Topic)
	case !bytes.Equal(p.Payload, m.payload):
		what = fmt.Sprintf("its payload of %d bytes", len(p.Payload))
	case v == packet.V5 && !bytes.Equal(p.Props.Forward(nil), m.forward):
		what = fmt.Sprintf("its properties: % x", p.Props.Forward(nil))
	case v == packet.V5 && !l.expiryFits(m, p):
		what = fmt.Sprintf("its Message Expiry Interval: %d s", p.Props.MessageExpiry)
	default:
		return m
	}
	l.violate(who, m, "it arrived with another content than it was published with, "+what)
	return nil
}

// expiryFits reports whether the Message Expiry Interval is what was published
// minus the time since then, give or take a second of rounding [MQTT-3.3.2-6].
func (l *ledger) expiryFits(m *message, p *packet.Publish) bool {
	if !p.Props.Set.Has(packet.PropMessageExpiryInterval) {
		return m.expiry == 0
	}
	age := uint32((time.Since(l.start) - m.sent) / time.Second)
	return p.Props.MessageExpiry <= m.expiry && p.Props.MessageExpiry+age+2 >= m.expiry
}

// checkRetained holds the retained messages of the topics below prefix, as they
// were given to a new subscriber, against what was published: the newest
// acknowledged message of each topic, or a later one. It is only right while no
// publisher is connected.
func (l *ledger) checkRetained(who actor, prefix string, found map[string]*message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic, all := range l.retained {
		if len(topic) < len(prefix) || topic[:len(prefix)] != prefix {
			continue
		}
		allowed := fromNewestAcknowledged(all)
		m := found[topic]
		if m == nil && mayBeAbsent(allowed) {
			continue
		}
		if m == nil {
			l.violate(who, allowed[0], "it is the newest acknowledged one of its topic, and nothing is retained there")
			continue
		}
		if len(m.payload) == 0 || !m.retain || m.began < allowed[0].began {
			l.violate(who, allowed[0], fmt.Sprintf("it is the newest acknowledged one of its topic, and #%d is what is retained", m.number))
		}
		l.totals.Retained++
	}
}

// fromNewestAcknowledged returns the messages, in the order of publishing, from
// the newest acknowledged one on; all if there is none.
func fromNewestAcknowledged(all []*message) []*message {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].acked != 0 {
			return all[i:]
		}
	}
	return all
}

func mayBeAbsent(allowed []*message) bool {
	if allowed[0].acked == 0 {
		return true // nothing was acknowledged yet
	}
	for _, m := range allowed {
		if len(m.payload) == 0 {
			return true
		}
	}
	return false
}

// mustRetain lists the topics below prefix where something has to be retained.
func (l *ledger) mustRetain(prefix string) (topics []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic, all := range l.retained {
		if len(topic) >= len(prefix) && topic[:len(prefix)] == prefix && !mayBeAbsent(fromNewestAcknowledged(all)) {
			topics = append(topics, topic)
		}
	}
	return topics
}
