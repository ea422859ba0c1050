package guard

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// naive is the same rules for logins one after the other, by the letter.
type naive struct {
	c     *LoginsConfig
	tries []naiveTry
}

type naiveTry struct {
	at            int64
	address, user string
	secret        string
	what          outcome
}

// pausedAt replays all that happened.
func (n *naive) pausedAt(now int64, address, user string) bool {
	type state struct {
		failures    int
		last, until int64
		ok          int64
		wrong       string
	}
	states := map[string]*state{}
	get := func(key string, at int64) *state {
		s := states[key]
		if s == nil {
			s = &state{}
			states[key] = s
		}
		if s.failures > 0 && at-s.last >= n.c.Forget.Std().Milliseconds() {
			*s = state{ok: s.ok}
		}
		return s
	}
	fail := func(s *state, at int64, limit int) {
		s.failures++
		s.last = at
		if s.failures >= limit {
			pause := n.c.Pause.Std().Milliseconds()
			for range s.failures - limit {
				pause = min(pause*2, n.c.MaxPause.Std().Milliseconds())
			}
			s.until = at + pause
		}
	}
	for _, t := range n.tries {
		p := get(t.address+"|"+t.user, t.at)
		if t.what == succeeded {
			*p = state{ok: t.at}
			continue
		}
		fail(p, t.at, n.c.PerUser)
		if p.failures >= n.c.PerUser {
			p.ok = 0
		}
		if p.wrong == t.secret {
			continue
		}
		p.wrong = t.secret
		a := get("a"+t.address, t.at)
		fail(a, t.at, n.c.PerAddress)
		if a.failures >= n.c.BanAfter {
			a.failures, a.until = 1, max(a.until, t.at+second)
		}
		fail(get("u"+t.user, t.at), t.at, n.c.PerUser)
	}
	p := get(address+"|"+user, now)
	if now < p.until {
		return true
	}
	if p.ok != 0 && now-p.ok < n.c.KnownFor.Std().Milliseconds() {
		return false
	}
	return now < get("a"+address, now).until || now < get("u"+user, now).until
}

// Whatever happens, the ledger says what the rules say.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := newBook(t, limits)
		model := &naive{c: &limits}
		for step := range 150 {
			address, user := fmt.Sprintf("192.0.2.%d", 1+r.IntN(3)), fmt.Sprint("u", r.IntN(3))
			what := failed
			if r.IntN(4) == 0 {
				what = succeeded
			}
			secret := fmt.Sprint("s", r.IntN(6))
			paused := b.try(address, user, secret, what) > 0
			if want := model.pausedAt(b.now, address, user); paused != want {
				t.Fatalf("seed %d, step %d: %s from %s: paused %v, want %v", seed, step, user, address, paused, want)
			}
			if !paused {
				model.tries = append(model.tries, naiveTry{b.now, address, user, secret, what})
			}
			b.now += []int64{0, 1, second, 3 * second, 40 * second, 40 * 60 * second, 3700 * second}[min(r.IntN(40), 6)*r.IntN(2)]
		}
		b.wantNothingLeft()
	}
}

// Many at once, with and without right passwords: everybody gets an answer, and at no
// moment more are under way than may fail.
func TestConcurrent(t *testing.T) {
	l := newLedger()
	l.configure(&policy{Config: Config{Logins: limits, MaxEntries: 64}})
	var connection sync.Map
	var wg sync.WaitGroup
	var now int64 = 1_000_000 * second
	for worker := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 2))
			for i := range 300 {
				id := uint64(worker*1000 + i + 1)
				a := &attempt{connection: id, keys: keys(fmt.Sprintf("192.0.2.%d", r.IntN(4)), fmt.Sprint("u", r.IntN(200)), true), mark: uint64(r.IntN(5) + 1)}
				answers := make(chan verdict, 1)
				if v := l.enter(a, now); v != nil {
					answers <- *v
				} else {
					l.await(a, func(v verdict) { answers <- v })
				}
				select {
				case v := <-answers:
					if !v.refused {
						connection.Store(id, true)
						l.settle(id, *a, outcome(r.IntN(int(succeeded)+1)), now)
					}
				case <-time.After(time.Minute):
					t.Error("no answer")
				}
			}
		})
	}
	wg.Wait()
	(&book{ledger: l, t: t}).wantNothingLeft()
	for k, all := range l.tallies {
		if len(all.items) > 64 {
			t.Errorf("%d of %s", len(all.items), kind(k))
		}
	}
}
