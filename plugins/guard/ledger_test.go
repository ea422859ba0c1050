package guard

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

const second = int64(1000)

// limits are those of most tests: 3 for a user, 6 for an address.
var limits = LoginsConfig{
	PerUser: 3, PerAddress: 6, Pause: sdk.Duration(time.Second), MaxPause: sdk.Duration(time.Minute), Forget: sdk.Duration(time.Hour),
	KnownFor: sdk.Duration(24 * time.Hour), BanAfter: 12, BanFor: sdk.Duration(time.Hour), IPv6Prefix: 64,
}

// book is a ledger with a clock of the test's.
type book struct {
	*ledger
	t          *testing.T
	now        int64
	connection uint64
	bans       []string
}

func newBook(t *testing.T, c LoginsConfig) *book {
	b := &book{ledger: newLedger(), t: t, now: 1_000_000 * second}
	b.configure(&policy{Config: Config{Logins: c, MaxEntries: 4096}})
	return b
}

func (b *book) login(address, user, secret string) *attempt {
	b.connection++
	a := &attempt{connection: b.connection, keys: keys(address, user, user != ""), mark: b.mark([]byte(secret))}
	if address != "" {
		a.network = netip.PrefixFrom(netip.MustParseAddr(address), 32)
	}
	return a
}

func (b *book) end(a *attempt, what outcome) {
	if p := b.settle(a.connection, *a, what, b.now); p.IsValid() {
		b.bans = append(b.bans, p.String())
	}
}

// try logs in, and reports how long the pause is if there is one.
func (b *book) try(address, user, secret string, what outcome) time.Duration {
	b.t.Helper()
	a := b.login(address, user, secret)
	v := b.enter(a, b.now)
	if v == nil {
		b.t.Fatal("it has to wait")
	}
	if v.refused {
		return v.wait
	}
	b.end(a, what)
	return 0
}

// guess fails with another password each time.
func (b *book) guess(address, user string) time.Duration {
	b.t.Helper()
	return b.try(address, user, fmt.Sprint("guess", b.connection), failed)
}

func (b *book) wantNothingLeft() {
	b.t.Helper()
	tallies, waiting := b.sizes()
	if waiting != 0 || len(b.attempts) != 0 {
		b.t.Errorf("%d wait, %d are under way", waiting, len(b.attempts))
	}
	for k, n := range tallies {
		b.tallies[k].each(func(t *tally) {
			if t.busy() {
				b.t.Errorf("%+v is busy, of %d", t, n)
			}
		})
	}
}

func TestPausesGrow(t *testing.T) {
	b := newBook(t, limits)
	for i := range 3 {
		if d := b.guess("192.0.2.1", "ann"); d != 0 {
			t.Fatalf("login %d is paused for %v", i, d)
		}
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if d := b.guess("192.0.2.2", "ann"); d != want*time.Second {
			t.Fatalf("a pause of %v, want %d s", d, want)
		}
		b.now += int64(want)*second - 1
		if d := b.guess("192.0.2.3", "ann"); d != time.Millisecond {
			t.Fatalf("%v are left, want 1 ms", d)
		}
		b.now++
		if d := b.guess("192.0.2.4", "ann"); d != 0 {
			t.Fatalf("still paused, for %v", d)
		}
	}
	if d := b.guess("192.0.2.44", "bob"); d != 0 {
		t.Errorf("another user is paused for %v", d)
	}
	b.now += time.Hour.Milliseconds()
	for range 2 {
		if d := b.guess("192.0.2.5", "ann"); d != 0 {
			t.Errorf("after an hour: %v", d)
		}
	}
	b.wantNothingLeft()
}

// An address is paused whoever tries from there, and banned in the end.
func TestAddress(t *testing.T) {
	b := newBook(t, limits)
	for i := range 6 {
		if d := b.guess("192.0.2.1", fmt.Sprint("user", i)); d != 0 {
			t.Fatal(d)
		}
	}
	if d := b.guess("192.0.2.1", "user7"); d != time.Second {
		t.Errorf("paused for %v", d)
	}
	if d := b.guess("192.0.2.2", "user7"); d != 0 {
		t.Errorf("another address is paused for %v", d)
	}
	for i := 0; len(b.bans) == 0; i++ {
		b.now += time.Minute.Milliseconds()
		if d := b.guess("192.0.2.1", fmt.Sprint("more", i)); d != 0 {
			t.Fatal(d)
		}
		if i > 12 {
			t.Fatal("no ban")
		}
	}
	if b.bans[0] != "192.0.2.1/32" {
		t.Errorf("bans %s", b.bans)
	}
	b.wantNothingLeft()
}

