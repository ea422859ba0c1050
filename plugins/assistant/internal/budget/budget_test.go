package budget

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

// shelf is a KV in memory.
type shelf struct {
	mu       sync.Mutex
	values   map[string][]byte
	versions map[string]uint64
	fails    error
}

func (s *shelf) Get(_ context.Context, key string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key], s.versions[key], s.fails
}

func (s *shelf) CompareAndSet(_ context.Context, key string, value []byte, _ time.Duration, old uint64) (uint64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return 0, false, s.fails
	}
	if s.values == nil {
		s.values, s.versions = map[string][]byte{}, map[string]uint64{}
	}
	if s.versions[key] != old {
		return 0, false, nil
	}
	s.values[key] = value
	s.versions[key]++
	return s.versions[key], true, nil
}

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func noon() *clock { return &clock{time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)} }

func book(t *testing.T, kv KV, c *clock) *Book {
	b := New(kv, c.now, func(error) {})
	t.Cleanup(func() { b.Close() })
	return b
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		limits  Limits
		tokens  int
		cost    float64
		fit     int // how many requests fit
		code    fault.Code
		again   time.Duration // and when the next one does
		atLeast int           // at that time, so many
	}{
		{Limits{RequestsPerMinute: 3}, 10, 0, 3, fault.RateLimited, 2 * time.Minute, 3},
		{Limits{TokensPerMinute: 100}, 30, 0, 3, fault.RateLimited, 2 * time.Minute, 3},
		{Limits{RequestsPerDay: 5}, 10, 0, 5, fault.RateLimited, 12 * time.Hour, 5},
		{Limits{TokensPerDay: 100}, 50, 0, 2, fault.RateLimited, 12 * time.Hour, 2},
		{Limits{CostPerDay: 0.3}, 10, 0.1, 3, fault.Exhausted, 12 * time.Hour, 3},
		{Limits{CostPerMonth: 0.4}, 10, 0.2, 2, fault.Exhausted, 12 * time.Hour, 2}, // the 31st
		{Limits{RequestsPerMinute: 2, CostPerDay: 1}, 10, 0.4, 2, fault.RateLimited, 2 * time.Minute, 0},
	} {
		at := noon()
		b := book(t, &shelf{}, at)
		scope := []Scope{{"client", "ann", c.limits}}
		for i := range c.fit {
			r, err := b.Reserve(t.Context(), scope, 1, c.tokens, c.cost)
			if err != nil {
				t.Fatalf("%+v: request %d: %v", c.limits, i, err)
			}
			r.Settle(c.tokens, c.cost)
		}
		_, err := b.Reserve(t.Context(), scope, 1, c.tokens, c.cost)
		if !fault.Is(err, c.code) || fault.Of(err).RetryAfter <= 0 {
			t.Errorf("%+v: one more: %v", c.limits, err)
		}
		if _, err := b.Reserve(t.Context(), []Scope{{"client", "bob", c.limits}}, 1, c.tokens, c.cost); err != nil {
			t.Errorf("%+v: another client: %v", c.limits, err)
		}
		at.t = at.t.Add(c.again)
		for i := range c.atLeast {
			if _, err := b.Reserve(t.Context(), scope, 1, c.tokens, c.cost); err != nil {
				t.Errorf("%+v: %s later, request %d: %v", c.limits, c.again, i, err)
			}
		}
	}
}

