package bridgesql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgesql/internal/statement"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// attempts is how often a transaction is tried that fails for reasons of the moment.
	attempts = 10
	// longest is the longest pause between them.
	longest = 250 * time.Millisecond
)

// route is a route at work. Send is called by one goroutine at a time.
type route struct {
	*Route
	s *statement.Statement
	// most is how many rows a transaction has: fewer after one that took too long.
	most int
}

// send implements bridge.Options.Send.
func (p *plugin) send(ctx context.Context, b *bridge.Batch) error {
	j := &job{p: p, r: p.routes[b.Route.Name], b: b}
	j.collect()
	if len(j.rows) == 0 {
		return nil
	}
	n, err := p.link.get(ctx)
	if err != nil {
		return err
	}
	j.n = n
	err = j.all(ctx)
	switch {
	case j.lost != nil:
		n.fail(j.lost)
	case err != nil:
		n.drop()
	default:
		n.done()
	}
	return err
}

// job is a batch on its way into the database.
type job struct {
	p     *plugin
	r     *route
	b     *bridge.Batch
	n     *lease
	rows  [][]any
	place []int // of the rows in the batch
	lost  error // the connection is
}

// collect computes the rows. What cannot be a row is hopeless.
func (j *job) collect() {
	for i := range j.b.Messages {
		row, err := j.row(i)
		if err != nil {
			j.b.Refuse(i, err)
			continue
		}
		j.rows = append(j.rows, row)
		j.place = append(j.place, i)
	}
}

func (j *job) row(i int) ([]any, error) {
	if j.r.Codec == template.JSONCodec {
		if _, err := j.r.Codec.Encode(j.b.Messages[i].Payload); err != nil {
			return nil, err
		}
	}
	return j.r.s.Values(j.b.Source(i))
}

// all does the rows, in as few transactions as will do.
func (j *job) all(ctx context.Context) error {
	for done := 0; done < len(j.rows); {
		n := min(j.r.most, len(j.rows)-done)
		began := time.Now()
		if err := j.some(ctx, done, done+n); err != nil {
			return err
		}
		done += n
		if time.Since(began) < j.p.link.c.Timeout.Std()/4 {
			j.r.most = min(2*j.r.most, most)
		}
	}
	return nil
}

// some does the rows from lo to hi in one transaction; if one of them is bad, in one of
// those before it, and one of those behind it.
func (j *job) some(ctx context.Context, lo, hi int) error {
	for lo < hi {
		at, err := j.try(ctx, lo, hi)
		if err == nil {
			for _, i := range j.place[lo:hi] {
				j.b.Done(i)
			}
			j.p.link.fits(j.r.Name, nil)
			return nil
		}
		f := j.p.link.d.fault(err)
		switch {
		case f == faultStatement:
			j.p.link.fits(j.r.Name, err)
			return err
		case f != faultRow && f != faultMissing:
			return j.outage(ctx, f, err, hi-lo)
		case hi-lo == 1:
			at = 0
		case at < 0: // it is one of them: halves find out
			middle := lo + (hi-lo)/2
			if err := j.some(ctx, lo, middle); err != nil {
				return err
			}
			lo = middle
			continue
		}
		if err := j.some(ctx, lo, lo+at); err != nil {
			return err
		}
		if err := j.bad(j.place[lo+at], f, err); err != nil {
			return err
		}
		lo += at + 1
	}
	return nil
}

// errBehind is why rows are not tried behind one that is to be tried again.
var errBehind = errors.New("a row before it has to be tried again")

// bad says what becomes of a message whose row the database will not have. What refers to a
// row that is not there may do so too early, and is tried max_attempts times: those behind
// it wait, since they may be newer states of the same thing.
func (j *job) bad(i int, f fault, err error) error {
	if f == faultMissing && j.b.Messages[i].Attempt < j.r.MaxAttempts {
		j.b.Fail(i, err)
		return errBehind
	}
	j.b.Refuse(i, err)
	return nil
}

// outage is what Send returns after an error that is about no row.
func (j *job) outage(ctx context.Context, f fault, err error, rows int) error {
	switch {
	case f == faultAgain:
		return fmt.Errorf("tried %d times: %w", attempts, err)
	case ctx.Err() != nil: // the plugin ends, or the host will not wait any longer
		j.r.most = max(1, rows/2)
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		j.r.most = max(1, rows/2)
		return fmt.Errorf("%d rows were not through within timeout, %s: %w", rows, j.p.link.c.Timeout.Std(), err)
	case gone(err):
		j.lost = err
	}
	return err
}

// try does a transaction, again and again if its failure is one of the moment.
func (j *job) try(ctx context.Context, lo, hi int) (at int, err error) {
	for i := range attempts {
		if i > 0 {
			j.p.repeated.Add(1, sdk.Pair{Name: "route", Value: j.r.Name})
			pause := min(5*time.Millisecond<<i, longest)
			select {
			case <-ctx.Done():
				return -1, ctx.Err()
			case <-time.After(pause/2 + rand.N(pause/2)):
			}
		}
		at, err = j.once(ctx, lo, hi)
		if err == nil || j.p.link.d.fault(err) != faultAgain {
			return at, err
		}
	}
	return at, err
}

// once does a transaction within its time.
func (j *job) once(ctx context.Context, lo, hi int) (at int, err error) {
	ctx, cancel := context.WithTimeout(ctx, j.p.link.c.Timeout.Std())
	defer cancel()
	at, err = j.n.transact(ctx, j.r.s, j.rows[lo:hi])
	if err != nil && ctx.Err() != nil {
		return -1, errors.Join(ctx.Err(), err)
	}
	return at, err
}
