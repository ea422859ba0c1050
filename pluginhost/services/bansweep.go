package services

import "time"

// minSweep keeps bans that end one after the other from being looked through each time.
// Check looks at the time itself.
const minSweep = time.Second

// sweeper forgets bans when their time is over, so that Any becomes false then.
type sweeper struct {
	timer *time.Timer
	next  int64 // Unix milliseconds; 0: nothing is planned
}

// plan has sweep called when a ban ends, if that is the first one. It is called with
// bans.mu held.
func (w *sweeper) plan(ends int64, sweep func()) {
	if ends == 0 || w.next != 0 && w.next <= ends {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	// Long waits are cut: the time of day may be set meanwhile.
	wait := min(time.Until(time.UnixMilli(ends)), time.Hour)
	w.next, w.timer = ends, time.AfterFunc(max(wait, minSweep), sweep)
}

// sweepBans forgets what is over. Values forgets it by itself.
func (s *Services) sweepBans() {
	x := &s.bans
	x.changing.Lock()
	defer x.changing.Unlock()
	now, next := time.Now().UnixMilli(), int64(0)
	var over []*ban
	x.mu.Lock()
	for _, b := range x.byID {
		switch {
		case b.ExpiresMs == 0:
		case b.ExpiresMs <= now:
			over = append(over, b)
		case next == 0 || b.ExpiresMs < next:
			next = b.ExpiresMs
		}
	}
	if x.sweep.next = 0; !x.ended {
		x.sweep.plan(next, s.sweepBans)
	}
	x.mu.Unlock()
	s.dropBans(over)
}

func (x *bans) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	if x.sweep.timer != nil {
		x.sweep.timer.Stop()
	}
}
