package transport

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Loops is the driver for Linux: plain TCP and unix sockets are run by event loops, each with an epoll of its own, so that an idle
// connection costs no goroutine. It begins with one loop; when the loops that run are busy most of the time, the next one (up to
// GOMAXPROCS) takes over half of the busiest one's connections. Connections with a handshake (TLS, WebSocket, PROXY) are run as
// [Portable] runs them.
func Loops() Driver { return &loopDriver{} }

type loopDriver struct {
	portable rawDriver

	mu       sync.Mutex
	loops    []*loop // guarded by mu
	balanced time.Time
	stopped  bool
}

func (d *loopDriver) link(c *Conn) (link, error) {
	socket, ok := c.nc.(*loopSocket)
	if !ok {
		return d.portable.link(c)
	}
	l := &socket.link
	l.c, l.d = c, d
	return l, nil
}

// place chooses a loop for a new link.
func (d *loopDriver) place(eng *Engine) (*loop, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return nil, ErrClosed
	}
	if len(d.loops) == 0 {
		if _, err := d.addLocked(eng); err != nil {
			return nil, err
		}
	}
	best := d.loops[0]
	for _, lp := range d.loops[1:] {
		if lp.links.Load() < best.links.Load() {
			best = lp
		}
	}
	best.links.Add(1)
	return best, nil
}

func (d *loopDriver) addLocked(eng *Engine) (*loop, error) {
	lp, err := newLoop(d, eng)
	if err != nil {
		return nil, err
	}
	d.loops = append(d.loops, lp)
	eng.severalLoops.Store(len(d.loops) > 1)
	go lp.run()
	return lp, nil
}

// stop ends the loops: each when its last connection has gone.
func (d *loopDriver) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	for _, lp := range d.loops {
		lp.mu.Lock()
		lp.closed = true
		lp.ringLocked()
		lp.mu.Unlock()
	}
	d.loops = nil
}

const (
	loadWindow  = 250 * time.Millisecond
	loadSettle  = time.Second // after a move, until the next one
	loadHigh    = 60          // per cent of the time: above it another loop helps
	loadUneven  = 30          // per cent between two loops: above it one gives connections to the other
	minimalMove = 2           // links
)

// load measures how much of its time a loop works.
type load struct {
	since   time.Time     // when the window began
	awake   time.Time     // zero: asleep
	worked  time.Duration // in the window
	percent atomic.Int32  // of the last whole window
}

func (l *load) begin(now time.Time) { l.since, l.awake = now, now }

func (l *load) idle(now time.Time) {
	l.worked += now.Sub(l.awake)
}

// busy begins to work. At the end of a window the driver is told.
func (l *load) busy(now time.Time, d *loopDriver) {
	l.awake = now
	if window := now.Sub(l.since); window >= loadWindow {
		l.percent.Store(int32(100 * l.worked / window))
		l.since, l.worked = now, 0
		d.balance(now)
	}
}

// balance has the busiest loop give half of its connections to an idle one, if it has more to do than one processor can.
func (d *loopDriver) balance(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || now.Sub(d.balanced) < loadWindow {
		return
	}
	d.balanced = now
	busiest, idlest := d.loops[0], d.loops[0]
	for _, lp := range d.loops[1:] {
		if lp.load.percent.Load() > busiest.load.percent.Load() {
			busiest = lp
		}
		if lp.load.percent.Load() < idlest.load.percent.Load() {
			idlest = lp
		}
	}
	high := busiest.load.percent.Load()
	if high < loadHigh || busiest.links.Load() < minimalMove {
		return
	}
	to := idlest
	if idlest.load.percent.Load() > high-loadUneven {
		if len(d.loops) >= runtime.GOMAXPROCS(0) {
			return
		}
		lp, err := d.addLocked(busiest.eng)
		if err != nil {
			busiest.eng.log.Warn("cannot start another event loop", "error", err)
			return
		}
		to = lp
	}
	d.balanced = now.Add(loadSettle)
	busiest.mu.Lock()
	busiest.moving = to
	busiest.ringLocked()
	busiest.mu.Unlock()
}

// Phases of a loopLink.
const (
	loopNew     uint8 = iota
	loopOpen          // the handler runs
	loopLeaving       // the handler is done, the socket lingers
	loopGone
)

// loopLink is a connection on a loop.
type loopLink struct {
	c      *Conn
	d      *loopDriver
	loop   atomic.Pointer[loop] // nil before start
	queued atomic.Bool          // it is in its loop's calls

	// Others write to the socket, and must not do so to a number that is another socket's by now.
	mu         sync.Mutex
	fd         int           // guarded by mu; changed to -1 by the loop alone, or before start
	at         *loop         // guarded by mu: whose epoll it is in; nil while it moves
	interest   uint32        // guarded by mu: what it wants to be told of
	told       uint32        // guarded by mu: what the kernel knows of that; 0: nothing, and it is not in the epoll
	generation int32         // guarded by mu
	waiting    bool          // guarded by mu: the right to write is the loop's, which waits for room
	since      time.Duration // when that began, as monotonic says

	// The loop's.
	slot       int32
	phase      uint8
	peerClosed bool
	until      time.Duration // lingering, as monotonic says
	rest       []byte        // until the first turn
}

