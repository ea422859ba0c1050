// Package budget keeps accounts of requests, tokens and money, by client, namespace and
// assistant or whatever else a Scope names, and says no before a limit is passed: what a
// request may cost at most is set aside before it is made (Book.Reserve), and what it has
// cost is booked afterwards (Reservation.Settle). It knows nothing of MQTT or of models.
//
// Minutes slide; days and months are those of UTC, and survive a restart: they are stored
// a second after a change, and when the book is closed.
package budget

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

// Limits of an account. 0 is no limit.
type Limits struct {
	RequestsPerMinute, RequestsPerDay int
	TokensPerMinute, TokensPerDay     int
	CostPerDay, CostPerMonth          float64
}

func (l *Limits) lasting() bool {
	return l.RequestsPerDay > 0 || l.TokensPerDay > 0 || l.CostPerDay > 0 || l.CostPerMonth > 0
}

// Scope is an account with its limits.
type Scope struct {
	// Kind is a word for messages, as "client"; Kind and Name together are the account.
	Kind, Name string
	Limits     Limits
}

// KV is durable storage.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, version uint64, err error)
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) (version uint64, err error)
}

const (
	// maxAccounts bounds memory: about 500 bytes each.
	maxAccounts = 20_000
	// storeAfter is how much of what was spent a crash can make forget.
	storeAfter = time.Second
)

// Book has the accounts. It is safe for concurrent use.
type Book struct {
	kv  KV
	now func() time.Time
	// failed is told errors of the storage.
	failed func(error)

	mu       sync.Mutex
	accounts map[string]*list.Element // of *account
	recent   *list.List               // the latest used in front
	dirty    map[string]*account
	timer    *time.Timer
	closed   bool

	storing sync.Mutex // held while the accounts are being written
}

// New makes a book. now is time.Now but in tests; failed must not block.
func New(kv KV, now func() time.Time, failed func(error)) *Book {
	return &Book{
		kv: kv, now: now, failed: failed, accounts: map[string]*list.Element{}, recent: list.New(), dirty: map[string]*account{},
	}
}

// Reservation is what was set aside for a request.
type Reservation struct {
	book     *Book
	accounts []*account
	requests float64
	tokens   float64
	cost     float64
	settled  bool
}

// Reserve sets requests aside (none, if this is more of one that was counted before), with
// the most tokens and money that they may take, in all scopes or in none. The error is a
// *fault.Error: RateLimited, Exhausted or TooLarge.
func (b *Book) Reserve(ctx context.Context, scopes []Scope, requests, tokens int, cost float64) (*Reservation, error) {
	r := &Reservation{book: b, requests: float64(requests), tokens: float64(tokens), cost: cost}
	for i := range scopes {
		a, err := b.account(ctx, &scopes[i])
		if err != nil {
			return nil, err
		}
		r.accounts = append(r.accounts, a)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for i, a := range r.accounts {
		a.turn(now)
		if err := a.allows(&scopes[i], now, r.requests, r.tokens, cost); err != nil {
			return nil, err
		}
	}
	for _, a := range r.accounts {
		a.add(r.requests, r.tokens, cost)
		a.open++
		b.changed(a)
	}
	return r, nil
}

// Settle books what the request has cost in the end. Only the first call counts.
func (r *Reservation) Settle(tokens int, cost float64) { r.end(0, float64(tokens), cost) }

// Cancel takes the reservation back: nothing was asked of anybody.
func (r *Reservation) Cancel() { r.end(-r.requests, 0, 0) }

func (r *Reservation) end(requests, tokens, cost float64) {
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.settled {
		return
	}
	r.settled = true
	now := b.now()
	for _, a := range r.accounts {
		a.turn(now)
		a.add(requests, tokens-r.tokens, cost-r.cost)
		a.open--
		b.changed(a)
	}
}

// account finds an account, or makes it of what is stored.
func (b *Book) account(ctx context.Context, s *Scope) (*account, error) {
	id := key(s)
	b.mu.Lock()
	if e := b.accounts[id]; e != nil {
		b.recent.MoveToFront(e)
		b.mu.Unlock()
		return e.Value.(*account), nil
	}
	b.mu.Unlock()
	a := &account{key: id, lasting: s.Limits.lasting()}
	if a.lasting {
		if err := a.load(ctx, b.kv); err != nil {
			// Without knowing what was spent nothing more may be.
			return nil, fault.New(fault.Internal, "the accounts cannot be read").Because(err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.accounts[id]; e != nil { // another request was quicker
		return e.Value.(*account), nil
	}
	b.accounts[id] = b.recent.PushFront(a)
	b.shrink()
	return a, nil
}

// shrink forgets accounts that were not used for long.
func (b *Book) shrink() {
	for e := b.recent.Back(); e != nil && b.recent.Len() > maxAccounts; {
		a, before := e.Value.(*account), e.Prev()
		if a.open == 0 && b.dirty[a.key] == nil {
			b.recent.Remove(e)
			delete(b.accounts, a.key)
		}
		e = before
	}
}

// changed has an account stored soon.
func (b *Book) changed(a *account) {
	if !a.lasting || b.closed {
		return
	}
	b.dirty[a.key] = a
	if b.timer == nil {
		b.timer = time.AfterFunc(storeAfter, func() { b.store(context.Background()) })
	}
}

// store writes what has changed.
func (b *Book) store(ctx context.Context) {
	b.storing.Lock()
	defer b.storing.Unlock()
	b.mu.Lock()
	values := map[string][]byte{}
	for k, a := range b.dirty {
		values[k] = a.encode()
	}
	b.dirty, b.timer = map[string]*account{}, nil
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var failure error
	for k, v := range values {
		if _, err := b.kv.Set(ctx, k, v, keep); err != nil {
			failure = err
			b.again(k)
		}
	}
	if failure != nil {
		b.failed(failure)
	}
}

// again has an account stored once more that could not be.
func (b *Book) again(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.accounts[key]; e != nil {
		b.changed(e.Value.(*account))
	}
}

// Close stores what has changed. Reservations may still be settled, which is not stored
// any more.
func (b *Book) Close(ctx context.Context) {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	b.store(ctx)
}

// Used says what an account has used of its day and its month.
func (b *Book) Used(ctx context.Context, s Scope) (requests, tokens int, cost, month float64) {
	a, err := b.account(ctx, &s)
	if err != nil {
		return 0, 0, 0, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a.turn(b.now())
	return int(a.Requests), int(math.Round(a.Tokens)), a.Cost, a.MonthCost
}
