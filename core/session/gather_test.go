package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// receiver is a session that some gather for, and what its client should have got.
type receiver struct {
	s    *Session
	link *fakeLink
	// params of all its connections
	params Params
	want   [][]byte
}

func (r *receiver) attach() {
	r.link = &fakeLink{}
	r.want = nil
	r.s.Attach(r.link, r.params)
}

func (r *receiver) check(t *testing.T) {
	t.Helper()
	if len(r.link.frames) != len(r.want) {
		t.Fatalf("%d packets, want %d", len(r.link.frames), len(r.want))
	}
	for i, b := range r.link.frames {
		if !bytes.Equal(b, r.want[i]) {
			t.Fatalf("packet %d is %x, want %x", i, b, r.want[i])
		}
	}
}

// Whether messages are gathered, by one or by another, or delivered one by one: each client gets the same packets in the same order.
func TestGatherAgainstDelivery(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runGather(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func runGather(t *testing.T, rng *rand.Rand) {
	env := &Env{Store: new(store.Memory), Now: func() int64 { return 0 }}
	env.Limits.Store(&Limits{MaxInflight: 65535})
	env.Drop = func(_ *Session, m *packet.Message, _ byte, reason string) {
		if reason != hook.DropPacketTooLarge {
			t.Errorf("%s was dropped: %s", m.Payload, reason)
		}
	}
	client := new(hook.Client)
	receivers := make([]*receiver, 1+rng.IntN(6))
	for i := range receivers {
		r := &receiver{s: New(env, "", fmt.Sprint(i), uint64(i)), params: Params{Version: packet.V311 + packet.Version(rng.IntN(2))}}
		switch {
		case rng.IntN(4) == 0:
			r.params.MaximumPacketSize = 40
		case r.params.Version == packet.V5 && rng.IntN(4) == 0:
			r.params.TopicAliasMaximum = 2
		}
		r.s.Client.Store(client)
		r.attach()
		receivers[i] = r
	}
	ids := uint64(0)
	next := func() uint64 { ids++; return ids }
	// Who delivers one by one to sessions like these says what is right.
	plain := &Frames{NextID: next}
	twins := make([]*receiver, len(receivers))
	for i, r := range receivers {
		twins[i] = &receiver{s: New(env, "", "twin"+fmt.Sprint(i), uint64(100+i)), params: r.params}
		twins[i].attach()
	}
	frames := []*Frames{{NextID: next}, {NextID: next}}
	settle := func(f *Frames) { f.SettleAll(func(Link) {}) }

	deliver := func(f *Frames, r *receiver, d Delivery, gather bool) {
		if gather && d.QoS == 0 && f.Gathers() {
			g := f.Gathering(r.s)
			if g == nil {
				f.Settle(r.s)
				g = f.StartGathering(r.s, client)
			}
			if g != nil {
				if much, ok := f.Gather(g); ok {
					if much {
						f.Settle(r.s)
					}
					return
				}
			}
		}
		f.Settle(r.s)
		r.s.Deliver(f, d)
	}
	for n := range 2000 {
		f := frames[rng.IntN(len(frames))]
		if rng.IntN(50) == 0 {
			// Both at a time would be two publishers, between whom there is no order.
			f = frames[0]
			settle(frames[0])
			settle(frames[1])
		}
		payload := make([]byte, 4+rng.IntN(1<<rng.IntN(14)))
		binary.BigEndian.PutUint32(payload, uint32(n))
		m := packet.Message{Topic: []byte("t/" + fmt.Sprint(rng.IntN(3))), Payload: payload, Expires: packet.NoExpiry, QoS: byte(rng.IntN(8) / 7)}
		f.Begin(&m, 0)
		plain.Begin(&m, 0)
		gather := rng.IntN(8) > 0
		for i, r := range receivers {
			if rng.IntN(3) == 0 {
				continue
			}
			d := Delivery{QoS: m.QoS}
			if other := frames[0]; f == other {
				frames[1].Settle(r.s)
			} else {
				other.Settle(r.s)
			}
			deliver(f, r, d, gather)
			twins[i].s.Deliver(plain, d)
		}
		f.End()
		plain.End()
		if f.GatheredMuch() {
			settle(f)
		}
		if rng.IntN(100) == 0 {
			// A new connection; what was gathered goes to the old one.
			i := rng.IntN(len(receivers))
			r := receivers[i]
			old := *r
			old.want = twins[i].link.frames
			if rng.IntN(2) == 0 {
				r.s.Detach(r.link)
			}
			r.s.End(func(store.Entry) {})
			twins[i].s.End(func(store.Entry) {})
			settle(frames[0])
			settle(frames[1])
			old.check(t)
			r.s, twins[i].s = New(env, "", "again", next()), New(env, "", "again", next())
			r.s.Client.Store(client)
			r.attach()
			twins[i].attach()
		}
	}
	for _, f := range frames {
		settle(f)
		if len(f.gatherings)+len(f.notes)+len(f.packets)+len(f.gatherer.buf) != 0 {
			t.Error("something is left")
		}
	}
	for i, r := range receivers {
		if r.s.gathering.Load() != 0 {
			t.Error("somebody still gathers")
		}
		r.want = twins[i].link.frames
		r.check(t)
	}
}

// What has been gathered goes to the connection that it was gathered for, and permissions are asked anew for another client.
func TestGatheringEndsWithItsClient(t *testing.T) {
	env := &Env{Store: new(store.Memory), Now: func() int64 { return 0 }}
	env.Limits.Store(&Limits{MaxInflight: 10})
	s := New(env, "", "c", 1)
	one, other := new(hook.Client), new(hook.Client)
	s.Client.Store(one)
	first, second := new(fakeLink), new(fakeLink)
	s.Attach(first, Params{Version: packet.V311})
	f, foreign := new(Frames), new(Frames)
	m := packet.Message{Topic: []byte("t"), Payload: []byte("x"), Expires: packet.NoExpiry}
	f.Begin(&m, 0)
	f.Gather(f.StartGathering(s, one))
	if f.Gathering(s) == nil {
		t.Fatal("nothing is gathered")
	}
	if foreign.Gathering(s) != nil || foreign.Settle(s) != nil || foreign.StartGathering(s, one) != nil {
		t.Error("somebody else took over what is gathered")
	}
	s.Client.Store(other)
	if f.Gathering(s) != nil {
		t.Error("gathered on for another client")
	}
	s.Client.Store(one)
	s.Attach(second, Params{Version: packet.V311})
	if f.Gathering(s) != nil {
		t.Error("gathered on for another connection")
	}
	if f.Settle(s) != Link(first) || len(first.frames) != 1 || len(second.frames) != 0 {
		t.Errorf("the old connection got %d packets, the new one %d; want 1 and 0", len(first.frames), len(second.frames))
	}
	if f.Settle(s) != nil {
		t.Error("settled twice")
	}
	second.congested = true
	if f.StartGathering(s, one) != nil {
		t.Error("gathers for a connection that is full")
	}
	second.congested = false
	f.Gather(f.StartGathering(s, one))
	f.SettleAll(func(out Link) {
		if out != Link(second) {
			t.Error("another connection is to be flushed")
		}
	})
	if len(second.frames) != 1 || foreign.StartGathering(s, one) == nil {
		t.Error("it is not over when all is settled")
	}
}
