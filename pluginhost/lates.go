package pluginhost

import (
	"sync"
	"sync/atomic"
)

// lates are the calls of a generation that are past their deadline and that the runtime
// has not answered. Each of them keeps the generation entered.
type lates struct {
	count atomic.Int32
	mu    sync.Mutex
	since map[any]int64 // when they became so, by Host.nanos
}

func (l *lates) add(call any, now int64) {
	l.count.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil {
		l.since = map[any]int64{}
	}
	l.since[call] = now
}

func (l *lates) remove(call any) {
	l.count.Add(-1)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.since, call)
}

// oldest is when the one that has been late for longest became so; 0 if there is none.
func (l *lates) oldest() (since int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.since {
		if since == 0 || at < since {
			since = at
		}
	}
	return since
}
