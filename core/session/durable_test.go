package session

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// slowStore is a Store by the book whose disk is a map: what is handed over is
// safe after commit, and crash forgets the rest.
type slowStore struct {
	store.Memory
	rng     *rand.Rand
	session *slowSession
}

type slowEntry struct {
	store.Entry
	payload  []byte // stands for the message
	seq      uint64
	released bool
}

type slowSession struct {
	st       *slowStore
	owner    store.Owner
	live     map[uint64]slowEntry // by place
	safe     map[uint64]slowEntry
	boot     uint64
	pos      uint64
	ticket   store.Ticket
	safeTo   store.Ticket
	receipts map[uint64]*store.Receipt // of what is not safe yet, by place
	waiting  []uint64                  // places, of what is read and waits
	unread   []uint64                  // places of what waits on the disk
	cold     bool
	asked    bool // the owner wants to be told
	late     bool // and is to be, of what came while it was at work
}

func (st *slowStore) Create(_ store.Record, o store.Owner) store.Session {
	st.session = &slowSession{st: st, owner: o, live: map[uint64]slowEntry{}, safe: map[uint64]slowEntry{}, boot: 1, receipts: map[uint64]*store.Receipt{}}
	return st.session
}

func (s *slowSession) Durable() bool                        { return true }
func (s *slowSession) FirstSeq() uint64                     { return s.boot << 40 }
func (s *slowSession) Save(store.Record)                    {}
func (s *slowSession) Subscribe(string, store.Subscription) {}
func (s *slowSession) Unsubscribe(string)                   {}
func (s *slowSession) Received(uint16, *store.Receipt)      {}
func (s *slowSession) Released(uint16, *store.Receipt)      {}
func (s *slowSession) End(func(store.Entry))                {}
func (s *slowSession) Len() int                             { return len(s.waiting) + len(s.unread) }
func (s *slowSession) Bytes() int64                         { return 0 }
func (s *slowSession) Empty() bool                          { return s.Len() == 0 }
func (s *slowSession) message(e slowEntry) *packet.Message {
	return (&packet.Message{Topic: []byte("t"), Payload: e.payload, QoS: e.QoS}).Keep(e.Pos)
}

func (s *slowSession) Add(e store.Entry, seq uint64, lazy bool, r *store.Receipt) (uint64, store.Ticket) {
	s.pos++
	e.Pos = s.boot<<40 | s.pos
	s.live[e.Pos] = slowEntry{Entry: e, payload: slices.Clone(e.Message.Payload), seq: seq}
	if r != nil {
		r.Add()
		s.receipts[e.Pos] = r
	}
	if seq == 0 {
		e.Message.Unref()
		if len(s.unread) > 0 || s.cold {
			s.unread = append(s.unread, e.Pos)
		} else {
			s.waiting = append(s.waiting, e.Pos)
		}
	}
	s.ticket++
	return e.Pos, s.ticket
}

func (s *slowSession) Front() (*store.Entry, bool) {
	if s.cold {
		panic("Front before Inflight")
	}
	if len(s.waiting) == 0 {
		s.asked = s.asked || len(s.unread) > 0
		return nil, false
	}
	e := s.live[s.waiting[0]].Entry
	return &e, true
}

func (s *slowSession) Pop() (store.Entry, bool) {
	if _, ok := s.Front(); !ok {
		return store.Entry{}, false
	}
	e := s.live[s.waiting[0]]
	s.waiting = s.waiting[1:]
	e.Entry.Message = s.message(e)
	return e.Entry, true
}

func (s *slowSession) change(pos uint64, fn func(*slowEntry)) store.Ticket {
	e, ok := s.live[pos]
	if !ok {
		panic("change of what is not there")
	}
	fn(&e)
	s.live[pos] = e
	s.ticket++
	return s.ticket
}

func (s *slowSession) Sent(e store.Entry, seq uint64) store.Ticket {
	return s.change(e.Pos, func(e *slowEntry) { e.seq = seq })
}

func (s *slowSession) PubrecReceived(pos, seq uint64) store.Ticket {
	return s.change(pos, func(e *slowEntry) { e.released, e.payload = true, nil })
}

// Again is for queues of plugins.
func (s *slowSession) Again(uint64, int, int) ([]store.Entry, bool) { return nil, true }

func (s *slowSession) Settle(pos, seq uint64) {
	if e, ok := s.live[pos]; !ok || e.seq != seq && seq != 0 {
		panic("Settle of what is not there")
	}
	delete(s.live, pos)
	if r := s.receipts[pos]; r != nil {
		delete(s.receipts, pos)
		r.Done(nil)
	}
}

