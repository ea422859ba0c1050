package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
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
	acked  int // of link.frames have been looked at
}

func (r *receiver) attach() {
	r.link = &fakeLink{}
	r.want, r.acked = nil, 0
	r.s.Attach(r.link, r.params)
}

// acknowledge takes up to n packets and acknowledges them.
func (r *receiver) acknowledge(f *Frames, n int) {
	for ; n > 0 && r.acked < len(r.link.frames); n-- {
		h, size, _ := packet.ReadHeader(r.link.frames[r.acked])
		var m packet.Publish
		if err := packet.DecodePublish(&m, r.params.Version, h, r.link.frames[r.acked][size:], true); err != nil {
			panic(err)
		}
		r.acked++
		var done *packet.Message
		switch m.QoS {
		case 1:
			done = r.s.Puback(m.PacketID)
		case 2:
			done = r.s.Pubrec(m.PacketID, packet.UnspecifiedError)
		}
		if done != nil {
			done.Unref()
		}
	}
	r.s.Pump(f)
}

// split sorts packets by what has to be in order, at QoS 0 and above.
func split(packets [][]byte) (zero, above [][]byte) {
	for _, b := range packets {
		if b[0]>>1&3 == 0 {
			zero = append(zero, b)
		} else {
			above = append(above, b)
		}
	}
	return zero, above
}

