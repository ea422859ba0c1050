package transport

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// loopEvents is how many ready connections one wait tells of, and so how many share a pass.
	loopEvents = 256

	// loopReadLimit is passReadLimit for what all connections of a loop have read together: the more, the more of it is in each write.
	loopReadLimit = 2 * passReadLimit

	// What counts as a lot of input in one turn of the loop: then what has been delivered waits for more of it, for at most
	// flushFactor times as long as writing took the last time, so that a loop spends no more than a third of its time on that, and
	// those wait long that are many. Without a lot it is written at once: there is nothing to wait for.
	denseEvents = 4
	denseBytes  = 1 << 10
	flushFactor = 2
	flushDelay  = 25 * time.Millisecond // at most

	// loopTick is how long a loop sleeps at most while a deadline of one of its connections is running.
	loopTick = 100 * time.Millisecond
)

// loop is one goroutine with an epoll of its own, the executor of many connections. What it owns it touches without locks;
// others reach it by ask.
type loop struct {
	d        *loopDriver
	eng      *Engine
	ep, bell int // epoll, and the eventfd that ends its wait

	// While there is nothing to do, the goroutine waits for ep as others do for a socket. In a blocking epoll_wait it would
	// have the runtime find other work for its processor each time, and a monitor thread that watches over that.
	file  *os.File // ep
	waits syscall.RawConn

	load  load
	links atomic.Int64 // that it has, or will have when it has seen its calls

	// blocked counts links that wait for room in their socket.
	blocked atomic.Int64

	mu     sync.Mutex
	calls  []*loopLink // guarded by mu: these want a turn
	asleep bool        // guarded by mu: it waits for ep, or is about to
	rung   bool        // guarded by mu: the bell will end the wait
	moving *loop       // guarded by mu: where half of the links shall go
	closed bool        // guarded by mu: to end when the last link has gone

	// Owned by the goroutine.
	events   [loopEvents]unix.EpollEvent
	ready    int    // of them
	timed    bool   // file has a deadline
	slots    []slot // what events are about
	free     []int32
	leaving  []*loopLink // lingering, see lingerTime
	checked  time.Time   // when write timeouts were looked at
	taken    []*loopLink // the calls being worked on
	passRead int         // bytes read since the pass was last finished
	turnRead int         // bytes read in this turn
	held     *Pass       // of the last turns: it has something to write yet
	heldAt   time.Duration
	took     time.Duration // to write what was held, the last time
}

// slot is what the kernel knows a link by. An event may come for a link that has left; its generation tells.
type slot struct {
	link       *loopLink
	generation int32
}

func newLoop(d *loopDriver, eng *Engine) (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(ep)
		return nil, err
	}
	// Slot 0 is the bell's.
	lp := &loop{d: d, eng: eng, ep: ep, bell: bell, slots: make([]slot, 1)}
	if err := lp.open(); err != nil {
		lp.closeFDs()
		return nil, err
	}
	return lp, nil
}

func (lp *loop) open() error {
	if err := unix.SetNonblock(lp.ep, true); err != nil { // os.NewFile goes by that
		return err
	}
	lp.file = os.NewFile(uintptr(lp.ep), "epoll")
	if err := lp.file.SetReadDeadline(time.Time{}); err != nil {
		return err // it cannot be waited for
	}
	var err error
	if lp.waits, err = lp.file.SyscallConn(); err != nil {
		return err
	}
	return unix.EpollCtl(lp.ep, unix.EPOLL_CTL_ADD, lp.bell, &unix.EpollEvent{Events: unix.EPOLLIN})
}

func (lp *loop) closeFDs() {
	unix.Close(lp.bell)
	if lp.file == nil {
		unix.Close(lp.ep)
		return
	}
	lp.file.Close()
}

// ask gives l a turn soon. Any goroutine.
func (lp *loop) ask(l *loopLink) {
	lp.mu.Lock()
	lp.calls = append(lp.calls, l)
	lp.ringLocked()
	lp.mu.Unlock()
}

func (lp *loop) ring() {
	lp.mu.Lock()
	lp.ringLocked()
	lp.mu.Unlock()
}

