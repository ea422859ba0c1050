package disk

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

var (
	propertySeed  = flag.Uint64("property.seed", 0, "run the property test with this seed only")
	propertySeeds = flag.Int("property.seeds", 6, "number of seeds of the property test")
)

// TestProperty does random things to a store, with crashes in between, and
// compares it with a model: what was said to be safe is there, in order and once,
// what is gone for sure does not come back, and what was enclosed came together.
func TestProperty(t *testing.T) {
	modes := []struct {
		name   string
		sync   SyncMode
		keep   int // percent of unsynced data that a crash keeps; -1 at random
		crashs int
	}{
		{"power loss", SyncAlways, -1, 6},
		{"process crash, interval", SyncInterval, 100, 3},
		{"process crash, never", SyncNever, 100, 3},
	}
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			first, n := uint64(1), max(fewer(*propertySeeds), 1)
			if *propertySeed != 0 {
				first, n = *propertySeed, 1
			}
			for seed := first; seed < first+uint64(n); seed++ {
				p := &property{T: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), sync: mode.sync, keep: mode.keep}
				p.fs = vfs.NewCrashableMem()
				p.begin()
				for range mode.crashs {
					for range 150 + p.rng.IntN(300) {
						p.step()
					}
					p.crash()
				}
				p.s.Close()
			}
		})
	}
}

type property struct {
	*testing.T
	seed uint64
	rng  *rand.Rand
	sync SyncMode
	keep int
	fs   *vfs.MemFS
	s    *Store

	n        int // messages so far
	sessions []*modelSession
	groups   []*modelGroup
	retained map[string]*history
}

// modelSession is what a session should be.
type modelSession struct {
	*client
	id      string
	born    uint64
	record  *history // Detached
	subs    map[string]*history
	ids     map[uint16]*history
	waiting []*modelMessage
	flight  []*modelMessage // popped or sent
	gone    []*modelMessage // settled, not surely
	seq     uint64
}

type modelMessage struct {
	text                   string
	session                *modelSession
	qos                    byte
	safe, goneSafe         *atomic.Bool // what the store said
	seq                    uint64
	sent, sentSafe         bool
	released, releasedSafe bool
	sentTicket             store.Ticket
	releasedTicket         store.Ticket
	settled                bool
}

// modelGroup is what was enclosed in Begin and End.
type modelGroup struct {
	messages []*modelMessage
	session  *modelSession // received id
	id       uint16
	idValue  int
	topic    string // retained
	value    int
}

// history is something that has one value at a time, 0 none: those since the
// last one that is safe.
type history struct{ values []historyValue }

type historyValue struct {
	value int
	safe  *atomic.Bool
}

func (h *history) set(v int) *atomic.Bool {
	safe := new(atomic.Bool)
	h.values = append(h.values, historyValue{v, safe})
	return safe
}

func (h *history) now() int {
	if h == nil || len(h.values) == 0 {
		return 0
	}
	return h.values[len(h.values)-1].value
}

// freeze returns the values that may be there after a crash now.
func (h *history) freeze() (list []int) {
	if len(h.values) == 0 || !h.values[0].safe.Load() {
		list = append(list, 0)
	}
	for _, v := range h.values {
		if v.safe.Load() {
			list = list[:0]
		}
		list = append(list, v.value)
	}
	return list
}

func (h *history) reset(v int) {
	h.values = nil
	h.set(v).Store(true)
}

func (p *property) fatalf(format string, args ...any) {
	p.Helper()
	p.Fatalf("seed %d (-property.seed): "+format, append([]any{p.seed}, args...)...)
}

func (p *property) begin() {
	var err error
	p.s, err = Open(Options{Dir: "data", FS: p.fs, Sync: p.sync, tune: tuning{compactBytes: 1, compactPause: 30 * time.Millisecond}})
	if err != nil {
		p.fatalf("%v", err)
	}
	load(p, p.s)
	p.retained = make(map[string]*history)
	for i := range 4 {
		p.create(i)
	}
}

func (p *property) create(i int) {
	m := &modelSession{
		id: fmt.Sprint("c", i), record: new(history), subs: make(map[string]*history), ids: make(map[uint16]*history),
	}
	m.client = newClient(nil)
	m.client.session = p.s.Create(store.Record{ClientID: m.id, Detached: 1}, m.client).(*session)
	m.seq = m.FirstSeq()
	m.record.set(1)
	m.born = m.key
	if i < len(p.sessions) {
		p.sessions[i] = m
	} else {
		p.sessions = append(p.sessions, m)
	}
}

// watch has the store set flags once it says that something is safe.
func (p *property) watch(wait func(func(error)) bool, flags []*atomic.Bool) {
	set := func(err error) {
		if err != nil {
			return
		}
		for _, f := range flags {
			f.Store(true)
		}
	}
	if wait(set) {
		set(nil)
	}
}

