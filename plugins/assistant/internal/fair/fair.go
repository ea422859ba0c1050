// Package fair decides who is next: a bounded number of jobs run, a bounded number waits,
// and places go round by namespace, and in a namespace by lane. Jobs of one lane run one
// after the other, in order. Nothing that waits holds a goroutine. It knows nothing of
// MQTT or of models.
//
//	Put ──► namespace ──► lane ──► (a place is free) ──► Run
//
// Entry points: New, Queue.Put, Queue.Close.
package fair

import (
	"context"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

// Job is something to do. Exactly one of Run and Drop is called, once, on a goroutine of
// the queue or, if the job is not taken, on that of Put.
type Job struct {
	Namespace string
	// Lane groups jobs that must run in order, one at a time.
	Lane string
	// Deadline ends the context of Run, and the waiting.
	Deadline time.Time
	Run      func(ctx context.Context)
	Drop     func(err error)

	timer *time.Timer
	lane  *lane
}

// Options bound a Queue.
type Options struct {
	// Running and Waiting are the largest numbers of jobs, in all.
	Running, Waiting int
	// PerNamespace is the largest number of running jobs of one namespace; 0: as Running.
	PerNamespace int
	// Changed is called after the number of jobs that run or wait has changed; nil is fine.
	// It may call Len, and must not block.
	Changed func()
}

// Queue is safe for concurrent use.
type Queue struct {
	o    Options
	ctx  context.Context
	stop context.CancelFunc
	jobs sync.WaitGroup // those that run

	mu      sync.Mutex
	shares  map[string]*share
	turn    ring[*share]
	waiting int
	running int
	closed  bool
}

// share is what there is of one namespace.
type share struct {
	name    string
	lanes   map[string]*lane
	turn    ring[*lane] // lanes with something to run
	waiting int
	running int
}

// lane is a line of jobs.
type lane struct {
	name   string
	share  *share
	jobs   []*Job
	active bool
}

// New makes a queue.
func New(o Options) *Queue {
	if o.PerNamespace <= 0 || o.PerNamespace > o.Running {
		o.PerNamespace = o.Running
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	q := &Queue{o: o, shares: map[string]*share{}}
	q.ctx, q.stop = context.WithCancel(context.Background())
	return q
}

// Len returns how many jobs run and wait.
func (q *Queue) Len() (running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running, q.waiting
}

// Put takes a job, and does not wait. If there is no room, the newest job of the namespace
// that has the most waiting makes room; if that is the job's own namespace, the job itself
// is dropped.
func (q *Queue) Put(j *Job) {
	drop, why := q.put(j)
	q.o.Changed()
	if drop != nil {
		drop.Drop(why)
	}
}

func (q *Queue) put(j *Job) (drop *Job, why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return j, fault.New(fault.Stopping, "the assistant is being stopped")
	}
	s := q.shares[j.Namespace]
	if s == nil {
		s = &share{name: j.Namespace, lanes: map[string]*lane{}}
		q.shares[j.Namespace] = s
	}
	l := s.lanes[j.Lane]
	if l == nil {
		l = &lane{name: j.Lane, share: s}
		s.lanes[j.Lane] = l
	}
	mayRun := q.running < q.o.Running && s.running < q.o.PerNamespace && !l.active && len(l.jobs) == 0
	if !mayRun && q.waiting >= q.o.Waiting {
		drop = q.evict(s)
		why = fault.New(fault.Busy, "too many questions wait for an answer; try again later").After(5 * time.Second)
		if drop == nil {
			q.tidy(l)
			return j, why
		}
	}
	j.lane = l
	l.jobs = append(l.jobs, j)
	q.waiting++
	s.waiting++
	q.ready(l)
	j.timer = time.AfterFunc(time.Until(j.Deadline), func() { q.late(j) })
	q.fill()
	return drop, why
}

// evict takes the newest job of the namespace that has the most waiting out of the queue;
// nil if no other has at least two more than s, who is asking.
func (q *Queue) evict(s *share) *Job {
	var most *share
	for _, other := range q.shares {
		if other != s && (most == nil || other.waiting > most.waiting) {
			most = other
		}
	}
	if most == nil || most.waiting < s.waiting+2 {
		return nil
	}
	var longest *lane
	for _, l := range most.lanes {
		if longest == nil || len(l.jobs) > len(longest.jobs) {
			longest = l
		}
	}
	j := longest.jobs[len(longest.jobs)-1]
	q.remove(j)
	return j
}

// remove takes a waiting job out; false if it does not wait any more.
func (q *Queue) remove(j *Job) bool {
	l := j.lane
	for i, one := range l.jobs {
		if one != j {
			continue
		}
		l.jobs = append(l.jobs[:i], l.jobs[i+1:]...)
		q.waiting--
		l.share.waiting--
		j.timer.Stop()
		if len(l.jobs) == 0 {
			l.share.turn.remove(l)
			q.tidy(l)
		}
		return true
	}
	return false
}

// ready puts a lane into the round if it has something that may run.
func (q *Queue) ready(l *lane) {
	if l.active || len(l.jobs) == 0 {
		return
	}
	l.share.turn.add(l)
	if l.share.running < q.o.PerNamespace {
		q.turn.add(l.share)
	}
}

// tidy forgets what is empty.
func (q *Queue) tidy(l *lane) {
	s := l.share
	if !l.active && len(l.jobs) == 0 {
		delete(s.lanes, l.name)
	}
	if s.turn.len() == 0 {
		q.turn.remove(s)
	}
	if len(s.lanes) == 0 && s.running == 0 {
		delete(q.shares, s.name)
	}
}

// fill starts what may run.
func (q *Queue) fill() {
	for q.running < q.o.Running {
		s, ok := q.turn.next()
		if !ok {
			return
		}
		l, ok := s.turn.next()
		if !ok {
			continue
		}
		j := l.jobs[0]
		l.jobs = l.jobs[1:]
		j.timer.Stop()
		l.active = true
		q.waiting--
		s.waiting--
		q.running++
		s.running++
		if s.running < q.o.PerNamespace && s.turn.len() > 0 {
			q.turn.add(s)
		}
		q.jobs.Add(1)
		go q.run(j)
	}
}

func (q *Queue) run(j *Job) {
	defer q.jobs.Done()
	defer q.o.Changed()
	defer q.done(j)
	ctx, cancel := context.WithDeadline(q.ctx, j.Deadline)
	defer cancel()
	j.Run(ctx)
}

func (q *Queue) done(j *Job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := j.lane
	l.active = false
	q.running--
	l.share.running--
	q.ready(l)
	if l.share.turn.len() > 0 { // it may have been at its limit
		q.turn.add(l.share)
	}
	q.tidy(l)
	q.fill()
}

func (q *Queue) late(j *Job) {
	q.mu.Lock()
	waited := q.remove(j)
	q.mu.Unlock()
	if waited {
		q.o.Changed()
		j.Drop(fault.New(fault.Timeout, "no place became free in time").After(5 * time.Second))
	}
}

// Close takes nothing new. What runs may go on until ctx ends, and is then cancelled and
// waited for; what waits is dropped at once, or if drain is set, when ctx ends.
func (q *Queue) Close(ctx context.Context, drain bool) {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	if !drain {
		q.dropAll()
	}
	defer context.AfterFunc(ctx, func() {
		q.dropAll()
		q.stop()
	})()
	q.jobs.Wait() // what waits and can run does so before the last one that runs has ended
	q.dropAll()
	q.stop()
}

// dropAll drops what waits.
func (q *Queue) dropAll() {
	q.mu.Lock()
	var waiting []*Job
	for _, s := range q.shares {
		for _, l := range s.lanes {
			for _, j := range l.jobs {
				j.timer.Stop()
			}
			waiting = append(waiting, l.jobs...)
			l.jobs = nil
		}
		s.waiting, s.turn = 0, ring[*lane]{}
	}
	q.waiting, q.turn = 0, ring[*share]{}
	q.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	q.o.Changed()
	for _, j := range waiting {
		j.Drop(fault.New(fault.Stopping, "the assistant is being stopped").After(5 * time.Second))
	}
}

// ring goes round its members. Each is in it once.
type ring[T comparable] struct {
	list []T
	in   map[T]bool
}

func (r *ring[T]) len() int { return len(r.list) }

func (r *ring[T]) add(x T) {
	if r.in[x] {
		return
	}
	if r.in == nil {
		r.in = map[T]bool{}
	}
	r.in[x] = true
	r.list = append(r.list, x)
}

// next takes the first member out.
func (r *ring[T]) next() (x T, ok bool) {
	if len(r.list) == 0 {
		return x, false
	}
	x = r.list[0]
	r.list = r.list[1:]
	delete(r.in, x)
	return x, true
}

func (r *ring[T]) remove(x T) {
	if !r.in[x] {
		return
	}
	delete(r.in, x)
	for i := range r.list {
		if r.list[i] == x {
			r.list = append(r.list[:i], r.list[i+1:]...)
			return
		}
	}
}