// Who has got in from an address is not locked out by others: not by those that fail in
// its name elsewhere, nor by those that fail with other names from its address.
func TestKnown(t *testing.T) {
	b := newBook(t, limits)
	if d := b.try("192.0.2.1", "ann", "right", succeeded); d != 0 {
		t.Fatal(d)
	}
	for i := range 10 {
		b.guess("192.0.2.9", "ann")
		b.guess("192.0.2.1", fmt.Sprint("user", i))
	}
	if d := b.guess("192.0.2.8", "ann"); d == 0 {
		t.Fatal("the user is not paused elsewhere")
	}
	if d := b.guess("192.0.2.1", "bob"); d == 0 {
		t.Fatal("the address is not paused for others")
	}
	for range 5 {
		if d := b.try("192.0.2.1", "ann", "right", succeeded); d != 0 {
			t.Errorf("the user is paused for %v", d)
		}
	}
	// But its own guesses count.
	for range 3 {
		if d := b.guess("192.0.2.1", "ann"); d != 0 {
			t.Fatal(d)
		}
	}
	if d := b.guess("192.0.2.1", "ann"); d == 0 {
		t.Error("it may guess for ever")
	}
	b.now += time.Minute.Milliseconds()
	b.try("192.0.2.1", "bob", "right", succeeded)
	b.now += 24 * time.Hour.Milliseconds()
	for range 4 {
		b.guess("192.0.2.7", "bob")
	}
	if d := b.guess("192.0.2.1", "bob"); d == 0 {
		t.Error("known for longer than a day")
	}
	b.wantNothingLeft()
}

// A device that tries the same wrong password for ever is paused itself, and nobody else.
func TestSamePassword(t *testing.T) {
	b := newBook(t, limits)
	for range 100 {
		b.try("192.0.2.1", "pump", "old", failed)
		b.now += second
	}
	if d := b.try("192.0.2.1", "pump", "old", failed); d == 0 {
		t.Error("it is not paused")
	}
	if d := b.try("192.0.2.1", "ann", "right", succeeded); d != 0 {
		t.Errorf("its address is paused for %v", d)
	}
	if d := b.try("192.0.2.2", "pump", "right", succeeded); d != 0 {
		t.Errorf("its user is paused for %v", d)
	}
	if len(b.bans) > 0 {
		t.Errorf("bans: %s", b.bans)
	}
}

// What keeps a client out for another reason is not counted.
func TestNothing(t *testing.T) {
	b := newBook(t, limits)
	for range 100 {
		if d := b.try("192.0.2.1", "ann", "x", nothing); d != 0 {
			t.Fatal(d)
		}
	}
	if n, _ := b.sizes(); n != [kinds]int{} {
		t.Errorf("remembered: %v", n)
	}
}

// crowd is logins that were made at once.
type crowd struct {
	b        *book
	mu       sync.Mutex
	verdicts map[*attempt]verdict
}

func (c *crowd) enter(a *attempt) {
	note := func(v verdict) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.verdicts[a] = v
	}
	if v := c.b.enter(a, c.b.now); v != nil {
		note(*v)
	} else {
		c.b.await(a, note)
	}
}

// take returns those that have been let through, and counts those that were refused.
func (c *crowd) take() (through []*attempt, refused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a, v := range c.verdicts {
		if v.refused {
			refused++
		} else {
			through = append(through, a)
			delete(c.verdicts, a)
		}
	}
	return through, refused
}