func (p *property) step() {
	m := p.sessions[p.rng.IntN(len(p.sessions))]
	switch k := p.rng.IntN(100); {
	case k < 30:
		p.publish()
	case k < 55:
		p.pop(m)
	case k < 70:
		p.settle(m)
	case k < 76:
		p.pubrec(m)
	case k < 82:
		p.change(m)
	case k < 88:
		p.tickets(m)
	case k < 92:
		p.everythingSoFar()
	case k < 94:
		time.Sleep(time.Duration(p.rng.IntN(8)) * time.Millisecond)
	case k < 96 && p.rng.IntN(4) == 0:
		p.end(m)
	case k < 97:
		p.record(m)
	case k < 98:
		p.again(m)
	case k < 99:
		p.awaitReceipts(m)
	default:
		if n := m.Len(); n != len(m.waiting) && m.counted {
			p.fatalf("%s: Len %d, want %d", m.id, n, len(m.waiting))
		}
	}
}

// publish adds a message to some sessions, as one group.
func (p *property) publish() {
	p.n++
	text := fmt.Sprint("m", p.n)
	g := &modelGroup{}
	r := store.NewReceipt()
	var flags []*atomic.Bool
	pm := (&packet.Message{Topic: []byte("t"), Payload: []byte(text), QoS: 1}).Keep(uint64(p.n))
	p.s.Begin()
	if p.rng.IntN(4) == 0 {
		g.session, g.id = p.sessions[p.rng.IntN(len(p.sessions))], uint16(p.rng.IntN(20))
		h := g.session.ids[g.id]
		if h == nil {
			h = new(history)
			g.session.ids[g.id] = h
		}
		g.idValue = 1
		flags = append(flags, h.set(1))
		g.session.Received(g.id, r)
	}
	if p.rng.IntN(6) == 0 {
		g.topic, g.value = fmt.Sprint("r", p.rng.IntN(3)), p.n
		flags = append(flags, p.topic(g.topic).set(p.n))
		rm := (&packet.Message{Topic: []byte(g.topic), Payload: []byte(fmt.Sprint(p.n))}).Keep(uint64(p.n))
		p.s.Retain("", rm, r)
		rm.Unref()
	}
	for _, m := range p.sessions {
		if p.rng.IntN(2) == 0 {
			continue
		}
		mm := &modelMessage{text: text, session: m, qos: byte(p.rng.IntN(3)), safe: new(atomic.Bool), goneSafe: new(atomic.Bool)}
		e := store.Entry{Message: pm, QoS: mm.qos}
		lazy := p.rng.IntN(2) == 0
		if mm.qos > 0 && p.rng.IntN(2) == 0 {
			mm.seq, mm.sent = m.seq, true
			m.seq++
			_, mm.sentTicket = m.Add(e, mm.seq, lazy, r)
			m.flight = append(m.flight, mm)
		} else {
			pm.Ref()
			m.Add(e, 0, lazy, r)
			m.waiting = append(m.waiting, mm)
		}
		flags = append(flags, mm.safe)
		g.messages = append(g.messages, mm)
	}
	p.s.End()
	pm.Unref()
	p.watch(func(done func(error)) bool {
		ok, err := r.Wait(done)
		if err != nil {
			p.fatalf("Receipt: %v", err)
		}
		return ok
	}, flags)
	p.groups = append(p.groups, g)
}

func (p *property) topic(name string) *history {
	if p.retained[name] == nil {
		p.retained[name] = new(history)
	}
	return p.retained[name]
}

func (p *property) pop(m *modelSession) {
	for range 1 + p.rng.IntN(3) {
		if len(m.waiting) == 0 {
			if e, ok := m.Pop(); ok {
				p.fatalf("%s: %s waits, nothing should", m.id, e.Message.Payload)
			}
			return
		}
		var e store.Entry
		m.wait(p, "pop", func() (ok bool) {
			f, fok := m.Front()
			if fok && string(f.Message.Payload) != m.waiting[0].text {
				p.fatalf("%s: Front is %s, want %s", m.id, f.Message.Payload, m.waiting[0].text)
			}
			e, ok = m.Pop()
			return ok
		})
		mm := m.waiting[0]
		m.waiting = m.waiting[1:]
		if string(e.Message.Payload) != mm.text || e.QoS != mm.qos {
			p.fatalf("%s: popped %s, want %s", m.id, e.Message.Payload, mm.text)
		}
		e.Message.Unref()
		switch {
		case mm.qos == 0:
			m.settled(mm)
		case p.rng.IntN(3) == 0:
			m.Settle(e.Pos, 0)
			m.settled(mm)
		default:
			mm.seq, mm.sent = m.seq, true
			m.seq++
			mm.sentTicket = m.Sent(e, mm.seq)
			m.flight = append(m.flight, mm)
		}
	}
}

