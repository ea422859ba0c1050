package guard

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk"
)

// records is everything that would be stored.
func (b *book) records() (out []record) {
	for i := range b.dirty {
		b.dirty[i] = true
	}
	for _, shard := range b.take(b.now) {
		out = append(out, shard...)
	}
	return out
}

// What is stored and read again is the same, whatever happened.
func TestKeep(t *testing.T) {
	b := newBook(t, limits)
	for i := range 200 {
		what := failed
		if i%3 == 0 {
			what = succeeded
		}
		b.try(fmt.Sprintf("192.0.2.%d", i%17), fmt.Sprint("user", i%23), fmt.Sprint(i), what)
		b.now += second
	}
	before := b.records()
	if len(before) < 30 {
		t.Fatalf("%d records", len(before))
	}
	next := newBook(t, limits)
	next.now = b.now
	value, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.restore(value, b.now); err != nil {
		t.Fatal(err)
	}
	seen := map[string]record{}
	for _, r := range before {
		seen[fmt.Sprint(r.Kind, r.Key)] = r
	}
	after := next.records()
	for _, r := range after {
		if seen[fmt.Sprint(r.Kind, r.Key)] != r {
			t.Errorf("%+v was %+v", r, seen[fmt.Sprint(r.Kind, r.Key)])
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d records, before %d", len(after), len(before))
	}
	// Only what has changed is stored.
	next.take(b.now)
	next.guess("", "zoe")
	n := 0
	for _, shard := range next.take(b.now) {
		if shard != nil {
			n++
		}
	}
	if n < 1 || n > 2 {
		t.Errorf("%d shards were stored for two changes", n)
	}
}

// What a login that went well forgives is forgiven after a restart too.
func TestForgivenIsStored(t *testing.T) {
	b := newBook(t, limits)
	for range 2 {
		b.guess("192.0.2.1", "ann")
	}
	stored := map[int][]record{}
	note := func() {
		for i, shard := range b.take(b.now) {
			if shard != nil {
				stored[i] = shard
			}
		}
	}
	note()
	b.try("192.0.2.1", "ann", "right", succeeded)
	note()
	found := false
	for _, shard := range stored {
		for _, r := range shard {
			if r.Kind == byPair {
				found = true
				if r.Failures != 0 || r.OK != b.now {
					t.Errorf("%+v", r)
				}
			}
		}
	}
	if !found {
		t.Error("the pair is not stored")
	}
}

// A clock that was set back makes no pause of years.
func TestClockSetBack(t *testing.T) {
	b := newBook(t, limits)
	for range 5 {
		b.guess("192.0.2.1", "ann")
	}
	value, err := json.Marshal(b.records())
	if err != nil {
		t.Fatal(err)
	}
	next := newBook(t, limits)
	next.now = b.now - 1_000_000
	if err := next.restore(value, next.now); err != nil {
		t.Fatal(err)
	}
	if d := next.guess("192.0.2.1", "ann"); d > limits.MaxPause.Std() {
		t.Errorf("a pause of %v", d)
	}
}

// Whatever is stored, nothing bad comes of it.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`[{"k":2,"n":"ann","f":5,"l":1,"u":2,"o":0}]`))
	f.Add([]byte(`[{"k":0,"n":"192.0.2.1\u0000ann","f":3,"l":1000000000,"u":99999999999999,"o":1000000000}]`))
	f.Add([]byte(`[{"k":9}]`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		b := newBook(t, limits)
		b.configure(&policy{Config: Config{Logins: limits, MaxEntries: 16}})
		_ = b.restore(value, b.now)
		tallies, _ := b.sizes()
		for k, n := range tallies {
			if n > 16 {
				t.Errorf("%d of %s", n, kind(k))
			}
			b.tallies[k].each(func(t0 *tally) {
				if t0.until-b.now > limits.MaxPause.Std().Milliseconds() || t0.empty() {
					t.Errorf("%+v", t0)
				}
			})
		}
		b.records()
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "192.0.2.0/24", "::ffff:192.0.2.0/120", "fe80::1%eth0", "::/0", "x/8", "::ffff:0.0.0.0/90"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, why := parseRange(s)
		if (why == "") != p.IsValid() || p.IsValid() && p != p.Masked() {
			t.Errorf("%q: %v, %q", s, p, why)
		}
		policy := policy{Config: Config{Logins: LoginsConfig{IPv6Prefix: 64}}}
		policy.exempts(addressOf(&sdk.Client{RemoteAddress: s}))
	})
}