func (lp *loop) ringLocked() {
	if lp.asleep && !lp.rung {
		lp.rung = true
		one := [8]byte{1}
		_, _ = unix.Write(lp.bell, one[:])
	}
}

// run is the goroutine.
func (lp *loop) run() {
	poll := func(fd uintptr) bool {
		lp.ready = pollFD(int(fd), lp.events[:])
		return lp.ready > 0
	}
	lp.load.begin(time.Now())
	for {
		moving, asleep, over := lp.collect()
		if over {
			lp.closeFDs()
			return
		}
		n := lp.wait(poll, asleep)
		if n > 0 || len(lp.taken) > 0 || lp.held != nil {
			p := lp.held
			if p == nil {
				p = lp.eng.borrow()
				lp.passRead = 0
			}
			lp.turnRead = 0
			for i := range lp.events[:n] {
				lp.event(p, &lp.events[i])
			}
			for i, l := range lp.taken {
				lp.taken[i] = nil
				lp.call(p, l)
			}
			lp.taken = lp.taken[:0]
			lp.conclude(p, n, moving != nil)
		}
		lp.expire()
		if moving != nil {
			lp.moveHalf(moving)
		}
	}
}

// conclude writes what a turn with n events has caused, or keeps a part of it for the next one. With last it keeps nothing: a
// publisher that goes to another loop must not overtake itself.
func (lp *loop) conclude(p *Pass, n int, last bool) {
	dense := !last && p.waits() && (n >= denseEvents || lp.turnRead >= denseBytes)
	if lp.held == nil && !dense {
		p.end()
		return
	}
	now := monotonic()
	if lp.held == nil {
		lp.held, lp.heldAt = p, now
		p.answer()
		return
	}
	if dense && now-lp.heldAt < min(flushFactor*lp.took, flushDelay) {
		p.answer()
		return
	}
	lp.held = nil
	p.end()
	lp.took = monotonic() - now
}

// collect takes the calls that have come. Without any, those who ask from now on ring the bell.
func (lp *loop) collect() (moving *loop, asleep, over bool) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.taken, lp.calls = lp.calls, lp.taken
	moving, lp.moving = lp.moving, nil
	lp.asleep = len(lp.taken) == 0 && moving == nil && lp.held == nil
	return moving, lp.asleep, lp.closed && lp.asleep && lp.links.Load() == 0
}

// wait returns how many events there are; if there is something else to do, at once.
func (lp *loop) wait(poll func(fd uintptr) bool, asleep bool) int {
	if !asleep {
		poll(uintptr(lp.ep))
		return lp.ready
	}
	now := time.Now()
	lp.load.idle(now)
	switch {
	case len(lp.leaving) > 0 || lp.blocked.Load() > 0:
		lp.timed = true
		_ = lp.file.SetReadDeadline(now.Add(loopTick))
	case lp.timed:
		lp.timed = false
		_ = lp.file.SetReadDeadline(time.Time{})
	}
	lp.ready = 0
	_ = lp.waits.Read(poll) // its only error is the deadline's
	lp.load.busy(time.Now(), lp.d)
	lp.mu.Lock()
	lp.asleep = false
	lp.mu.Unlock()
	return lp.ready
}

func (lp *loop) event(p *Pass, e *unix.EpollEvent) {
	if e.Fd == 0 {
		lp.mu.Lock()
		lp.rung = false
		lp.mu.Unlock()
		var count [8]byte
		_, _ = readFD(lp.bell, count[:])
		return
	}
	s := &lp.slots[e.Fd]
	l := s.link
	if l == nil || s.generation != e.Pad {
		return
	}
	if e.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		l.writeOn(p)
	}
	if e.Events&^unix.EPOLLOUT != 0 {
		lp.turn(p, l, true)
	}
}

// call gives l the turn that it, or somebody else for it, has asked for.
func (lp *loop) call(p *Pass, l *loopLink) {
	if at := l.loop.Load(); at != lp {
		at.ask(l) // it has moved meanwhile
		return
	}
	l.queued.Store(false)
	if l.phase == loopGone {
		return
	}
	if l.slot == 0 {
		lp.enter(l)
	}
	lp.turn(p, l, false)
}