// again reads what is in flight once more.
func (p *property) again(m *modelSession) {
	want := make(map[string]bool)
	for _, mm := range m.flight {
		if !mm.released {
			want[mm.text] = true
		}
	}
	var after uint64
	for {
		var list []store.Entry
		limit, bytes := 1+p.rng.IntN(6), 1+p.rng.IntN(40)
		m.wait(p, "again", func() (ok bool) {
			list, ok = m.Again(after, limit, bytes)
			return ok
		})
		if len(list) > limit {
			p.fatalf("%s: again %d messages, at most %d were wanted", m.id, len(list), limit)
		}
		for _, e := range list {
			text := string(e.Message.Payload)
			if e.Pos <= after || !want[text] {
				p.fatalf("%s: again %s at %x behind %x, want one of %v", m.id, text, e.Pos, after, want)
			}
			delete(want, text)
			after = e.Pos
			e.Message.Unref()
		}
		if len(list) == 0 {
			break
		}
	}
	if len(want) > 0 {
		p.fatalf("%s: not again: %v", m.id, want)
	}
}

func (m *modelSession) settled(mm *modelMessage) {
	mm.settled = true
	m.gone = append(m.gone, mm)
}

// pos finds a message's place in the session's own books.
func (m *modelSession) pos(mm *modelMessage) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, it := range m.w.flight.items {
		if it.slot != nil && it.slot.seq == mm.seq {
			return it.pos
		}
	}
	return 0
}

func (p *property) settle(m *modelSession) {
	if len(m.flight) == 0 {
		return
	}
	i := p.rng.IntN(min(len(m.flight), 4))
	mm := m.flight[i]
	m.flight = slices.Delete(m.flight, i, i+1)
	m.Settle(m.pos(mm), mm.seq)
	m.settled(mm)
}

func (p *property) pubrec(m *modelSession) {
	for _, mm := range m.flight {
		if mm.qos == 2 && !mm.released {
			mm.released = true
			mm.releasedTicket = m.PubrecReceived(m.pos(mm), mm.seq)
			return
		}
	}
}

func (p *property) tickets(m *modelSession) {
	for _, mm := range m.flight {
		if mm.sent && m.Safe(mm.sentTicket) {
			mm.sentSafe = true
		}
		if mm.released && m.Safe(mm.releasedTicket) {
			mm.releasedSafe = true
		}
	}
	if len(m.flight) > 0 && p.rng.IntN(3) == 0 {
		mm := m.flight[len(m.flight)-1]
		m.wait(p, "ticket", func() bool { return m.Safe(mm.sentTicket) })
		mm.sentSafe = true
	}
}

func (p *property) awaitReceipts(m *modelSession) {
	if n := len(m.waiting); n > 0 {
		mm := m.waiting[n-1]
		until(p, "Receipt", mm.safe.Load)
	}
}

func (p *property) change(m *modelSession) {
	switch p.rng.IntN(3) {
	case 0:
		f := fmt.Sprint("f", p.rng.IntN(5))
		if m.subs[f] == nil {
			m.subs[f] = new(history)
		}
		id := 1 + p.rng.IntN(1000)
		m.subs[f].set(id)
		m.Subscribe(f, store.Subscription{ID: uint32(id)})
	case 1:
		for f, h := range m.subs {
			h.set(0)
			m.Unsubscribe(f)
			break
		}
	default:
		for id, h := range m.ids {
			h.set(0)
			m.Released(id, nil)
			break
		}
	}
}

func (p *property) record(m *modelSession) {
	p.n++
	v := int64(p.n)
	if p.rng.IntN(2) == 0 {
		v = 0 // attached: the head stays in memory
	}
	m.record.set(int(v))
	m.Save(store.Record{ClientID: m.id, Detached: v})
}

// everythingSoFar syncs: all but messages, with removals.
func (p *property) everythingSoFar() {
	var flags []*atomic.Bool
	last := func(h *history) {
		if len(h.values) > 0 {
			flags = append(flags, h.values[len(h.values)-1].safe)
		}
	}
	for _, m := range p.sessions {
		last(m.record)
		for _, h := range m.subs {
			last(h)
		}
		for _, h := range m.ids {
			last(h)
		}
		for _, mm := range m.gone {
			flags = append(flags, mm.goneSafe)
		}
	}
	for _, h := range p.retained {
		last(h)
	}
	p.watch(func(done func(error)) bool { return p.s.Sync(done) }, flags)
	if p.rng.IntN(2) == 0 {
		p.s.syncNow(p)
	}
}

func (p *property) end(m *modelSession) {
	i := slices.Index(p.sessions, m)
	m.End(func(e store.Entry) { e.Message.Unref() })
	for _, g := range p.groups {
		if g.session == m {
			g.session = nil
		}
		g.messages = slices.DeleteFunc(g.messages, func(mm *modelMessage) bool { return mm.session == m })
	}
	p.create(i)
}