// What is set aside counts until it is settled, and then what was used does.
func TestReservation(t *testing.T) {
	b := book(t, &shelf{}, noon())
	scope := []Scope{{"assistant", "x", Limits{TokensPerDay: 1000, CostPerDay: 1}}}
	r, err := b.Reserve(t.Context(), scope, 1, 900, 0.9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Reserve(t.Context(), scope, 1, 200, 0.05); !fault.Is(err, fault.RateLimited) {
		t.Errorf("past what is set aside: %v", err)
	}
	r.Settle(100, 0.1)
	r.Settle(900, 0.9)
	if _, tokens, cost, month := b.Used(t.Context(), scope[0]); tokens != 100 || math.Abs(cost-0.1) > 1e-9 || cost != month {
		t.Errorf("used: %d, %g, %g", tokens, cost, month)
	}
	r, err = b.Reserve(t.Context(), scope, 1, 900, 0.9)
	if err != nil {
		t.Fatal(err)
	}
	r.Cancel()
	if requests, tokens, _, _ := b.Used(t.Context(), scope[0]); requests != 1 || tokens != 100 {
		t.Errorf("after a cancelled one: %d requests, %d tokens", requests, tokens)
	}
}

// A request that could never be within the limits is told so.
func TestTooLarge(t *testing.T) {
	b := book(t, &shelf{}, noon())
	_, err := b.Reserve(t.Context(), []Scope{{"client", "a", Limits{TokensPerMinute: 100}}}, 1, 101, 0)
	if !fault.Is(err, fault.TooLarge) {
		t.Error(err)
	}
}

// Of several scopes all count or none.
func TestAllOrNone(t *testing.T) {
	b := book(t, &shelf{}, noon())
	free, full := Scope{"client", "a", Limits{RequestsPerDay: 10}}, Scope{"namespace", "n", Limits{RequestsPerDay: 1}}
	if _, err := b.Reserve(t.Context(), []Scope{free, full}, 1, 1, 0); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := b.Reserve(t.Context(), []Scope{free, full}, 1, 1, 0); err == nil {
			t.Fatal("past the limit")
		}
	}
	if n, _, _, _ := b.Used(t.Context(), free); n != 1 {
		t.Errorf("%d requests of the client count", n)
	}
}

