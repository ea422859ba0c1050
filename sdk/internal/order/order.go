package order

import "sync"

// Runner runs tasks. Use New. It is safe for concurrent use; the order is that of the
// calls of Go, as far as these have one.
type Runner struct {
	mu      sync.Mutex
	last    map[uint64]*task // the newest task of a key that has one
	ready   []*task          // tasks that wait for a goroutine only
	workers int              // goroutines that run
	limit   int
}

type task struct {
	run     func()
	keys    []uint64
	waitFor int     // tasks before this one that are not done
	next    []*task // tasks that wait for this one
}

// New makes a Runner with at most limit goroutines. None is kept while there is
// nothing to do.
func New(limit int) *Runner {
	return &Runner{last: map[uint64]*task{}, limit: limit}
}

// Go runs f some time, after all tasks given before with one of these keys. Equal keys
// are one. It does not block and keeps neither keys nor a bound on what waits: whoever
// gives tasks bounds their number.
func (r *Runner) Go(keys []uint64, f func()) {
	t := &task{run: f}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range keys {
		before := r.last[k]
		if before == t {
			continue
		}
		if before != nil {
			before.next = append(before.next, t)
			t.waitFor++
		}
		r.last[k] = t
		t.keys = append(t.keys, k)
	}
	if t.waitFor == 0 {
		r.enqueue(t)
	}
}

// enqueue is called with mu held.
func (r *Runner) enqueue(t *task) {
	r.ready = append(r.ready, t)
	if r.workers < r.limit {
		r.workers++
		go r.work()
	}
}

func (r *Runner) work() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.ready) > 0 {
		t := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		r.mu.Unlock()
		t.run()
		r.mu.Lock()
		for _, k := range t.keys {
			if r.last[k] == t {
				delete(r.last, k)
			}
		}
		for _, n := range t.next {
			if n.waitFor--; n.waitFor == 0 {
				r.enqueue(n)
			}
		}
	}
	r.workers--
}
