package crash

import (
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// TestInquest: what a consumer may not do is noticed, and what it may is not.
func TestInquest(t *testing.T) {
	for _, tt := range []struct {
		name string
		// do gets a run in which messages 1 to 4 were acknowledged; 3 is poison.
		do   func(r *inquestRun)
		want string // in the first violation; empty for none
	}{
		{"all is well", func(r *inquestRun) {
			r.got(1)
			r.got(2)
			r.attempts(1, maxAttempts)
			r.got(4)
			r.letter(3, "poison", "consume/0/one")
			r.got(2) // once more
		}, ""},
		{"lost", func(r *inquestRun) {
			r.got(1)
			r.got(4)
			r.attempts(1, maxAttempts)
			r.letter(3, "poison", "consume/0/one")
		}, "it is lost"},
		{"no letter", func(r *inquestRun) { r.got(1); r.got(2); r.got(4) }, "it is lost"},
		{"out of order", func(r *inquestRun) {
			r.got(2)
			r.got(1)
			r.got(4)
			r.attempts(1, maxAttempts)
			r.letter(3, "poison", "consume/0/one")
		}, "out of order"},
		{"given up", func(r *inquestRun) {
			r.got(2)
			r.got(1) // it had been given up before, but its letter is late
			r.got(4)
			r.letter(1, "the process has ended", "consume/0/one")
			r.attempts(1, maxAttempts)
			r.letter(3, "poison", "consume/0/one")
		}, ""},
		{"given up for another", func(r *inquestRun) { r.letter(1, "poison", "consume/0/one") }, "for the sake of another"},
		{"given up early", func(r *inquestRun) { r.attempts(1, maxAttempts-1); r.letter(3, "poison", "consume/0/one") }, "given up after attempt 5"},
		{"once too often", func(r *inquestRun) { r.attempts(1, maxAttempts+1) }, "attempt 7 of 6"},
		{"begun anew", func(r *inquestRun) { r.attempts(1, maxAttempts); r.attempts(1, 1) }, "attempt 1 after attempt 6"},
		{"begun anew in another life", func(r *inquestRun) {
			r.attempts(1, 2)
			r.q.upset(true)
			r.attempts(1, maxAttempts)
			r.got(1)
			r.got(2)
			r.got(4)
			r.letter(3, "poison", "consume/0/one")
		}, ""},
		{"wrong letter", func(r *inquestRun) { r.attempts(1, maxAttempts); r.letter(3, "poison", "consume/0/two") }, "its dead letter says"},
		{"not for it", func(r *inquestRun) { r.q.recorded(0, r.q.queue, "0 #9|") }, "not for it"},
		{"again after the end", func(r *inquestRun) { r.got(1); r.q.end(); r.got(1) }, "had been stopped in order"},
		{"torn", func(r *inquestRun) {
			r.got(1)
			r.q.recorded(0, r.q.queue, "0 #2")
		}, "it is lost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newInquestRun()
			tt.do(r)
			r.q.l.missed(0, r.q.queue)
			r.q.l.missed(0, r.q.dead)
			got := ""
			if v := r.q.l.broken(); len(v) > 0 {
				got = v[0].text
			}
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// inquestRun is a ledger with a consumer and nothing else.
type inquestRun struct {
	q  *inquest
	ms []*message
}

func newInquestRun() *inquestRun {
	l := newLedger()
	who := l.enter("pub0", "")
	r := &inquestRun{q: newInquest(l)}
	r.q.queue = l.hosts("the queue", "consume/", isHealthy)
	r.q.dead = l.hosts("the letters", "consume/", isPoison)
	s := &stream{publisher: who, topic: "consume/0/one", qos: 1}
	for i := range 4 {
		m := l.publish(s, false, false, 10, nil, 0)
		if i == 2 {
			l.spoil(m, 'r')
		}
		l.note(who, m, true, packet.TypePublish, 1, false)
		l.acknowledged(m, packet.Success)
		r.ms = append(r.ms, m)
	}
	return r
}

func (r *inquestRun) got(number int) { r.q.recorded(0, r.q.queue, fmt.Sprintf("0 #%d|", number)) }

// attempts are those of the poison.
func (r *inquestRun) attempts(from, to int) {
	for i := from; i <= to; i++ {
		r.q.attempted(0, fmt.Sprintf("0 #3|%d|", i))
	}
}

func (r *inquestRun) letter(number int, reason, topic string) {
	props := packet.Properties{User: []packet.UserProperty{
		{Key: "patchbay-topic", Value: topic}, {Key: "patchbay-consumer", Value: "queue"}, {Key: "patchbay-reason", Value: reason},
	}}
	forward, err := props.AppendForward(nil)
	if err != nil {
		panic(err)
	}
	b, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
		Topic: []byte("dead"), Payload: r.ms[number-1].payload, Forward: forward, QoS: 1, PacketID: 1,
	})
	h, n, err := packet.ReadHeader(b)
	if err != nil {
		panic(err)
	}
	var p packet.Publish
	if err := packet.DecodePublish(&p, packet.V5, h, b[n:], true); err != nil {
		panic(err)
	}
	r.q.letter(0, &p)
}