// Safe also stands for the commits that come while the session is at work: the
// owner is told of these when it is through.
func (s *slowSession) Safe(t store.Ticket) bool {
	if s.st.rng.Intn(4) == 0 {
		s.keep()
		s.late, s.asked = s.late || s.asked, false
	}
	if t > s.safeTo {
		s.asked = true
	}
	return t <= s.safeTo
}

func (s *slowSession) Inflight() (list []store.Inflight, ok bool) {
	if s.st.rng.Intn(2) == 0 {
		s.asked = true
		return nil, false
	}
	s.cold = false
	for _, pos := range slices.Sorted(maps.Keys(s.live)) {
		e := s.live[pos]
		if e.seq == 0 {
			continue
		}
		in := store.Inflight{Entry: e.Entry, Seq: e.seq, Released: e.released}
		in.Message = nil
		if !e.released {
			in.Message = s.message(e)
		}
		list = append(list, in)
	}
	slices.SortFunc(list, func(a, b store.Inflight) int { return cmp.Compare(a.Seq, b.Seq) })
	return list, true
}

// commit makes everything safe; read reads what waits.
func (s *slowSession) commit() {
	s.keep()
	s.tell()
}

func (s *slowSession) keep() {
	s.safe, s.safeTo = maps.Clone(s.live), s.ticket
	receipts := s.receipts
	s.receipts = map[uint64]*store.Receipt{}
	for _, r := range receipts {
		r.Done(nil)
	}
}

func (s *slowSession) read() {
	n := min(len(s.unread), 1+s.st.rng.Intn(3))
	if !s.cold {
		s.waiting, s.unread = append(s.waiting, s.unread[:n]...), s.unread[n:]
	}
	s.tell()
}

func (s *slowSession) tell() {
	if s.asked {
		s.asked = false
		s.owner.Ready()
	}
}

// crash returns what is found afterwards.
func (s *slowSession) crash() *slowSession {
	after := &slowSession{st: s.st, live: s.safe, safe: maps.Clone(s.safe), boot: s.boot + 1, receipts: map[uint64]*store.Receipt{}, cold: true}
	for _, pos := range slices.Sorted(maps.Keys(s.safe)) {
		if s.safe[pos].seq == 0 {
			after.unread = append(after.unread, pos)
		}
	}
	s.st.session = after
	return after
}

// trial is a publisher, a session in a broker that crashes, and a subscriber by
// the book.
type trial struct {
	t      *testing.T
	rng    *rand.Rand
	env    *Env
	st     *slowStore
	s      *Session
	f      *Frames
	link   *fakeLink
	ids    uint64
	ready  bool
	window int

	sent     uint32
	acked    map[uint32]bool
	received []uint32 // in order, without what QoS 2 sorts out
	seen     map[uint32]bool
	held     map[uint16]uint32
	answers  []func()
	unacked  int
}

func (tr *trial) publish(qos byte) {
	tr.sent++
	n := tr.sent
	m := packet.Message{Topic: []byte("t"), Payload: binary.BigEndian.AppendUint32(nil, n), QoS: qos}
	tr.f.Await(tr.rng.Intn(4) == 0)
	tr.f.Begin(&m, 0)
	tr.s.Deliver(tr.f, Delivery{QoS: qos})
	tr.f.End()
	r := tr.f.Receipt()
	if r == nil {
		tr.t.Fatal("nothing to wait for, with a durable session")
	}
	if settled, _ := r.Wait(func(error) { tr.acked[n] = true }); settled {
		tr.acked[n] = true
	}
}

func (tr *trial) connect() {
	tr.link = &fakeLink{}
	tr.window = 1 + tr.rng.Intn(5)
	tr.answers, tr.unacked = nil, 0
	p := Params{Version: packet.V5, ReceiveMaximum: uint16(tr.window), SessionExpiry: 100}
	if tr.rng.Intn(2) == 0 {
		tr.s.Prepare(p)
	}
	if _, _, ok := tr.s.Attach(tr.link, p); !ok {
		tr.t.Fatal("Attach refused")
	}
	tr.s.Pump(tr.f)
}

func (tr *trial) restart() {
	tr.link, tr.ready = nil, false
	after := tr.st.session.crash()
	tr.s = Restore(tr.env, store.Saved{Record: store.Record{ClientID: "c", Expiry: 100}, State: after}, 1, 0)
	after.owner = tr.s
}