func (l *loopLink) start(rest []byte) {
	lp, err := l.d.place(l.c.eng)
	if err != nil {
		l.c.eng.log.Warn("cannot start an event loop", "error", err)
		l.c.closeWith(err, true)
		l.orphan()
		return
	}
	l.rest = rest
	l.queued.Store(true)
	l.mu.Lock()
	l.interest |= unix.EPOLLIN
	l.loop.Store(lp)
	l.mu.Unlock()
	lp.ask(l)
}

// orphan ends a connection that has no loop.
func (l *loopLink) orphan() {
	l.c.conclude()
	l.c.release()
}

func (l *loopLink) wake() {
	lp := l.loop.Load()
	if lp == nil || l.queued.Swap(true) {
		return // before start: the first turn looks at the flags
	}
	lp.ask(l)
}

// read reads what is there, up to passReadLimit. It returns the number of bytes, and whether the connection goes on.
func (l *loopLink) read(p *Pass, readable bool) (total int, alive bool) {
	c := l.c
	for {
		if c.pending.Load() != 0 {
			if !c.service(p) {
				return total, false
			}
			readable = readable || c.dead // after a failed write everything that has come is wanted, and then the end
		}
		if c.paused.Load() != 0 {
			if readable {
				l.want(0, unix.EPOLLIN)
			}
			return total, !c.dead
		}
		if !readable || total >= passReadLimit {
			break
		}
		n, err := readFD(l.fd, p.buf)
		if err == errWouldBlock {
			if c.dead {
				return total, false
			}
			readable = false
			continue
		}
		if err != nil || n == 0 {
			if err == nil {
				err = io.EOF
			}
			c.readEnded(err)
			return total, false
		}
		c.received(p, p.buf[:n])
		total += n
		// The kernel says again if there is more than a short read has brought.
		readable = n == len(p.buf) || c.dead
	}
	if !c.dead {
		l.want(unix.EPOLLIN, 0)
	}
	return total, true
}

// write is called by whoever holds Conn.flushing.
func (l *loopLink) write() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return 0, net.ErrClosed
	}
	return writeFD(l.fd, &l.c.wire)
}

func (l *loopLink) awaitWritable() {
	l.mu.Lock()
	if l.fd < 0 {
		l.mu.Unlock()
		l.c.writeFailed(net.ErrClosed)
		return
	}
	l.waiting, l.since = true, monotonic()
	l.wantLocked(unix.EPOLLOUT, 0)
	if l.at != nil && l.at.blocked.Add(1) == 1 {
		l.at.ring() // it may sleep without end
	}
	l.mu.Unlock()
}

// takeWrite takes the right to write back from the wait for room, if it is there.
func (l *loopLink) takeWrite() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.waiting {
		return false
	}
	l.waiting = false
	if l.at != nil {
		l.at.blocked.Add(-1)
	}
	l.wantLocked(0, unix.EPOLLOUT)
	return true
}

// writeOn goes on with the output.
func (l *loopLink) writeOn(p *Pass) {
	if l.takeWrite() && l.c.pump(p) {
		l.awaitWritable()
	}
}

// began is what monotonic counts from.
var began = time.Now()

// monotonic is the time of a clock that only goes forward, in a third of a time.Time: there are
// many links.
func monotonic() time.Duration { return time.Since(began) }

// checkWrite gives up a peer that takes nothing.
func (l *loopLink) checkWrite(now time.Duration) {
	l.mu.Lock()
	late := l.waiting && now-l.since >= l.c.eng.cfg.WriteTimeout
	l.mu.Unlock()
	if late && l.takeWrite() {
		l.c.writeFailed(os.ErrDeadlineExceeded)
	}
}

func (l *loopLink) closeWrite() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd >= 0 {
		_ = unix.Shutdown(l.fd, unix.SHUT_WR)
	}
}

// want changes what the kernel is to tell of.
func (l *loopLink) want(more, less uint32) {
	l.mu.Lock()
	l.wantLocked(more, less)
	l.mu.Unlock()
}

func (l *loopLink) wantLocked(more, less uint32) {
	l.interest = l.interest&^less | more
	if l.at != nil && l.told != l.interest {
		l.tellLocked()
	}
}

// tellLocked tells the kernel. A link that wants nothing is taken out: a broken socket would be told of all the same, on and on.
func (l *loopLink) tellLocked() {
	e := unix.EpollEvent{Events: l.interest, Fd: l.slot, Pad: l.generation}
	op := unix.EPOLL_CTL_MOD
	switch {
	case l.told == 0:
		op = unix.EPOLL_CTL_ADD
	case l.interest == 0:
		op = unix.EPOLL_CTL_DEL
	}
	l.told = l.interest
	if err := unix.EpollCtl(l.at.ep, op, l.fd, &e); err != nil {
		// Out of memory, or of the user's epoll watches: the connection would hang.
		l.c.eng.log.Warn("cannot wait for a connection", "error", err)
		l.c.closeWith(err, true)
	}
}

func (l *loopLink) attach(lp *loop, generation int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return // it was closed before it had begun
	}
	l.at, l.generation, l.told = lp, generation, 0
	if l.waiting {
		lp.blocked.Add(1)
	}
	if l.interest != 0 {
		l.tellLocked()
	}
}

func (l *loopLink) detach() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told != 0 {
		_ = unix.EpollCtl(l.at.ep, unix.EPOLL_CTL_DEL, l.fd, nil)
	}
	if l.waiting && l.at != nil {
		l.at.blocked.Add(-1)
	}
	l.at, l.told = nil, 0
}

func (l *loopLink) closeFD() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd >= 0 {
		unix.Close(l.fd)
		l.fd = -1
	}
}
