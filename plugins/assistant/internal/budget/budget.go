// Package budget keeps accounts of requests, tokens and money, by client, namespace and
// assistant or whatever else a Scope names, and says no before a limit is passed: what a
// request may cost at most is set aside before it is made (Book.Reserve), and what it has
// cost is booked afterwards (Reservation.Settle). It knows nothing of MQTT or of models.
//
// Minutes slide; days and months are those of UTC, and survive a restart: what is set aside
// is stored before the request is made, and what it has cost a second after it is known, and
// when the book is closed. Several books may keep the same accounts in one storage: together
// they keep to the limits of days and months, and each has minutes of its own.
package budget

import (
	"container/list"
	"context"
	"maps"
	"math"
	"slices"
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
	CompareAndSet(
		ctx context.Context, key string, value []byte, ttl time.Duration, old uint64,
	) (version uint64, stored bool, err error)
}

const (
	// maxAccounts bounds memory: about 500 bytes each.
	maxAccounts = 20_000
	// storeAfter is how long what a request has cost may be stored as what was set aside.
	storeAfter = time.Second
	// storeAtMost is how long the storage may take for an account.
	storeAtMost = 10 * time.Second
	// storeTogether is how many accounts are written at once, so that a commit of the
	// broker's store is shared by many.
	storeTogether = 64
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
	others   int // of the accounts together, when it was set aside
}

// Reserve sets requests aside (none, if this is more of one that was counted before), with
// the most tokens and money that they may take, in all scopes or in none, and answers when
// that is stored where a limit of a day or a month wants it. The error is a *fault.Error:
// RateLimited, Exhausted or TooLarge, or Internal if the storage fails.
func (b *Book) Reserve(ctx context.Context, scopes []Scope, requests, tokens int, cost float64) (*Reservation, error) {
	r := &Reservation{book: b, requests: float64(requests), tokens: float64(tokens), cost: cost}
	for i := range scopes {
		a, err := b.account(ctx, &scopes[i])
		if err != nil {
			return nil, err
		}
		r.accounts = append(r.accounts, a)
	}
	if err := r.set(scopes); err != nil {
		return nil, err
	}
	err := b.save(r.accounts)
	if err != nil {
		// What is spent without being stored could be spent again after a restart.
		err = fault.New(fault.Internal, "the accounts cannot be stored").Because(err)
	} else {
		err = r.fits(scopes)
	}
	if err != nil {
		r.Cancel()
		return nil, err
	}
	return r, nil
}

// set sets aside, if all scopes allow it.
func (r *Reservation) set(scopes []Scope) error {
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for i, a := range r.accounts {
		a.turn(now)
		if err := a.allows(&scopes[i], now, r.requests, r.tokens, r.cost); err != nil {
			return err
		}
	}
	for _, a := range r.accounts {
		a.add(r.requests, r.tokens, r.cost)
		a.open++
		b.changed(a)
		r.others += a.others
	}
	return nil
}

// fits says whether what was set aside is within the limits if others' use has become known
// since.
func (r *Reservation) fits(scopes []Scope) error {
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	others := 0
	for _, a := range r.accounts {
		others += a.others
	}
	if others == r.others {
		return nil
	}
	now := b.now()
	for i, a := range r.accounts {
		a.turn(now)
		if err := a.allows(&scopes[i], now, 0, 0, 0); err != nil {
			return err
		}
	}
	return nil
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
		var err error
		if a.saved, a.version, err = read(ctx, b.kv, id); err != nil {
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

// changed has an account stored soon. It is called with mu held.
func (b *Book) changed(a *account) {
	if !a.lasting || b.closed {
		return
	}
	b.dirty[a.key] = a
	if b.timer == nil {
		b.timer = time.AfterFunc(storeAfter, b.store)
	}
}

// store writes what has changed.
func (b *Book) store() {
	b.mu.Lock()
	accounts := slices.Collect(maps.Values(b.dirty))
	b.timer = nil
	b.mu.Unlock()
	if err := b.save(accounts); err != nil {
		b.failed(err)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, a := range b.dirty {
			b.changed(a)
		}
	}
}

// save writes accounts, as far as they have something that is not stored. It does not end
// with the question for which it is called: whether a value was stored whose writing was
// given up is not known, and what it held would count twice.
func (b *Book) save(accounts []*account) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeAtMost)
	defer cancel()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		turn = make(chan struct{}, storeTogether)
	)
	for _, a := range accounts {
		if !a.lasting {
			continue
		}
		turn <- struct{}{}
		all.Go(func() {
			e := b.saveOne(ctx, a)
			<-turn
			if e != nil {
				mu.Lock()
				err = e
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return err
}

// saveOne writes what an account had when it was called, on top of what others have stored.
func (b *Book) saveOne(ctx context.Context, a *account) error {
	a.saving.Lock()
	defer a.saving.Unlock()
	for stored := false; !stored; {
		b.mu.Lock()
		a.turn(b.now())
		more, sum, version := a.unsaved, a.used(), a.version
		if more.none() {
			delete(b.dirty, a.key)
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		var err error
		if version, stored, err = b.kv.CompareAndSet(ctx, a.key, sum.encode(), keep, version); err != nil {
			return err
		}
		if !stored {
			more = usage{}
			if sum, version, err = read(ctx, b.kv, a.key); err != nil {
				return err
			}
		}
		b.mu.Lock()
		now := b.now() // it may be another day by now
		a.turn(now)
		more.turn(now)
		sum.turn(now)
		a.saved, a.version, a.unsaved = sum, version, a.unsaved.plus(-1, &more)
		if !stored {
			a.others++
		}
		if a.unsaved.none() {
			delete(b.dirty, a.key)
		}
		b.mu.Unlock()
	}
	return nil
}

// Close stores what has changed. Reservations may still be settled, which is not stored
// any more.
func (b *Book) Close() {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Unlock()
	b.store()
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
	u := a.used()
	return int(u.Requests), int(math.Round(u.Tokens)), u.Cost, u.MonthCost
}