// enter gives l a slot, and has the kernel tell of it.
func (lp *loop) enter(l *loopLink) {
	if n := len(lp.free); n > 0 {
		l.slot, lp.free = lp.free[n-1], lp.free[:n-1]
	} else {
		l.slot = int32(len(lp.slots))
		lp.slots = append(lp.slots, slot{})
	}
	s := &lp.slots[l.slot]
	s.link = l
	l.attach(lp, s.generation)
}

// leave is the opposite.
func (lp *loop) leave(l *loopLink) {
	l.detach()
	s := &lp.slots[l.slot]
	s.link = nil
	s.generation++
	lp.free = append(lp.free, l.slot)
	l.slot = 0
}

// turn runs l's state machine. With readable the kernel has something for it.
func (lp *loop) turn(p *Pass, l *loopLink, readable bool) {
	c := l.c
	switch l.phase {
	case loopNew:
		l.phase = loopOpen
		rest := l.rest
		l.rest = nil
		if !c.beginIn(p, rest) {
			lp.part(p, l)
			return
		}
		readable = true // most clients have said something by now
	case loopLeaving:
		lp.linger(l, readable)
		return
	}
	read, alive := l.read(p, readable)
	if !alive {
		lp.part(p, l)
		return
	}
	lp.turnRead += read
	if lp.passRead += read; lp.passRead >= loopReadLimit {
		p.finish()
		lp.passRead = 0
	}
}

// part is the last turn of l's state machine.
func (lp *loop) part(p *Pass, l *loopLink) {
	c := l.c
	c.concludeIn(p)
	p.finish()
	if !c.lingers() {
		lp.release(l)
		return
	}
	l.phase, l.until = loopLeaving, monotonic()+lingerTime
	lp.leaving = append(lp.leaving, l)
	l.want(unix.EPOLLIN, 0)
}

// linger throws away what the peer still sends. The link goes when the peer has closed and the output is written, or by expire.
func (lp *loop) linger(l *loopLink, readable bool) {
	if readable && !l.peerClosed {
		var rest [2048]byte
		for range 16 { // and then somebody else's turn
			n, err := readFD(l.fd, rest[:])
			if err == errWouldBlock {
				break
			}
			if n == 0 || err != nil {
				l.peerClosed = true
				break
			}
		}
	}
	if l.peerClosed {
		if !l.c.isFlushing() {
			l.until = 0 // expire sees to it
			return
		}
		l.want(0, unix.EPOLLIN) // it would not stop saying so
	}
}

// expire ends what has taken too long.
func (lp *loop) expire() {
	if len(lp.leaving) == 0 && lp.blocked.Load() == 0 {
		return
	}
	now, uptime := time.Now(), monotonic()
	kept := lp.leaving[:0]
	for _, l := range lp.leaving {
		if uptime < l.until && !(l.peerClosed && !l.c.isFlushing()) {
			kept = append(kept, l)
		} else {
			lp.release(l)
		}
	}
	clear(lp.leaving[len(kept):])
	lp.leaving = kept
	if lp.blocked.Load() == 0 || now.Sub(lp.checked) < loopTick {
		return
	}
	lp.checked = now
	for i := range lp.slots {
		if l := lp.slots[i].link; l != nil {
			l.checkWrite(uptime)
		}
	}
}

// release closes the socket and forgets the connection.
func (lp *loop) release(l *loopLink) {
	l.phase = loopGone
	if l.takeWrite() {
		l.c.writeFailed(ErrClosed) // the right to write is ours: nobody else would free what is left
	}
	lp.leave(l)
	l.closeFD()
	lp.links.Add(-1)
	l.c.release()
}

// moveHalf gives every second link away.
func (lp *loop) moveHalf(to *loop) {
	every := false
	for i := range lp.slots {
		l := lp.slots[i].link
		if l == nil || l.phase != loopOpen {
			continue
		}
		if every = !every; !every {
			lp.leave(l)
			lp.links.Add(-1)
			to.links.Add(1)
			l.queued.Store(true)
			l.loop.Store(to)
			to.ask(l)
		}
	}
}
