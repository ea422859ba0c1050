package bridgewebhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
)

// sending is one call of Send.
type sending struct {
	*route
	ctx context.Context
	b   *bridge.Batch

	mu     sync.Mutex
	next   int   // lane
	begun  bool  // a request has been made
	out    error // why no further request is made
	failed error // of a message that comes again, with those behind it
}

// errLater is why messages come again that there was no time for.
var errLater = errors.New("there was no time for the message yet")

// send implements bridge.Options.Send.
func (p *plugin) send(ctx context.Context, b *bridge.Batch) error {
	s := &sending{route: p.routes[b.Route.Name], ctx: ctx, b: b}
	lanes := s.lanes(b)
	var workers sync.WaitGroup
	for range min(s.Parallel, len(lanes)) {
		workers.Go(func() { s.work(lanes) })
	}
	workers.Wait()
	if s.out == nil {
		return s.failed
	}
	return s.out
}

// work sends lanes, one after the other, as long as there are any.
func (s *sending) work(lanes [][]piece) {
	for {
		s.mu.Lock()
		n := s.next
		s.next++
		over := s.over()
		s.mu.Unlock()
		if over || n >= len(lanes) {
			return
		}
		s.lane(lanes[n])
	}
}

// over reports whether no further request is to be made: the server does not answer, or
// there would be no time to hear what it says. It is called with mu held.
func (s *sending) over() bool {
	var held error
	switch d, ok := s.ctx.Deadline(); {
	case s.out != nil:
		return true
	case s.ctx.Err() != nil:
		held = s.ctx.Err()
	case ok && s.begun && time.Until(d) < s.p.config.Timeout.Std():
		held = errLater
	default:
		return false
	}
	s.out = bridge.Hold(held, time.Millisecond)
	return true
}

// lane sends pieces in order, as many in a request as go together. If the server does not
// like a request of several it is halved, until the message is found that is to blame.
func (s *sending) lane(pieces []piece) {
	suspects := 0 // so many of the first pieces have one to blame among them
	for len(pieces) > 0 {
		s.mu.Lock()
		over, n := s.over(), s.most
		s.begun = true
		s.mu.Unlock()
		if over {
			return
		}
		if suspects > 0 {
			n = (suspects + 1) / 2
		}
		n = together(pieces, n)
		began := time.Now()
		res := s.post(s.ctx, pieces[:n])
		res.took = time.Since(began)
		if !s.note(pieces[:n], res) {
			return
		}
		switch {
		case res.action == done || n == 1:
			suspects = max(suspects-n, 0)
			pieces = pieces[n:]
		default:
			suspects = n
		}
	}
}

// together is how many of the first pieces can go in one request, at most most.
func together(pieces []piece, most int) int {
	n := 1
	for n < min(len(pieces), most) && pieces[n].alike(&pieces[0]) {
		n++
	}
	return n
}

// note says what is known after a request, and reports whether the lane goes on.
func (s *sending) note(pieces []piece, res result) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := pieces[0].index
	switch {
	case res.action == done:
		for i := range pieces {
			s.b.Done(pieces[i].index)
		}
		s.grow(res.took)
	case res.action == wait:
		if res.timeout {
			s.most = max(len(pieces)/2, 1)
		}
		s.out = res.err
		return false
	case len(pieces) > 1: // whose fault is it?
	case res.action == giveUp:
		s.b.Refuse(first, res.err)
	default:
		s.b.Fail(first, res.err)
		s.failed = res.err
		return false // what is behind it in the lane must not overtake it
	}
	return true
}

// grow has requests become larger again after they had to be small on a slow network, if
// there was time for much more.
func (s *sending) grow(took time.Duration) {
	if s.Batch != batchNone && took < s.p.config.Timeout.Std()/4 {
		s.most = min(2*s.most, int(s.BatchMessages))
	}
}