// A thousand guesses at the same moment are no more than one after the other.
func TestAtOnce(t *testing.T) {
	b := newBook(t, limits)
	c := &crowd{b: b, verdicts: map[*attempt]verdict{}}
	for i := range 1000 {
		c.enter(b.login(fmt.Sprintf("192.0.%d.%d", i/250, i%250), "ann", fmt.Sprint(i)))
	}
	through, refused := c.take()
	if len(through) != 3 || refused != 0 {
		t.Fatalf("%d are let through, %d refused; want 3 and 0", len(through), refused)
	}
	for i, a := range through {
		b.end(a, failed)
		more, refused := c.take()
		if i < 2 && (len(more) != 0 || refused != 0) || i == 2 && (len(more) != 0 || refused != 997) {
			t.Fatalf("after %d failures %d more are let through, %d refused", i+1, len(more), refused)
		}
	}
	b.wantNothingLeft()
}

// Those with right passwords all get in, however many come at once.
func TestHerd(t *testing.T) {
	b := newBook(t, limits)
	c := &crowd{b: b, verdicts: map[*attempt]verdict{}}
	var all []*attempt
	for i := range 2000 {
		a := b.login("192.0.2.1", fmt.Sprint("user", i), "right")
		all = append(all, a)
		c.enter(a)
	}
	in := 0
	for {
		through, refused := c.take()
		if refused != 0 || len(through) > 6 {
			t.Fatalf("%d at once, %d refused", len(through), refused)
		}
		if len(through) == 0 {
			break
		}
		for _, a := range through {
			b.end(a, succeeded)
			in++
		}
	}
	if in != len(all) {
		t.Errorf("%d of %d got in", in, len(all))
	}
	b.wantNothingLeft()
}

// Nobody waits for ever: clients go, and plugins hang.
func TestExpiry(t *testing.T) {
	b := newBook(t, limits)
	c := &crowd{b: b, verdicts: map[*attempt]verdict{}}
	for range 10 {
		c.enter(b.login("192.0.2.1", "ann", "x"))
	}
	if gone, _ := c.take(); len(gone) != 3 {
		t.Fatal(len(gone))
	}
	b.now += waitAtMost.Milliseconds() - 1
	if b.expire(b.now); len(c.verdicts) != 0 {
		t.Fatal("given up too early")
	}
	b.now++
	b.expire(b.now)
	if more, refused := c.take(); len(more) != 0 || refused != 7 {
		t.Fatalf("%d more, %d refused", len(more), refused)
	}
	clear(c.verdicts)
	c.enter(b.login("192.0.2.1", "ann", "x"))
	b.now = 1_000_000*second + decidedWithin.Milliseconds()
	b.expire(b.now - 1)
	if len(c.verdicts) != 0 {
		t.Fatal("places are given up too early")
	}
	c.enter(b.login("192.0.2.1", "ann", "x"))
	b.expire(b.now)
	if more, refused := c.take(); len(more) != 1 || refused != 1 { // the first one has waited for 5 s by now
		t.Fatalf("%d more, %d refused", len(more), refused)
	}
	b.now += decidedWithin.Milliseconds()
	b.expire(b.now)
	b.wantNothingLeft()
	// A late answer counts all the same.
	for range 3 {
		a := b.login("192.0.2.1", "ann", "y")
		b.end(a, failed)
	}
	if d := b.guess("192.0.2.5", "ann"); d != 0 {
		t.Errorf("paused for %v: the same password counts once", d)
	}
}

// Where more come than can be decided about, and all give up after a while, those are let
// through whose clients are still there.
func TestLastFirst(t *testing.T) {
	b := newBook(t, limits)
	c := &crowd{b: b, verdicts: map[*attempt]verdict{}}
	for i := range 1000 {
		c.enter(b.login("192.0.2.1", fmt.Sprint("user", i), "right"))
	}
	first, _ := c.take()
	latest := b.login("192.0.2.1", "late", "right")
	c.enter(latest)
	b.end(first[0], succeeded)
	if next, _ := c.take(); len(next) != 1 || next[0] != latest {
		t.Errorf("%d let through", len(next))
	}
}

func TestWaitingIsBounded(t *testing.T) {
	b := newBook(t, limits)
	c := &crowd{b: b, verdicts: map[*attempt]verdict{}}
	for i := range maxWaiting + 10 {
		c.enter(b.login("192.0.2.1", fmt.Sprint(i), "x"))
	}
	through, refused := c.take()
	if len(through) != 6 || refused != 4 {
		t.Errorf("%d through, %d refused", len(through), refused)
	}
	b.now += waitAtMost.Milliseconds()
	b.expire(b.now)
	if _, waiting := b.sizes(); waiting != 0 {
		t.Errorf("%d wait", waiting)
	}
}

