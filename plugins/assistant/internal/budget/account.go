package budget

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

// keep is how long an account is stored after its last change: past the end of any month.
const keep = 40 * 24 * time.Hour

// account is what was used. Its book's lock guards all but saving and what never changes.
type account struct {
	key     string
	lasting bool // it has limits of days or months
	open    int  // reservations that are not settled

	// The day and the month are saved and unsaved together: another book may write the
	// same account, as another generation of the plugin does while it is reloaded, and
	// each adds its own to what is there.
	saved   usage
	unsaved usage      // may be negative: less was used than set aside
	version uint64     // of saved in the storage; 0: nothing is there
	others  int        // how often another book was found to have written it
	saving  sync.Mutex // held while it is being written; taken before the book's lock

	minute         int64 // of the window, since 1970
	requests, past float64
	tokens, before float64
}

// usage is what was used of a day and of a month; it is stored as JSON.
type usage struct {
	Day       string  `json:"day"`
	Requests  float64 `json:"requests"`
	Tokens    float64 `json:"tokens"`
	Cost      float64 `json:"cost"`
	Month     string  `json:"month"`
	MonthCost float64 `json:"month_cost"`
}

// turn begins the day and the month of now, if they are not those of u.
func (u *usage) turn(now time.Time) {
	now = now.UTC()
	if day := now.Format(time.DateOnly); day != u.Day {
		u.Day, u.Requests, u.Tokens, u.Cost = day, 0, 0, 0
	}
	if month := now.Format("2006-01"); month != u.Month {
		u.Month, u.MonthCost = month, 0
	}
}

// plus adds f times o, which is of the same day.
func (u usage) plus(f float64, o *usage) usage {
	u.Requests += f * o.Requests
	u.Tokens += f * o.Tokens
	u.Cost += f * o.Cost
	u.MonthCost += f * o.MonthCost
	return u
}

// none says that nothing was used.
func (u *usage) none() bool {
	return u.Requests == 0 && u.Tokens == 0 && u.Cost == 0 && u.MonthCost == 0
}

// key is where an account is stored: names may be longer than keys can be.
func key(s *Scope) string {
	sum := sha256.Sum256([]byte(s.Name))
	return "budget/" + s.Kind + "/" + hex.EncodeToString(sum[:16])
}

// read reads what is stored.
func read(ctx context.Context, kv KV, key string) (u usage, version uint64, err error) {
	value, version, err := kv.Get(ctx, key)
	if err == nil && value != nil {
		err = json.Unmarshal(value, &u)
	}
	return u, version, err
}

func (u *usage) encode() []byte {
	b, err := json.Marshal(u)
	if err != nil {
		panic(err) // numbers and dates
	}
	return b
}

// turn moves the windows to now.
func (a *account) turn(now time.Time) {
	switch minute := now.Unix() / 60; minute - a.minute {
	case 0:
	case 1:
		a.past, a.before, a.requests, a.tokens, a.minute = a.requests, a.tokens, 0, 0, minute
	default:
		a.past, a.before, a.requests, a.tokens, a.minute = 0, 0, 0, 0, minute
	}
	a.saved.turn(now)
	a.unsaved.turn(now)
}

// used is what was used of the day and the month.
func (a *account) used() usage { return a.saved.plus(1, &a.unsaved) }

// add adds, but what is taken back never makes less than nothing: it may be of yesterday.
func (a *account) add(requests, tokens, cost float64) {
	a.requests = max(0, a.requests+requests)
	a.tokens = max(0, a.tokens+tokens)
	u := a.used()
	a.unsaved.Requests += max(-u.Requests, requests)
	a.unsaved.Tokens += max(-u.Tokens, tokens)
	a.unsaved.Cost += max(-u.Cost, cost)
	a.unsaved.MonthCost += max(-u.MonthCost, cost)
}

// slack lets a sum of many small amounts reach its limit.
const slack = 1e-9

// allows says whether a request may be added.
func (a *account) allows(s *Scope, now time.Time, requests, tokens, cost float64) error {
	l, u := &s.Limits, a.used()
	// Of the minute before, what lies less than a minute back.
	left := 1 - float64(now.Unix()%60)/60
	soon := time.Duration(60-now.Unix()%60) * time.Second
	tomorrow := now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now)
	next := time.Date(now.UTC().Year(), now.UTC().Month()+1, 1, 0, 0, 0, 0, time.UTC).Sub(now)
	for _, c := range []struct {
		used, more, limit float64
		what              string
		code              fault.Code
		after             time.Duration
	}{
		{a.requests + a.past*left, requests, float64(l.RequestsPerMinute), "requests a minute", fault.RateLimited, soon},
		{a.tokens + a.before*left, tokens, float64(l.TokensPerMinute), "tokens a minute", fault.RateLimited, soon},
		{u.Requests, requests, float64(l.RequestsPerDay), "requests a day", fault.RateLimited, tomorrow},
		{u.Tokens, tokens, float64(l.TokensPerDay), "tokens a day", fault.RateLimited, tomorrow},
		{u.Cost, cost, l.CostPerDay, "cost a day", fault.Exhausted, tomorrow},
		{u.MonthCost, cost, l.CostPerMonth, "cost a month", fault.Exhausted, next},
	} {
		switch {
		case c.limit <= 0 || c.used+c.more <= c.limit*(1+slack):
		case c.more > c.limit:
			return fault.New(fault.TooLarge, "this may take %s of %s, and the limit of the %s is %s",
				number(c.more), c.what, s.Kind, number(c.limit))
		default:
			return fault.New(c.code, "the limit of the %s is %s %s", s.Kind, number(c.limit), c.what).After(c.after)
		}
	}
	return nil
}

func number(f float64) string { return fmt.Sprintf("%.6g", f) }
