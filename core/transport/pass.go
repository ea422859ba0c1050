package transport

import (
	"runtime"
	"slices"
	"sync"
)

const (
	// readBufferSize is what one read(2) may return. Measured with the skeletons: 64 KiB is where larger reads stop to pay.
	readBufferSize = 64 << 10

	// passesPerCPU bounds the passes that exist. More than one per processor, because a goroutine may be preempted or be inside a
	// system call with a pass in hand; few, because each has buffers and the broker's caches.
	passesPerCPU = 4
)

// Pass is one turn of an executor: a read of a connection and all that it causes. It is used by one goroutine at a time.
type Pass struct {
	// Scratch is the caller's per-pass state, made by [Config.NewScratch].
	Scratch any

	eng     *Engine
	number  uint32  // from 1
	buf     []byte  // raw bytes of one read
	plain   []byte  // decrypted bytes; made when first needed
	dirty   []*Conn // are written when the turn is over
	later   []*Conn // may wait for the next turns
	drained []*Conn
	owes    bool // the caller has kept output back
}

// What a Conn is remembered for. From flushLater on it is for later, by the pass of that number.
const (
	notDirty uint32 = iota
	flushSoon
	flushLater
)

// laterBy is what a Conn says that this pass has remembered for later.
func (p *Pass) laterBy() uint32 { return flushLater + p.number }

// Flush remembers c: its out-buffer is written, without blocking, at the end of the pass, or at once when much has gathered. A
// connection that some pass has already remembered is not remembered twice; that pass writes what is appended until then.
func (p *Pass) Flush(c *Conn) {
	if c.dirty.Swap(flushSoon) != flushSoon {
		p.dirty = append(p.dirty, c)
	}
	p.flushMuch(c)
}

// FlushLater is Flush for what nobody waits for in order to go on, as deliveries are: an event loop with a lot of input goes on
// with that for up to flushDelay, so that one write takes more. Answers to those who send must not wait, or they would.
func (p *Pass) FlushLater(c *Conn) {
	if c.dirty.CompareAndSwap(notDirty, p.laterBy()) {
		p.later = append(p.later, c)
	}
	p.flushMuch(c)
}

func (p *Pass) flushMuch(c *Conn) {
	// A long pass can make more output than the high water mark allows; waiting for its end would turn batching into drops.
	if c.buffered.Load() >= int64(p.eng.cfg.HighWater/2) {
		c.flush(p)
	}
}

// FlushNow writes what c has in its out-buffer at once, without blocking.
func (p *Pass) FlushNow(c *Conn) { c.flush(p) }

// Owe says that the caller keeps output back, which [Config.Settle] will bring: as FlushLater, for what has not been appended yet. It
// reports whether other passes do so at the same time, for the same connections maybe. Then it pays to call FlushLater for each at once,
// and not only to [Pass.Bring] it: of several passes the first writes for all.
func (p *Pass) Owe() (others bool) {
	p.owes = true
	return p.eng.severalLoops.Load()
}

// Bring is for [Config.Settle]: what c was owed is in its out-buffer. It is written at once, without blocking, unless another pass
// has yet to write to c, and writes this as well.
func (p *Pass) Bring(c *Conn) {
	if by := c.dirty.Load(); by == notDirty || by == p.laterBy() {
		c.flush(p)
		return
	}
	p.flushMuch(c)
}

func (p *Pass) settle() {
	if p.owes {
		p.owes = false
		p.eng.cfg.Settle(p)
	}
}

// waits reports whether there is output that may wait for the next turn.
func (p *Pass) waits() bool { return p.owes || len(p.later) > 0 }

// finish writes what the turn caused, until nothing is left to do.
func (p *Pass) finish() {
	for p.waits() || len(p.dirty) > 0 || len(p.drained) > 0 {
		p.settle()
		p.write(&p.later)
		p.answer()
	}
}

// write flushes the connections of a list, and those that come to it meanwhile.
func (p *Pass) write(list *[]*Conn) {
	for i := 0; i < len(*list); i++ {
		// If it is not remembered any more, somebody has written to it since.
		if c := (*list)[i]; c.dirty.Load() != notDirty {
			c.flush(p)
		}
	}
	clear(*list)
	*list = (*list)[:0]
}

// answer writes what must not wait.
func (p *Pass) answer() {
	for len(p.dirty) > 0 || len(p.drained) > 0 {
		p.write(&p.dirty)

		// Handlers append in Drained, so the list is taken before it is walked.
		for n := len(p.drained); n > 0; n-- {
			c := p.drained[len(p.drained)-1]
			p.drained[len(p.drained)-1] = nil
			p.drained = p.drained[:len(p.drained)-1]
			c.callDrained(p)
		}
	}
}

// end finishes the pass and gives it back.
func (p *Pass) end() {
	p.finish()
	p.eng.passes.put(p)
}

// passPool is a LIFO list, so that the warmest buffers and caches are used again first. Those who have to wait are served in
// order: a connection that reads without end gives its pass back now and then, and must not get it again before the others.
type passPool struct {
	mu      sync.Mutex
	free    []*Pass
	all     []*Pass
	made    int // len(all) and those being made
	waiting []chan *Pass
	spare   []chan *Pass // used again, so that waiting allocates nothing
}

// borrow takes a pass, makes one, or waits when all that may exist are in use. Waiting is safe: their users never block.
func (e *Engine) borrow() *Pass {
	pp := &e.passes
	pp.mu.Lock()
	if n := len(pp.free); n > 0 {
		p := pp.free[n-1]
		pp.free = pp.free[:n-1]
		pp.mu.Unlock()
		return p
	}
	if pp.made < passesPerCPU*runtime.GOMAXPROCS(0) {
		pp.made++
		pp.mu.Unlock()
		return e.newPass()
	}
	var turn chan *Pass
	if n := len(pp.spare); n > 0 {
		turn, pp.spare = pp.spare[n-1], pp.spare[:n-1]
	} else {
		turn = make(chan *Pass, 1)
	}
	pp.waiting = append(pp.waiting, turn)
	pp.mu.Unlock()

	p := <-turn
	pp.mu.Lock()
	pp.spare = append(pp.spare, turn)
	pp.mu.Unlock()
	return p
}

func (e *Engine) newPass() *Pass {
	p := &Pass{eng: e, buf: make([]byte, readBufferSize)}
	if e.cfg.NewScratch != nil {
		p.Scratch = e.cfg.NewScratch()
	}
	e.passes.mu.Lock()
	e.passes.all = append(e.passes.all, p)
	p.number = uint32(len(e.passes.all))
	e.passes.mu.Unlock()
	return p
}

func (pp *passPool) put(p *Pass) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if len(pp.waiting) > 0 {
		turn := pp.waiting[0]
		pp.waiting = pp.waiting[:copy(pp.waiting, pp.waiting[1:])]
		turn <- p // has room: one pass per turn
		return
	}
	pp.free = append(pp.free, p)
}

func (pp *passPool) snapshot() []*Pass {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	return slices.Clone(pp.all)
}