// Memory is bounded, and what was quiet for longest is forgotten first.
func TestEntriesAreBounded(t *testing.T) {
	b := newBook(t, limits)
	b.configure(&policy{Config: Config{Logins: limits, MaxEntries: 256}})
	for i := range 10_000 {
		b.guess("", fmt.Sprint("user", i))
		if i%50 == 0 {
			b.guess("", "ann")
		}
	}
	if n, _ := b.sizes(); n[byUser] != 256 || n[byPair] != 256 {
		t.Errorf("%v are remembered", n)
	}
	if d := b.guess("", "ann"); d == 0 {
		t.Error("who keeps guessing is forgotten")
	}
	b.configure(&policy{Config: Config{Logins: limits, MaxEntries: 16}})
	if n, _ := b.sizes(); n[byUser] != 16 {
		t.Errorf("%v are remembered after a change", n)
	}
}

// Who has a pause makes nobody forgotten, however many names it tries.
func TestPausedMakesNothing(t *testing.T) {
	b := newBook(t, limits)
	b.configure(&policy{Config: Config{Logins: limits, MaxEntries: 64}})
	b.try("192.0.2.1", "ann", "right", succeeded)
	for i := range 1000 {
		b.guess("192.0.2.9", fmt.Sprint("user", i))
	}
	for range 5 {
		b.guess("192.0.2.8", "ann")
	}
	if d := b.try("192.0.2.1", "ann", "right", succeeded); d != 0 {
		t.Errorf("the user is not known any more: paused for %v", d)
	}
}

func TestLift(t *testing.T) {
	b := newBook(t, limits)
	for range 10 {
		b.guess("192.0.2.1", "ann")
	}
	if n := len(b.pauses(b.now)); n != 2 { // the user, and the user from there
		t.Errorf("%d pauses: %+v", n, b.pauses(b.now))
	}
	if b.lift("192.0.2.2", "", b.now) || b.lift("", "bob", b.now) {
		t.Error("lifted what is not there")
	}
	if !b.lift("", "ann", b.now) || len(b.pauses(b.now)) != 0 {
		t.Errorf("%+v", b.pauses(b.now))
	}
	if d := b.try("192.0.2.1", "ann", "right", succeeded); d != 0 {
		t.Error(d)
	}
}

func TestPauseLength(t *testing.T) {
	c := limits
	c.MaxPause = sdk.Duration(24 * time.Hour)
	for failures, want := range map[int]time.Duration{0: 0, 2: 0, 3: time.Second, 4: 2 * time.Second, 19: 65536 * time.Second, 20: 24 * time.Hour, 1 << 30: 24 * time.Hour} {
		if d := c.pause(failures, 3); d != want {
			t.Errorf("%d failures: %v, want %v", failures, d, want)
		}
	}
	if d := c.pause(1000, 0); d != 0 {
		t.Errorf("without a limit: %v", d)
	}
}

// The keys of different logins are different.
func TestKeys(t *testing.T) {
	seen := map[string][]string{}
	for _, k := range [][kinds]string{
		keys("n", "", false), keys("n", "u", true), keys("", "u", true), keys("nu", "", false), keys("", "", false),
	} {
		if slices.Contains(seen["pair"], k[byPair]) {
			t.Errorf("%q twice", k[byPair])
		}
		seen["pair"] = append(seen["pair"], k[byPair])
	}
	long := string(make([]rune, 5000))
	if k := keys("n", long, true); len(k[byUser]) > maxKey || len(k[byPair]) > 2*maxKey {
		t.Error("long names are kept")
	}
}

func BenchmarkLogin(b *testing.B) {
	l := newLedger()
	l.configure(&policy{Config: Config{Logins: limits, MaxEntries: 16384}})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a := &attempt{connection: uint64(i + 1), keys: keys("192.0.2.1", "ann", true), mark: 5}
		if v := l.enter(a, 1000); v == nil || v.refused {
			b.Fatal("not let through")
		}
		l.settle(a.connection, *a, succeeded, 1000)
	}
}
