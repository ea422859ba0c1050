package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// The broker is killed so long after traffic began, uniformly.
const (
	minLife = 20 * time.Millisecond
	maxLife = 400 * time.Millisecond
)

// run is one run: a broker, its clients, and what they have seen.
type run struct {
	program program
	ledger  *ledger
	cast    *cast
	rng     *rand.Rand
	kills   int // so far
	checker actor
	here    []*subscriber // those who take part in the present life
	wg      sync.WaitGroup
	// stalled is how long nothing may happen while something is awaited.
	stalled time.Duration
	// mischief is what happens in the wild, before the broker is killed.
	mischief func(st *stage) error
	// finish waits for what has to be done before the broker is stopped in order, beyond
	// what is owed; nil: nothing.
	finish func() error
}

func newRun(p program, seed uint64) *run {
	l := newLedger()
	r := newRunOf(p, l, seed)
	r.cast = newCast(l, seed)
	r.checker = l.enter("checker", "MQTT 5.0, looks at retained messages")
	r.mischief = func(*stage) error {
		r.letBe(minLife + time.Duration(r.rng.Int64N(int64(maxLife-minLife))))
		return nil
	}
	return r
}

// newRunOf makes a run that has nobody in it yet.
func newRunOf(p program, l *ledger, seed uint64) *run {
	return &run{program: p, ledger: l, rng: rand.New(rand.NewPCG(seed, 1<<32)), stalled: stalled}
}

// errViolated ends a run because the ledger has something to report.
var errViolated = errors.New("violated")

// execute kills the broker so many times, and then ends it in order. It returns
// errViolated after the first violation, and other errors when the run could not
// go on.
func (r *run) execute(kills int) error {
	for r.kills < kills {
		life := r.life
		if r.kills > 0 && r.rng.IntN(6) == 0 {
			life = r.stillborn
		}
		if err := life(); err != nil {
			return err
		}
		r.kills++
	}
	if err := r.lastLife(0); err != nil {
		return err
	}
	// What is there must be there after an orderly end too.
	return r.lastLife(0)
}

// life is one life of the broker, to the kill. In most of them everything that is
// due to the clients who are there has to arrive before new traffic begins; in
// one of four the broker is killed while they are still catching up.
func (r *run) life() error {
	st, err := r.begin()
	if err != nil {
		return err
	}
	r.here = r.here[:0]
	for _, s := range r.cast.subscribers {
		if r.kills == 0 || s.absent == 0 || r.rng.IntN(s.absent) != 0 {
			r.here = append(r.here, s)
		}
	}
	hasty := r.kills > 0 && r.rng.IntN(4) == 0
	if hasty {
		st.wild.Store(true)
	}
	if err := r.admit(st); err != nil {
		return err
	}
	if !hasty {
		if err := r.settle(st); err != nil {
			return err
		}
		st.wild.Store(true)
	}
	if err := r.mischief(st); err != nil {
		return err
	}
	return r.kill(st)
}

// stillborn kills the broker while it starts, which must not matter either.
func (r *run) stillborn() error {
	r.ledger.advance()
	if err := r.program.launch(); err != nil {
		return err
	}
	r.here = r.here[:0]
	r.letBe(time.Duration(r.rng.Int64N(int64(r.program.startup()))))
	return r.kill(newStage(""))
}

// letBe lets clients and broker do as they like for a time.
func (r *run) letBe(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.program.ended():
	case <-r.ledger.failed:
	}
}

// lastLife is one in which everyone is there and everything has to arrive, before
// there is traffic for a time and after it. It ends in order.
func (r *run) lastLife(traffic time.Duration) error {
	st, err := r.begin()
	if err != nil {
		return err
	}
	r.here = r.cast.subscribers
	if err := r.admit(st); err != nil {
		return err
	}
	if err := r.settle(st); err != nil {
		return err
	}
	if traffic > 0 {
		st.wild.Store(true)
		r.letBe(traffic)
		st.wild.Store(false)
		if err := r.settle(st); err != nil {
			return err
		}
	}
	close(st.leave)
	r.wg.Wait()
	r.checkRetained(st)
	if len(r.ledger.broken()) > 0 {
		return r.kill(st)
	}
	if r.finish != nil {
		if err := r.finish(); err != nil {
			return err
		}
	}
	return r.program.stop()
}

// begin starts the broker and looks at the retained messages before anyone can
// change them.
func (r *run) begin() (*stage, error) {
	r.ledger.advance()
	if err := r.program.start(); err != nil {
		return nil, err
	}
	st := newStage(r.program.address())
	r.checkRetained(st)
	return st, nil
}

// admit lets the clients in. The first time all subscriptions are there before
// anything is published.
func (r *run) admit(st *stage) error {
	for _, s := range r.here {
		r.wg.Go(func() { s.attend(st) })
	}
	if m := r.cast.mourner; m != nil {
		r.wg.Go(func() { m.attend(st) })
	}
	if r.kills == 0 {
		if err := r.await(st, r.subscribersSettled); err != nil {
			return err
		}
	}
	for _, p := range r.cast.publishers {
		r.wg.Go(func() { p.attend(st) })
	}
	return nil
}

// kill ends a life without warning.
func (r *run) kill(st *stage) error {
	alive := !closed(r.program.ended())
	r.ledger.died()
	close(st.killed)
	r.program.kill()
	close(st.gone)
	r.wg.Wait()
	switch {
	case !alive:
		return fmt.Errorf("the broker has ended by itself: %s", r.program.ending())
	case len(r.ledger.broken()) > 0:
		return errViolated
	}
	return nil
}