// A restart forgets nothing of the day; the next day begins anew, the month does not.
func TestRestart(t *testing.T) {
	kv, at := &shelf{}, noon()
	at.t = time.Date(2030, 1, 30, 12, 0, 0, 0, time.UTC)
	scope := Scope{"client", string(make([]byte, 60000)), Limits{CostPerDay: 1, CostPerMonth: 1.5}}
	b := book(t, kv, at)
	for range 2 {
		r, err := b.Reserve(t.Context(), []Scope{scope}, 1, 10, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		r.Settle(10, 0.5)
	}
	b.Close()
	b = book(t, kv, at)
	if _, err := b.Reserve(t.Context(), []Scope{scope}, 1, 10, 0.1); !fault.Is(err, fault.Exhausted) {
		t.Errorf("after a restart: %v", err)
	}
	at.t = at.t.Add(24 * time.Hour)
	if _, err := b.Reserve(t.Context(), []Scope{scope}, 1, 10, 0.5); err != nil {
		t.Errorf("the next day: %v", err)
	}
	if _, err := b.Reserve(t.Context(), []Scope{scope}, 1, 10, 0.5); !fault.Is(err, fault.Exhausted) {
		t.Errorf("past the month's: %v", err)
	}
	kv.fails = errors.New("disk")
	if _, err := book(t, kv, at).Reserve(t.Context(), []Scope{scope}, 1, 1, 0); !fault.Is(err, fault.Internal) {
		t.Errorf("with unreadable accounts: %v", err)
	}
}

// Two books keep one account, as two generations of the plugin do during a reload: what one
// has set aside counts for the other, and neither overwrites what the other has booked.
func TestTwoBooks(t *testing.T) {
	kv, at := &shelf{}, noon()
	scope := []Scope{{"client", "ann", Limits{TokensPerDay: 1000}}}
	reserve := func(b *Book, tokens int) *Reservation {
		t.Helper()
		r, err := b.Reserve(t.Context(), scope, 1, tokens, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before := book(t, kv, at)
	running := reserve(before, 600)
	after := book(t, kv, at)
	if _, err := after.Reserve(t.Context(), scope, 1, 600, 0); !fault.Is(err, fault.RateLimited) {
		t.Errorf("past what the other book has set aside: %v", err)
	}
	reserve(after, 300).Settle(200, 0)
	running.Settle(500, 0)
	before.Close()
	after.Close()
	if requests, tokens, _, _ := book(t, kv, at).Used(t.Context(), scope[0]); requests != 2 || tokens != 700 {
		t.Errorf("both have booked %d requests, %d tokens", requests, tokens)
	}

	// Neither knows of what the other takes next, and there is only enough for one.
	at.t = at.t.Add(24 * time.Hour)
	one, other := book(t, kv, at), book(t, kv, at)
	reserve(one, 100)
	reserve(other, 100)
	reserve(one, 500)
	if _, err := other.Reserve(t.Context(), scope, 1, 500, 0); !fault.Is(err, fault.RateLimited) {
		t.Errorf("past what the other book has set aside meanwhile: %v", err)
	}
	reserve(other, 300)
}

// What cannot be stored is not spent.
func TestStorageFails(t *testing.T) {
	kv := &shelf{}
	b := book(t, kv, noon())
	scope := []Scope{{"client", "ann", Limits{RequestsPerDay: 2}}}
	if _, err := b.Reserve(t.Context(), scope, 1, 1, 0); err != nil {
		t.Fatal(err)
	}
	kv.fails = errors.New("disk full")
	for range 3 {
		if _, err := b.Reserve(t.Context(), scope, 1, 1, 0); !fault.Is(err, fault.Internal) {
			t.Errorf("while nothing can be stored: %v", err)
		}
	}
	kv.fails = nil
	if _, err := b.Reserve(t.Context(), scope, 1, 1, 0); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Many clients do not fill the memory, and those with something open stay.
func TestMemory(t *testing.T) {
	b := book(t, &shelf{}, noon())
	open, err := b.Reserve(t.Context(), []Scope{{"client", "first", Limits{RequestsPerMinute: 1}}}, 1, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxAccounts + 100 {
		r, err := b.Reserve(t.Context(), []Scope{{"client", fmt.Sprint(i), Limits{RequestsPerMinute: 1}}}, 1, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.Settle(1, 0)
	}
	if n := len(b.accounts); n > maxAccounts || n != b.recent.Len() {
		t.Errorf("%d accounts", n)
	}
	if _, err := b.Reserve(t.Context(), []Scope{{"client", "first", Limits{RequestsPerMinute: 1}}}, 1, 1, 0); err == nil {
		t.Error("the one that is open was forgotten")
	}
	open.Settle(1, 0)
}

// Concurrent requests never pass a limit together, of one book or of two.
func TestConcurrent(t *testing.T) {
	for _, books := range []int{1, 2} {
		kv, at := &shelf{}, noon()
		scope := []Scope{{"assistant", "x", Limits{CostPerDay: 1}}}
		var wg sync.WaitGroup
		var mu sync.Mutex
		spent := 0.0
		var all []*Book
		for range books {
			all = append(all, book(t, kv, at))
		}
		for i := range 100 {
			wg.Go(func() {
				r, err := all[i%books].Reserve(t.Context(), scope, 1, 10, 0.05)
				if err != nil {
					return
				}
				mu.Lock()
				spent += 0.05
				mu.Unlock()
				r.Settle(10, 0.05)
			})
		}
		wg.Wait()
		// Of two books each may give back what it has set aside for the sake of the other.
		if spent > 1.0001 || spent < 0.999 && books == 1 {
			t.Errorf("%d books: spent %g", books, spent)
		}
		for _, b := range all {
			b.Close()
		}
		if _, _, cost, _ := book(t, kv, at).Used(t.Context(), scope[0]); math.Abs(cost-spent) > 1e-9 {
			t.Errorf("%d books: spent %g, and booked %g", books, spent, cost)
		}
	}
}