func (tr *trial) readPacket() {
	if tr.link == nil || len(tr.link.frames) == 0 {
		return
	}
	b := tr.link.frames[0]
	tr.link.frames = tr.link.frames[1:]
	h, n, _ := packet.ReadHeader(b)
	if h.Type == packet.TypePubrel {
		var a packet.Ack
		if err := packet.DecodeAck(&a, packet.TypePubrel, packet.V5, b[n:]); err != nil {
			tr.t.Fatal(err)
		}
		delete(tr.held, a.PacketID)
		tr.answers = append(tr.answers, func() { tr.s.Pubcomp(a.PacketID) })
		return
	}
	var p packet.Publish
	if err := packet.DecodePublish(&p, packet.V5, h, b[n:], true); err != nil {
		tr.t.Fatal(err)
	}
	number, id := binary.BigEndian.Uint32(p.Payload), p.PacketID
	if tr.unacked++; tr.unacked > tr.window {
		tr.t.Fatalf("%d in flight, Receive Maximum %d", tr.unacked, tr.window)
	}
	if p.QoS == 1 {
		if !tr.seen[number] {
			tr.note(number)
		}
		tr.answers = append(tr.answers, func() {
			tr.unacked--
			if m := tr.s.Puback(id); m != nil {
				m.Unref()
			}
		})
		return
	}
	if had, ok := tr.held[id]; !ok {
		if tr.seen[number] {
			tr.t.Fatalf("QoS 2: %d came twice", number)
		}
		tr.note(number)
		tr.held[id] = number
	} else if had != number {
		tr.t.Fatalf("QoS 2: %d has the Packet Identifier %d, under which the client holds %d", number, id, had)
	}
	tr.answers = append(tr.answers, func() {
		tr.unacked--
		if m := tr.s.Pubrec(id, packet.Success); m != nil {
			m.Unref()
		}
	})
}

func (tr *trial) note(number uint32) {
	tr.seen[number] = true
	tr.received = append(tr.received, number)
}

func (tr *trial) answer() {
	if tr.link == nil || len(tr.answers) == 0 {
		return
	}
	a := tr.answers[0]
	tr.answers = tr.answers[1:]
	a()
	tr.s.Pump(tr.f)
}

// Whatever crashes: what was acknowledged to the publisher arrives, in order,
// and at QoS 2 once, under one Packet Identifier.
func TestDurableSession(t *testing.T) {
	for seed := range int64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runTrial(t, seed) })
	}
}

func runTrial(t *testing.T, seed int64) {
	rng := rand.New(rand.NewSource(seed))
	tr := &trial{t: t, rng: rng, st: &slowStore{rng: rng}, acked: map[uint32]bool{}, seen: map[uint32]bool{}, held: map[uint16]uint32{}}
	tr.env = &Env{Store: tr.st, Now: func() int64 { return 0 }, Ready: func(*Session) { tr.ready = true }}
	tr.env.Limits.Store(&Limits{MaxInflight: 1 + rng.Intn(10)})
	tr.env.Drop = func(_ *Session, m *packet.Message, qos byte, reason string) { t.Errorf("dropped: %s", reason) }
	tr.f = &Frames{NextID: func() uint64 { tr.ids++; return tr.ids }}
	tr.s = New(tr.env, "", "c", 1)
	qos := byte(1 + seed%2)
	tr.connect()
	tr.st.session.commit() // CONNACK waits for that
	step := func(weights ...int) {
		switch pick(rng, weights) {
		case 0:
			if tr.sent < 200 {
				tr.publish(qos)
			}
		case 1:
			tr.readPacket()
		case 2:
			tr.answer()
		case 3:
			tr.st.session.commit()
		case 4:
			tr.st.session.read()
		case 5:
			if tr.link == nil {
				tr.connect()
			}
		case 6:
			if tr.link != nil {
				tr.s.Detach(tr.link)
				tr.link = nil
			}
		case 7:
			tr.restart()
		case 8:
			tr.connect() // takes over
		case 9:
			if tr.link != nil {
				tr.link.congested = !tr.link.congested
			}
		}
		if ss := tr.st.session; ss.late {
			ss.late = false
			ss.owner.Ready()
		}
		if tr.ready && tr.link != nil {
			tr.ready = false
			tr.s.Pump(tr.f)
		}
	}
	for range 1500 {
		step(20, 20, 20, 10, 10, 5, 2, 2, 1, 2)
	}
	if tr.link == nil {
		tr.connect()
	}
	tr.link.congested = false
	for range 5000 {
		step(0, 20, 20, 10, 10)
		tr.s.Pump(tr.f)
	}
	for n := range tr.acked {
		if !tr.seen[n] {
			t.Errorf("message %d was acknowledged and has not arrived", n)
		}
	}
	if !slices.IsSorted(tr.received) {
		t.Errorf("out of order: %v", tr.received)
	}
	if st := tr.s.Stats(); st.Inflight != 0 || st.Queued != 0 || len(tr.st.session.live) != 0 {
		t.Errorf("left behind: %+v, %d in the store", st, len(tr.st.session.live))
	}
}

func pick(rng *rand.Rand, weights []int) int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := rng.Intn(sum)
	for i, w := range weights {
		if n -= w; n < 0 {
			return i
		}
	}
	return 0
}
