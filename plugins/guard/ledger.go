package guard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ledger counts failed logins. A login is let through if none of its tallies has a pause;
// how many of a tally are under way at once is bounded by how many may fail, so that a
// thousand guesses at the same moment are no more than a thousand one by one. The others
// wait for what becomes of those before them: that takes no longer than the plugins that
// decide need anyway.
//
// A user that has got in from an address is "known" there: only its own failures from there
// count against it. So nobody can lock a user out by failing in its name, and a device with
// a wrong password none of those that share its address. A password that fails again and
// again counts once for user and address: it is a device that has not been told of a change,
// and guesses nothing.
//
// It is safe for concurrent use.
type ledger struct {
	key []byte // of marks

	mu       sync.Mutex
	config   *LoginsConfig
	tallies  [kinds]*lru[tally]
	attempts map[uint64]*attempt // let through, by connection
	waiting  map[*attempt]*tally
	dirty    [shards]bool // what has to be stored
}

// attempt is a login.
type attempt struct {
	connection uint64
	network    netip.Prefix
	keys       [kinds]string
	mark       uint64
	began      int64
	// held are the tallies in which it is pending.
	held []*tally
	// verdict and complete meet where it had to wait: whichever comes second ends the wait.
	verdict  *verdict
	complete func(verdict)
}

// verdict is what is said to a login: go on, or not.
type verdict struct {
	refused bool
	// by is what the pause is of, if there is one.
	by   kind
	wait time.Duration // left of the pause; 0: too much waits already
}

const (
	// maxWaiting bounds the memory of logins that wait.
	maxWaiting = 10_000
	// waitAtMost is for a login that waits for others. A broker ends connections that have
	// no CONNACK after 10 s (mqtt.connect_timeout), and those that decide need some of it.
	waitAtMost = 5 * time.Second
	// decidedWithin is after what time a login is taken for one that has come to nothing:
	// its client has gone before an answer.
	decidedWithin = 10 * time.Second
)

func newLedger() *ledger {
	l := &ledger{key: make([]byte, sha256.Size), config: new(LoginsConfig), attempts: map[uint64]*attempt{}, waiting: map[*attempt]*tally{}}
	rand.Read(l.key) // never fails
	for k := range l.tallies {
		l.tallies[k] = newLRU(1, (*tally).busy)
	}
	return l
}

func (l *ledger) configure(p *policy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.config = &p.Logins
	for _, t := range l.tallies {
		t.max = p.MaxEntries
		t.shrink(t.max)
	}
}

// noPassword is the mark of a login without one.
const noPassword = 1

// mark stands for a password, as long as this process lives.
func (l *ledger) mark(password []byte) uint64 {
	mac := hmac.New(sha256.New, l.key)
	mac.Write(password)
	return binary.BigEndian.Uint64(mac.Sum(nil)) | 2
}

// digest stands for a long name.
func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "sha256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// enter asks to let a login through. If it has to wait, v is nil and the caller calls await.
func (l *ledger) enter(a *attempt, now int64) (v *verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.began = now
	if l.admit(a, now) {
		v = a.verdict
	}
	return v
}

// await has complete called with the verdict on a login that waits.
func (l *ledger) await(a *attempt, complete func(verdict)) {
	l.mu.Lock()
	a.complete = complete
	v := a.verdict
	l.mu.Unlock()
	if v != nil {
		complete(*v)
	}
}

// admit decides about a login, or has it wait. It makes tallies only for what it lets
// through: who has a pause cannot push out what others have.
func (l *ledger) admit(a *attempt, now int64) (decided bool) {
	var kinds []kind
	var full *tally
	for k, key := range a.keys {
		if key == "" || l.config.limit(kind(k)) == 0 {
			continue
		}
		kinds = append(kinds, kind(k))
		t := l.tallies[k].look(key)
		if t == nil {
			continue
		}
		t.age(l.config, now)
		if now < t.until {
			l.refuse(a, verdict{refused: true, by: t.kind, wait: time.Duration(t.until-now) * time.Millisecond})
			return true
		}
		if full == nil && !t.room(l.config) {
			full = t
		}
		if kind(k) == byPair && t.known(l.config, now) {
			break
		}
	}
	switch {
	case full != nil && len(l.waiting) >= maxWaiting:
		l.refuse(a, verdict{refused: true})
		return true
	case full != nil:
		full.waiting = append(full.waiting, a)
		l.waiting[a] = full
		return false
	}
	for _, k := range kinds {
		t := l.tally(k, a.keys[k])
		t.pending++
		a.held = append(a.held, t)
	}
	a.verdict, a.began = new(verdict), now
	l.attempts[a.connection] = a
	return true
}

func (l *ledger) refuse(a *attempt, v verdict) { a.verdict = &v }

func (l *ledger) tally(k kind, key string) *tally {
	t := l.tallies[k].touch(key)
	t.kind, t.key = k, key
	return t
}

// tidy forgets what says nothing.
func (l *ledger) tidy(tallies []*tally) {
	for _, t := range tallies {
		if t.empty() {
			l.tallies[t.kind].remove(t.key)
		}
	}
}

// outcome is what has become of a login.
type outcome uint8

const (
	nothing outcome = iota // a client that has gone, or a plugin that could not decide
	failed
	succeeded
)

// settle takes note of what has become of a login: of the one that a connection was let
// through with, or else of one with these keys. It returns the address to ban, if there is
// one.
func (l *ledger) settle(connection uint64, other attempt, what outcome, now int64) (ban netip.Prefix) {
	l.mu.Lock()
	a := l.attempts[connection]
	if a == nil {
		a = &other
	}
	delete(l.attempts, connection)
	ban = l.note(a, what, now)
	ready := l.release(a, now)
	l.mu.Unlock()
	for _, w := range ready {
		w.complete(*w.verdict)
	}
	return ban
}

