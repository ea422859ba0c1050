package disk

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/store"
)

// frozen is what has to be there of a session after a crash.
type frozen struct {
	must, may map[string]*modelMessage // by text
	record    []int
	subs      map[string][]int
	ids       map[uint16][]int
}

func (m *modelSession) freeze() *frozen {
	f := &frozen{
		must: make(map[string]*modelMessage), may: make(map[string]*modelMessage), record: m.record.freeze(),
		subs: make(map[string][]int), ids: make(map[uint16][]int),
	}
	for _, list := range [][]*modelMessage{m.waiting, m.flight} {
		for _, mm := range list {
			f.may[mm.text] = mm
			if mm.safe.Load() {
				f.must[mm.text] = mm
			}
		}
	}
	for _, mm := range m.gone {
		if !mm.goneSafe.Load() {
			f.may[mm.text] = mm
		}
	}
	for name, h := range m.subs {
		f.subs[name] = h.freeze()
	}
	for id, h := range m.ids {
		f.ids[id] = h.freeze()
	}
	return f
}

// crash takes the power away, or the process, compares what comes back with the
// model, and goes on with it.
func (p *property) crash() {
	states := make(map[string]*frozen)
	for _, m := range p.sessions {
		states[m.id] = m.freeze()
	}
	retained := make(map[string][]int)
	for name, h := range p.retained {
		retained[name] = h.freeze()
	}
	keep := p.keep
	if keep < 0 {
		keep = []int{0, 50, 100, p.rng.IntN(100)}[p.rng.IntN(4)]
	}
	clone := p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: p.rng})
	old := p.s
	p.fs = clone
	copied := clone.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: p.rng})

	// The copy is taken apart, and the other goes on.
	s, err := Open(Options{Dir: "data", FS: copied, Sync: p.sync})
	if err != nil {
		p.fatalf("after a crash: %v", err)
	}
	f := load(p, s)
	present := make(map[string]*content)
	for _, m := range p.sessions {
		present[m.id] = p.compare(m, states[m.id], f.sessions["/"+m.id])
	}
	p.compareGroups(present, f)
	for name, want := range retained {
		got := 0
		if rm := f.retained["/"+name]; rm != nil {
			fmt.Sscan(string(rm.Payload), &got)
		}
		if !slices.Contains(want, got) {
			p.fatalf("retained %s: %d, want one of %v", name, got, want)
		}
		p.retained[name].reset(got)
	}
	if n := s.damage.count.Load(); n != 0 {
		p.fatalf("%d records in quarantine", n)
	}
	s.Close()
	old.Close()
	p.reopen(present)
}

// content is what a session had after a crash.
type content struct {
	client          *client
	waiting, flight []string
	seqs            map[string]uint64
	released        map[uint64]bool
	all             map[string]bool
	record          int
	subs            map[string]int
	ids             map[uint16]bool
}

func (p *property) compare(m *modelSession, want *frozen, c *client) *content {
	got := &content{client: c, seqs: make(map[string]uint64), released: make(map[uint64]bool), all: make(map[string]bool)}
	if c == nil {
		if !slices.Contains(want.record, 0) || len(want.must) > 0 {
			if len(m.record.values) > 0 && !slices.ContainsFunc(m.record.values, func(v historyValue) bool { return v.safe.Load() }) && len(want.must) == 0 {
				return nil
			}
			p.fatalf("%s: the session is gone", m.id)
		}
		return nil
	}
	got.record = int(c.saved.Detached)
	got.subs, got.ids = make(map[string]int), make(map[uint16]bool)
	if c.key != m.born {
		// The one before, whose end is not there yet.
		return got
	}
	if !slices.Contains(want.record, got.record) {
		p.fatalf("%s: record %d, want one of %v", m.id, got.record, want.record)
	}
	for _, sub := range c.saved.Subscriptions {
		got.subs[sub.Filter] = int(sub.ID)
	}
	for name, ids := range want.subs {
		if !slices.Contains(ids, got.subs[name]) {
			p.fatalf("%s: subscription %s has %d, want one of %v", m.id, name, got.subs[name], ids)
		}
	}
	for _, id := range c.saved.Received {
		got.ids[id] = true
	}
	for id, values := range want.ids {
		v := 0
		if got.ids[id] {
			v = 1
		}
		if !slices.Contains(values, v) {
			p.fatalf("%s: received id %d is %v, want one of %v", m.id, id, v, values)
		}
	}
	p.compareMessages(m, want, got)
	return got
}