// settle waits until all that is due to the clients who are there has arrived and
// all handshakes are through.
func (r *run) settle(st *stage) error {
	return r.await(st, func() bool {
		if r.ledger.witness != nil {
			r.ledger.witness()
		}
		for _, p := range r.cast.publishers {
			if !p.settled.Load() {
				return false
			}
		}
		return r.subscribersSettled() && r.nothingOwed()
	})
}

func (r *run) subscribersSettled() bool {
	for _, s := range r.here {
		if !s.settled.Load() {
			return false
		}
	}
	return r.cast.mourner == nil || r.cast.mourner.settled.Load()
}

func (r *run) nothingOwed() bool {
	for _, a := range r.accounts() {
		if r.ledger.owed(a) > 0 {
			return false
		}
	}
	return true
}

// accounts are those where everything has to arrive in the present life. What a
// member of the shared subscription has in its queue waits for that one.
func (r *run) accounts() (list []*account) {
	for _, s := range r.here {
		list = append(list, s.account)
	}
	if r.cast.group != nil && len(r.here) == len(r.cast.subscribers) {
		list = append(list, r.cast.group)
	}
	return append(list, r.cast.guests...)
}

// await polls until done is true. When nothing has happened for the time of
// patience, what is missing is lost.
func (r *run) await(st *stage, done func() bool) error {
	progress, since := r.ledger.progress(), time.Now()
	failed, enough := r.ledger.failed, (<-chan time.Time)(nil)
	for !done() {
		select {
		case <-r.program.ended():
			return r.kill(st)
		case <-failed:
			failed, enough = nil, time.After(aftermath)
		case <-enough:
			return r.kill(st)
		case <-time.After(2 * time.Millisecond):
		}
		if now := r.ledger.progress(); now != progress {
			progress, since = now, time.Now()
		}
		if time.Since(since) > r.stalled {
			return r.stuck(st)
		}
	}
	if len(r.ledger.broken()) > 0 {
		return r.kill(st)
	}
	return nil
}

// stalled is far longer than any pause of a broker on a busy machine.
const stalled = patience / 2

// stuck ends a life in which something that has to happen does not.
func (r *run) stuck(st *stage) error {
	err := r.kill(st)
	for _, s := range r.here {
		if !s.settled.Load() {
			s.stuck()
		}
		r.ledger.missed(s.who, s.account)
	}
	for _, p := range r.cast.publishers {
		for _, o := range p.outgoing {
			r.ledger.faultOf(p.who, o.m, fmt.Sprintf("%v does not come", o.awaits))
		}
	}
	for _, a := range r.cast.guests {
		r.ledger.missed(r.checker, a)
	}
	if len(r.ledger.broken()) == 0 && r.cast.group != nil {
		r.ledger.missed(r.checker, r.cast.group)
	}
	if err == nil && len(r.ledger.broken()) > 0 {
		return errViolated
	}
	return err
}

// checkRetained subscribes to the retained messages and holds them against the
// ledger.
func (r *run) checkRetained(st *stage) {
	for _, prefix := range []string{"state/", "keep/"} {
		found, err := r.retained(st, prefix)
		if err != nil {
			r.ledger.fault(r.checker, "looking at the retained messages: "+err.Error())
			return
		}
		r.ledger.checkRetained(r.checker, prefix, found)
	}
}

// aftermath is how long a life goes on after a violation, for more of them.
const aftermath = time.Second

// retainedGrace is how long retained messages may come after the broker has
// answered a PINGREQ that was sent behind the SUBSCRIBE.
const retainedGrace = time.Second

// retained collects the retained messages below prefix: those that come before the
// answer to a PINGREQ, and for some time those that have to be there.
func (r *run) retained(st *stage, prefix string) (map[string]*message, error) {
	c, _, err := connect(st.addr, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "checker"})
	if err != nil {
		return nil, err
	}
	defer c.disconnect()
	sub := packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: prefix + "#"}}}
	b, err := sub.Append(nil, packet.V5)
	if err != nil {
		return nil, err
	}
	if err := c.send(append(b, packet.Pingreq...)); err != nil {
		return nil, err
	}
	found := map[string]*message{}
	wanted := r.ledger.mustRetain(prefix)
	var answered time.Time
	for {
		h, body, err := c.next(time.Now().Add(patience))
		switch {
		case err != nil:
			return nil, err
		case h.Type == packet.TypePublish:
			if err := r.collect(found, h, body); err != nil {
				return nil, err
			}
		case h.Type == packet.TypePingresp:
			if answered.IsZero() {
				answered = time.Now()
			}
			if hasAll(found, wanted) || time.Since(answered) > retainedGrace {
				return found, nil
			}
			st.pause(idle)
			if err := c.send(packet.Pingreq); err != nil {
				return nil, err
			}
		}
	}
}

func hasAll(found map[string]*message, topics []string) bool {
	for _, t := range topics {
		if found[t] == nil {
			return false
		}
	}
	return true
}

func (r *run) collect(found map[string]*message, h packet.Header, body []byte) error {
	var p packet.Publish
	if err := packet.DecodePublish(&p, packet.V5, h, body, true); err != nil {
		return err
	}
	m := r.ledger.identify(r.checker, packet.V5, &p)
	switch {
	case m == nil: // reported
	case found[m.stream.topic] != nil:
		r.ledger.faultOf(r.checker, m, "there are two retained messages of its topic")
	case !p.Retain:
		r.ledger.faultOf(r.checker, m, "it came for a new subscription without RETAIN [MQTT-3.3.1-8]")
	default:
		found[m.stream.topic] = m
	}
	return nil
}
