package pluginhost

import (
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// run takes the requests of one call of the broker through the plugins that hook a
// point, one after the other. It goes on in the broker's goroutine as long as
// plugins answer at once, and from then on in that of whoever brings the answer.
type run struct {
	host  *Host
	work  work
	hooks []*hooked
	at    int // in hooks
	pos   int // in the requests, for hooks that take them in several batches
	call  *call
	// done tells the broker; it is not called if everything was answered at once.
	done func()
}

// work is what a run is about: the requests of one point.
type work interface {
	// fill adds to c's batch what c's hook is to be asked about, from a position among
	// the requests on, and returns the position to go on from.
	fill(c *call, from int) (next int)
	// decide acts on a verdict about the i-th event of c's batch. It is final or replaces.
	decide(c *call, i int, v *pluginv1.Verdict)
	// fail answers the i-th event of c's batch by the failure policy of its hook.
	fail(c *call, i int)
	// settled reports whether no further plugin has to be asked.
	settled() bool
	// finish writes the answer. It returns false if another run has begun instead, which
	// will call done.
	finish() bool
	// recycle is called when nothing of the run is needed any more.
	recycle()
}

// recycle leaves runs that are not made for every message to the garbage collector.
func (r *run) recycle() {}

// begin makes r ready to ask hooks.
func (r *run) begin(h *Host, w work, hooks []*hooked, done func()) {
	r.host, r.work, r.hooks, r.at, r.pos, r.done = h, w, hooks, 0, 0, done
	if r.call == nil {
		r.call = newCall()
	}
}

// start runs as far as it gets in this goroutine, and reports whether that is to the
// end.
func (r *run) start() bool { return r.advance() && r.work.finish() }

// resume goes on after an answer that came later.
func (r *run) resume() {
	if r.start() {
		done := r.done
		r.work.recycle()
		done()
	}
}

// advance asks plugins until one of them does not answer at once.
func (r *run) advance() bool {
	for r.at < len(r.hooks) && !r.work.settled() {
		c := r.call
		if c.spoiled {
			c = newCall()
			r.call = c
		}
		k, alive := r.host.enter(r.hooks[r.at])
		if k == nil { // the plugin has gone meanwhile
			r.at, r.pos = r.at+1, 0
			continue
		}
		c.reset(r, k)
		next := r.work.fill(c, r.pos)
		if len(c.batch.Events) == 0 {
			if alive {
				k.gen.leave()
			}
			r.at, r.pos = r.at+1, 0
			continue
		}
		r.pos = next
		if !c.ask(alive) {
			return false
		}
	}
	return true
}
