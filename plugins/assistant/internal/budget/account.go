package budget

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

// keep is how long an account is stored after its last change: past the end of any month.
const keep = 40 * 24 * time.Hour

// account is what was used. Its book's lock guards it.
type account struct {
	stored
	key     string
	lasting bool // it has limits of days or months
	open    int  // reservations that are not settled

	minute         int64 // of the window, since 1970
	requests, past float64
	tokens, before float64
}

// stored is what is stored.
type stored struct {
	Day       string  `json:"day"`
	Requests  float64 `json:"requests"`
	Tokens    float64 `json:"tokens"`
	Cost      float64 `json:"cost"`
	Month     string  `json:"month"`
	MonthCost float64 `json:"month_cost"`
}

// key is where an account is stored: names may be longer than keys can be.
func key(s *Scope) string {
	sum := sha256.Sum256([]byte(s.Name))
	return "budget/" + s.Kind + "/" + hex.EncodeToString(sum[:16])
}

func (a *account) load(ctx context.Context, kv KV) error {
	value, _, err := kv.Get(ctx, a.key)
	if err != nil || value == nil {
		return err
	}
	return json.Unmarshal(value, &a.stored)
}

func (a *account) encode() []byte {
	b, err := json.Marshal(&a.stored)
	if err != nil {
		panic(err) // numbers and dates
	}
	return b
}

// turn moves the windows to now.
func (a *account) turn(now time.Time) {
	now = now.UTC()
	switch minute := now.Unix() / 60; minute - a.minute {
	case 0:
	case 1:
		a.past, a.before, a.requests, a.tokens, a.minute = a.requests, a.tokens, 0, 0, minute
	default:
		a.past, a.before, a.requests, a.tokens, a.minute = 0, 0, 0, 0, minute
	}
	if day := now.Format(time.DateOnly); day != a.Day {
		a.Day, a.Requests, a.Tokens, a.Cost = day, 0, 0, 0
	}
	if month := now.Format("2006-01"); month != a.Month {
		a.Month, a.MonthCost = month, 0
	}
}

func (a *account) add(requests, tokens, cost float64) {
	a.requests = max(0, a.requests+requests)
	a.tokens = max(0, a.tokens+tokens)
	a.Requests = max(0, a.Requests+requests)
	a.Tokens = max(0, a.Tokens+tokens)
	a.Cost = max(0, a.Cost+cost)
	a.MonthCost = max(0, a.MonthCost+cost)
}

// slack lets a sum of many small amounts reach its limit.
const slack = 1e-9

// allows says whether a request may be added.
func (a *account) allows(s *Scope, now time.Time, requests, tokens, cost float64) error {
	l := &s.Limits
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
		{a.Requests, requests, float64(l.RequestsPerDay), "requests a day", fault.RateLimited, tomorrow},
		{a.Tokens, tokens, float64(l.TokensPerDay), "tokens a day", fault.RateLimited, tomorrow},
		{a.Cost, cost, l.CostPerDay, "cost a day", fault.Exhausted, tomorrow},
		{a.MonthCost, cost, l.CostPerMonth, "cost a month", fault.Exhausted, next},
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