func (r *receiver) check(t *testing.T) {
	t.Helper()
	if r.params.ReceiveMaximum > 0 {
		// Those of QoS 0 may overtake what waits for the window, sooner or later.
		gotZero, gotAbove := split(r.link.frames)
		wantZero, wantAbove := split(r.want)
		r.link.frames, r.want = append(gotZero, gotAbove...), append(wantZero, wantAbove...)
	}
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
		if reason != hook.DropPacketTooLarge && reason != hook.DropSessionEnded {
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
		case rng.IntN(3) == 0:
			r.params.ReceiveMaximum = uint16(1 + rng.IntN(10))
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
	settle := func(f *Frames) { f.SettleAll(func(Settled) {}) }

	deliver := func(f *Frames, r *receiver, d Delivery, gather bool) {
		if gather && f.Gathers() {
			g := f.Gathering(r.s)
			if g == nil {
				f.Settle(r.s)
				g = f.StartGathering(r.s, client)
			}
			if g != nil {
				if much, ok := f.Gather(g, d.QoS); ok {
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
		m := packet.Message{Topic: []byte("t/" + fmt.Sprint(rng.IntN(3))), Payload: payload, Expires: packet.NoExpiry, QoS: byte(rng.IntN(3) * rng.IntN(2))}
		f.Begin(&m, 0)
		plain.Begin(&m, 0)
		gather := rng.IntN(8) > 0
		for i, r := range receivers {
			if rng.IntN(3) == 0 {
				continue
			}
			d := Delivery{QoS: min(m.QoS, byte(i%3))}
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
		if rng.IntN(20) == 0 {
			settle(frames[0])
			settle(frames[1])
			n := rng.IntN(20)
			for i, r := range receivers {
				r.acknowledge(f, n)
				twins[i].acknowledge(plain, n)
			}
		}
		if rng.IntN(100) == 0 {
			// A new connection; what was gathered at QoS 0 goes to the old one.
			i := rng.IntN(len(receivers))
			r := receivers[i]
			old := *r
			old.want = twins[i].link.frames
			for _, f := range frames {
				if g := f.Gathering(r.s); g != nil && g.counts {
					f.Settle(r.s)
				}
			}
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
		if slices.ContainsFunc(f.index, func(n uint32) bool { return n != 0 }) {
			t.Error("something is left in the index")
		}
	}
	for i, r := range receivers {
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
	f.Gather(f.StartGathering(s, one), 0)
	if f.Gathering(s) == nil {
		t.Fatal("nothing is gathered")
	}
	if foreign.Gathering(s) != nil || foreign.Settle(s) != (Settled{}) {
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
	if f.Settle(s).Link != Link(first) || len(first.frames) != 1 || len(second.frames) != 0 {
		t.Errorf("the old connection got %d packets, the new one %d; want 1 and 0", len(first.frames), len(second.frames))
	}
	if f.Settle(s) != (Settled{}) {
		t.Error("settled twice")
	}
	second.congested = true
	if f.StartGathering(s, one) != nil {
		t.Error("gathers for a connection that is full")
	}
	second.congested = false
	f.Gather(f.StartGathering(s, one), 0)
	f.SettleAll(func(done Settled) {
		if done.Link != Link(second) {
			t.Error("another connection is to be flushed")
		}
	})
	if len(second.frames) != 1 || f.Gathering(s) != nil {
		t.Error("it is not over when all is settled")
	}
}

// Two gather for the same sessions, as two event loops do: each brings what it has in its order, and finds its own among many.
func TestTwoGather(t *testing.T) {
	env := &Env{Store: new(store.Memory), Now: func() int64 { return 0 }}
	env.Limits.Store(&Limits{MaxInflight: 100})
	client := new(hook.Client)
	sessions, links := make([]*Session, 300), make([]*fakeLink, 300)
	for i := range sessions {
		// Some keys have the same place in the index.
		sessions[i], links[i] = New(env, "", "c", uint64(i)<<(i%3*31)), new(fakeLink)
		sessions[i].Client.Store(client)
		sessions[i].Attach(links[i], Params{Version: packet.V311})
	}
	next := uint64(0)
	two := []*Frames{{NextID: func() uint64 { next++; return next }}, {NextID: func() uint64 { next++; return next }}}
	for n := range 10 {
		f := two[n%2]
		m := packet.Message{Topic: []byte("t"), Payload: []byte{byte('0' + n)}, Expires: packet.NoExpiry, QoS: byte(n / 2 % 2)}
		f.Begin(&m, 0)
		for i, s := range sessions {
			g := f.Gathering(s)
			if (g != nil) != (n >= 2 && (i%7 > 0 || n < 6)) {
				t.Fatalf("message %d, session %d: gathering %v", n, i, g)
			}
			if g == nil {
				g = f.StartGathering(s, client)
			}
			if _, ok := f.Gather(g, m.QoS); !ok {
				t.Fatal("it is not gathered")
			}
			if i%7 == 0 && n >= 4 {
				f.Settle(s)
			}
		}
		f.End()
	}
	two[1].SettleAll(func(Settled) {})
	two[0].SettleAll(func(Settled) {})
	for i, l := range links {
		var got []byte
		for _, p := range l.frames {
			got = append(got, p[len(p)-1])
		}
		want := "1357902468"
		if i%7 == 0 {
			want = "0241356789" // settled with the fifth and sixth message and each one after these
		}
		if string(got) != want {
			t.Fatalf("session %d got %s, want %s", i, got, want)
		}
	}
}

// What was gathered at QoS 1 and 2 is delivered as if it came when it is settled: within the window, and not to a connection that is
// gone.
func TestGatheredIsCounted(t *testing.T) {
	type fixture struct {
		env   *Env
		s     *Session
		link  *fakeLink
		f     *Frames
		drops []string
	}
	gather := func(t *testing.T, p Params, lim Limits, qos ...byte) *fixture {
		x := &fixture{env: &Env{Store: new(store.Memory), Now: func() int64 { return 0 }}, link: new(fakeLink), f: &Frames{NextID: func() uint64 { return 1 }}}
		x.env.Limits.Store(&lim)
		x.env.Drop = func(_ *Session, m *packet.Message, _ byte, reason string) {
			x.drops = append(x.drops, string(m.Payload)+" "+reason)
		}
		x.s = New(x.env, "", "c", 1)
		client := new(hook.Client)
		x.s.Client.Store(client)
		p.Version = packet.V311
		x.s.Attach(x.link, p)
		g := x.f.StartGathering(x.s, client)
		for i, q := range qos {
			m := packet.Message{Topic: []byte("t"), Payload: []byte{byte('a' + i)}, Expires: packet.NoExpiry, QoS: q}
			x.f.Begin(&m, 0)
			if _, ok := x.f.Gather(g, q); !ok {
				t.Fatalf("message %c is not gathered", 'a'+i)
			}
			x.f.End()
		}
		return x
	}
	payloads := func(l *fakeLink) (all string) {
		for _, b := range l.frames {
			all += string(b[len(b)-1:])
		}
		return all
	}
	settle := func(x *fixture) (done Settled) {
		x.f.SettleAll(func(d Settled) { done = d })
		return done
	}

	t.Run("window", func(t *testing.T) {
		x := gather(t, Params{ReceiveMaximum: 2}, Limits{MaxInflight: 10}, 1, 0, 2, 1, 0, 1)
		if done := settle(x); done != (Settled{Link: x.link, Sent: 2, Payload: 2}) || payloads(x.link) != "abce" || x.s.Load() != 4 {
			t.Fatalf("%+v, sent %q, load %d", done, payloads(x.link), x.s.Load())
		}
		x.s.Puback(1).Unref()
		x.s.Pump(x.f)
		x.s.Pubrec(2, packet.UnspecifiedError).Unref()
		x.s.Pump(x.f)
		if got := payloads(x.link); got != "abcedf" {
			t.Errorf("sent %q", got)
		}
	})
	t.Run("others wait", func(t *testing.T) {
		x := gather(t, Params{ReceiveMaximum: 1}, Limits{MaxInflight: 10}, 1)
		for _, payload := range []string{"1", "2"} {
			m := packet.Message{Topic: []byte("t"), Payload: []byte(payload), Expires: packet.NoExpiry, QoS: 1}
			x.f.Begin(&m, 0)
			x.s.Deliver(x.f, Delivery{QoS: 1}) // somebody else's
			x.f.End()
		}
		x.s.Puback(1).Unref()
		if settle(x); payloads(x.link) != "1" || x.s.Load() != 2 {
			t.Fatalf("sent %q, %d wait", payloads(x.link), x.s.Load())
		}
		x.s.Pump(x.f)
		x.s.Puback(2).Unref()
		if x.s.Pump(x.f); payloads(x.link) != "12a" {
			t.Errorf("sent %q", payloads(x.link))
		}
	})
	t.Run("away", func(t *testing.T) {
		x := gather(t, Params{SessionExpiry: 60}, Limits{MaxInflight: 10}, 1, 2, 0)
		x.s.Detach(x.link)
		if done := settle(x); done.Sent != 0 || payloads(x.link) != "c" {
			t.Fatalf("%+v, sent %q", done, payloads(x.link))
		}
		back := new(fakeLink)
		x.s.Attach(back, Params{Version: packet.V311})
		if x.s.Pump(x.f); payloads(back) != "ab" {
			t.Errorf("the next connection gets %q", payloads(back))
		}
	})
	t.Run("taken over", func(t *testing.T) {
		x := gather(t, Params{SessionExpiry: 60}, Limits{MaxInflight: 10}, 1, 2, 0)
		next := new(fakeLink)
		x.s.Attach(next, Params{Version: packet.V311})
		if done := settle(x); done != (Settled{Link: next, Sent: 2, Payload: 2}) || payloads(x.link) != "c" || payloads(next) != "ab" || x.s.Load() != 2 {
			t.Errorf("%+v, sent %q and %q", done, payloads(x.link), payloads(next))
		}
	})
	t.Run("ended", func(t *testing.T) {
		x := gather(t, Params{}, Limits{MaxInflight: 10}, 1, 2)
		x.s.End(func(store.Entry) {})
		settle(x)
		if fmt.Sprint(x.drops) != "[a session_ended b session_ended]" || len(x.link.frames) > 0 {
			t.Errorf("dropped %q, sent %q", x.drops, payloads(x.link))
		}
	})
	t.Run("overflow", func(t *testing.T) {
		x := gather(t, Params{ReceiveMaximum: 1}, Limits{MaxInflight: 10, MaxQueued: 1, Policy: Disconnect}, 1, 1, 1)
		if done := settle(x); done.Overflow != Link(x.link) || done.Sent != 1 || fmt.Sprint(x.drops) != "[c queue_full]" {
			t.Errorf("%+v, dropped %q", done, x.drops)
		}
	})
	t.Run("at once", func(t *testing.T) {
		x := gather(t, Params{}, Limits{MaxInflight: 10}, 1, 2)
		if done := settle(x); done.Sent != 2 || x.s.Load() != 2 {
			t.Errorf("%+v, load %d", done, x.s.Load())
		}
	})
	t.Run("congested", func(t *testing.T) {
		x := gather(t, Params{}, Limits{MaxInflight: 10}, 1, 0)
		x.link.congested = true
		if done := settle(x); done.Sent != 0 || payloads(x.link) != "b" {
			t.Errorf("%+v, sent %q", done, payloads(x.link))
		}
	})
	t.Run("durable", func(t *testing.T) {
		x := gather(t, Params{}, Limits{MaxInflight: 10})
		x.env.Store = new(slowStore)
		s, client := New(x.env, "", "d", 2), new(hook.Client)
		s.Client.Store(client)
		s.Attach(x.link, Params{Version: packet.V311, SessionExpiry: 60})
		g := x.f.StartGathering(s, client)
		m := packet.Message{Topic: []byte("t"), Expires: packet.NoExpiry, QoS: 1}
		x.f.Begin(&m, 0)
		if _, ok := x.f.Gather(g, 1); ok {
			t.Error("a message that has to be stored first is gathered")
		}
		if _, ok := x.f.Gather(g, 0); !ok {
			t.Error("a message at QoS 0 is not gathered")
		}
	})
}