// note counts.
func (l *ledger) note(a *attempt, what outcome, now int64) (ban netip.Prefix) {
	if what == nothing || !l.config.pauses() {
		return ban
	}
	pair := l.tally(byPair, a.keys[byPair])
	pair.age(l.config, now)
	if what == succeeded {
		if pair.failures > 0 {
			pair.forgive()
			l.changed(pair)
		}
		if a.keys[byUser] != "" && l.config.KnownFor > 0 {
			l.know(pair, now)
		}
		l.tidy([]*tally{pair})
		return ban
	}
	pair.count(l.config, now)
	l.changed(pair)
	if pair.failures >= l.config.limit(byPair) {
		pair.ok = 0
	}
	if a.mark != 0 && a.mark == pair.wrong {
		return ban
	}
	pair.wrong = a.mark
	for _, k := range [...]kind{byAddress, byUser} {
		if a.keys[k] == "" || l.config.limit(k) == 0 {
			continue
		}
		t := l.tally(k, a.keys[k])
		t.age(l.config, now)
		t.count(l.config, now)
		l.changed(t)
		if k == byAddress && l.config.BanAfter > 0 && t.failures >= l.config.BanAfter {
			ban = a.network
			// Once more for whoever is quicker than the ban; after it all begins anew.
			t.failures, t.until = 1, max(t.until, now+time.Second.Milliseconds())
		}
	}
	return ban
}

// know takes note that a user gets in from an address. It is stored no more often than
// it matters.
func (l *ledger) know(pair *tally, now int64) {
	if now-pair.ok > l.config.KnownFor.Std().Milliseconds()/10 {
		l.changed(pair)
	}
	pair.ok = now
}

// release ends what an attempt holds, and returns those that need not wait any more.
func (l *ledger) release(a *attempt, now int64) (ready []*attempt) {
	for _, t := range a.held {
		t.pending--
	}
	// A pause that has just begun is for those too that wait at tallies that the login did
	// not hold, because its user was known there.
	for k, key := range a.keys {
		if t := l.tallies[k].get(key); t != nil {
			ready = append(ready, l.wake(t, now)...)
		}
	}
	held := a.held
	a.held = nil
	l.tidy(held)
	return ready
}

// wake decides about those that wait at a tally as far as it can. The one that came last is
// first: where more come than can be decided about, those that have waited for long have
// clients that are about to give up, and a place for one that has gone is lost for everybody.
func (l *ledger) wake(t *tally, now int64) (ready []*attempt) {
	for len(t.waiting) > 0 && (now < t.until || t.room(l.config)) {
		n := len(t.waiting) - 1
		a := t.waiting[n]
		t.waiting[n] = nil
		t.waiting = t.waiting[:n]
		delete(l.waiting, a)
		if l.admit(a, now) && a.complete != nil {
			ready = append(ready, a)
		}
	}
	return ready
}

// expire gives up what has taken too long, and is to be called every second or so.
func (l *ledger) expire(now int64) {
	l.mu.Lock()
	var ready []*attempt
	over := map[*tally]bool{}
	for a, t := range l.waiting {
		if now-a.began < waitAtMost.Milliseconds() {
			continue
		}
		delete(l.waiting, a)
		l.refuse(a, verdict{refused: true})
		if a.complete != nil {
			ready = append(ready, a)
		}
		over[t] = true
	}
	for t := range over {
		t.waiting = slices.DeleteFunc(t.waiting, func(a *attempt) bool { return a.verdict != nil })
		l.tidy([]*tally{t})
	}
	for connection, a := range l.attempts {
		if now-a.began >= decidedWithin.Milliseconds() {
			delete(l.attempts, connection)
			ready = append(ready, l.release(a, now)...)
		}
	}
	l.mu.Unlock()
	for _, w := range ready {
		w.complete(*w.verdict)
	}
}

// lift ends the pauses of an address and of a user, "" for none, and forgets their
// failures. It reports whether there were any.
func (l *ledger) lift(network, user string, now int64) (found bool) {
	l.mu.Lock()
	var lifted []*tally
	for _, all := range l.tallies {
		all.each(func(t *tally) {
			n, u := t.subject()
			if t.failures > 0 && (network != "" && n == network || user != "" && u == user) {
				lifted = append(lifted, t)
			}
		})
	}
	var ready []*attempt
	for _, t := range lifted {
		t.forgive()
		l.changed(t)
		ready = append(ready, l.wake(t, now)...)
	}
	l.tidy(lifted)
	l.mu.Unlock()
	for _, w := range ready {
		w.complete(*w.verdict)
	}
	return len(lifted) > 0
}

// paused is a tally that has a pause.
type paused struct {
	User     string    `json:"user,omitempty"`
	Address  string    `json:"address,omitempty"`
	Failures int       `json:"failures"`
	Until    time.Time `json:"until"`
}

// pauses lists who has a pause.
func (l *ledger) pauses(now int64) []paused {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []paused{}
	for _, all := range l.tallies {
		all.each(func(t *tally) {
			if now < t.until {
				network, user := t.subject()
				out = append(out, paused{user, network, t.failures, time.UnixMilli(t.until)})
			}
		})
	}
	return out
}

// sizes are how many tallies of each kind there are, and how many logins wait.
func (l *ledger) sizes() (tallies [kinds]int, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, t := range l.tallies {
		tallies[k] = len(t.items)
	}
	return tallies, len(l.waiting)
}