func (p *property) compareMessages(m *modelSession, want *frozen, got *content) {
	c := got.client
	see := func(text string) *modelMessage {
		if got.all[text] {
			p.fatalf("%s: %s is there twice", m.id, text)
		}
		got.all[text] = true
		mm := want.may[text]
		if mm == nil {
			p.fatalf("%s: %s came back, or never was", m.id, text)
		}
		return mm
	}
	bySeq := make(map[uint64]*modelMessage)
	for _, mm := range want.may {
		if mm.sent {
			bySeq[mm.seq] = mm
		}
	}
	for _, in := range c.restoredFlight(p) {
		mm := bySeq[in.Seq]
		if mm == nil {
			p.fatalf("%s: seq %x is in flight", m.id, in.Seq)
		}
		if in.Released {
			if !mm.released {
				p.fatalf("%s: %s is released", m.id, mm.text)
			}
			got.released[in.Seq] = true
		} else if mm.releasedSafe || string(in.Message.Payload) != mm.text {
			p.fatalf("%s: seq %x is %s, want %s (released %v)", m.id, in.Seq, in.Message.Payload, mm.text, mm.releasedSafe)
		}
		see(mm.text)
		got.flight = append(got.flight, mm.text)
		got.seqs[mm.text] = in.Seq
	}
	got.waiting = c.drain(p)
	for _, text := range got.waiting {
		if mm := see(text); mm.sentSafe && !mm.settled {
			p.fatalf("%s: %s waits, but surely was sent", m.id, text)
		}
	}
	if !slices.IsSortedFunc(got.waiting, byNumber) {
		p.fatalf("%s: order %v", m.id, got.waiting)
	}
	for text, mm := range want.must {
		if !got.all[text] {
			p.fatalf("%s: %s is lost (qos %d, sent %v, released %v)", m.id, text, mm.qos, mm.sent, mm.released)
		}
	}
}

func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// compareGroups checks that what was enclosed is there together, as far as
// nothing happened to it since.
func (p *property) compareGroups(present map[string]*content, f *found) {
	for _, g := range p.groups {
		var there, missing []string
		note := func(ok bool, what string) {
			if ok {
				there = append(there, what)
			} else {
				missing = append(missing, what)
			}
		}
		for _, mm := range g.messages {
			if c := present[mm.session.id]; mm.settled || c != nil && c.client != nil && c.client.key != mm.session.born {
				continue
			} else {
				note(c != nil && c.all[mm.text], mm.text+" of "+mm.session.id)
			}
		}
		if s := g.session; s != nil && s.ids[g.id].now() == 1 && len(s.ids[g.id].values) == 1 {
			c := present[s.id]
			note(c != nil && c.ids[g.id], fmt.Sprint("id ", g.id, " of ", s.id))
		}
		if g.topic != "" && p.retained[g.topic].now() == g.value {
			rm := f.retained["/"+g.topic]
			note(rm != nil && string(rm.Payload) == fmt.Sprint(g.value), "retained "+g.topic)
		}
		if len(there) > 0 && len(missing) > 0 {
			p.fatalf("torn: %v there, %v missing", there, missing)
		}
	}
	p.groups = nil
}

// reopen goes on with what came back.
func (p *property) reopen(present map[string]*content) {
	var err error
	p.s, err = Open(Options{Dir: "data", FS: p.fs, Sync: p.sync, tune: tuning{compactBytes: 1, compactPause: 30 * time.Millisecond}})
	if err != nil {
		p.fatalf("after a crash: %v", err)
	}
	f := load(p, p.s)
	for i, m := range p.sessions {
		got := present[m.id]
		if got == nil || got.client.key != m.born {
			if c := f.sessions["/"+m.id]; c != nil {
				c.End(func(e store.Entry) { e.Message.Unref() })
			}
			p.create(i)
			continue
		}
		next := &modelSession{
			client: f.sessions["/"+m.id], id: m.id, born: m.born, record: new(history),
			subs: make(map[string]*history), ids: make(map[uint16]*history),
		}
		next.record.reset(got.record)
		for name, id := range got.subs {
			next.subs[name] = new(history)
			next.subs[name].reset(id)
		}
		for id := range got.ids {
			next.ids[id] = new(history)
			next.ids[id].reset(1)
		}
		sure := func(text string) *modelMessage {
			mm := &modelMessage{text: text, session: next, safe: new(atomic.Bool), goneSafe: new(atomic.Bool)}
			mm.safe.Store(true)
			return mm
		}
		for _, in := range next.restoredFlight(p) {
			text := ""
			for t, seq := range got.seqs {
				if seq == in.Seq {
					text = t
				}
			}
			mm := sure(text)
			mm.seq, mm.sent, mm.sentSafe, mm.released, mm.releasedSafe = in.Seq, true, true, in.Released, in.Released
			mm.qos = in.QoS
			next.flight = append(next.flight, mm)
			if in.Message != nil {
				in.Message.Unref()
			}
		}
		for _, text := range got.waiting {
			mm := sure(text)
			for _, old := range [][]*modelMessage{m.waiting, m.flight, m.gone} {
				for _, o := range old {
					if o.text == text {
						mm.qos = o.qos
					}
				}
			}
			next.waiting = append(next.waiting, mm)
		}
		next.seq = next.FirstSeq()
		p.sessions[i] = next
	}
}
