package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"golang.org/x/sync/errgroup"
)

// quiet is how long nothing may arrive before a drain gives up early.
const quiet = 2 * time.Second

// persistentExpiry is the Session Expiry Interval of persistent sessions, in seconds:
// longer than any run, so that none expires under way, and not for ever, in case the
// run is killed.
const persistentExpiry = uint32(2 * maxRunTime / time.Second)

// runner does one run: it holds the connections and what they count.
type runner struct {
	o      options
	target *target
	clock  clock
	nonce  uint32
	prefix string // of the run's client identifiers and topics
	result *result

	progress *progress
	meter    *meter // latencies of messages
	sampler  *sampler

	handshakes *meter // times from dialling to CONNACK, or SUBACK where one is asked for

	mu      sync.Mutex
	conns   map[*conn]struct{}
	errs    map[string]int // texts of lost connections
	closing bool

	opened  atomic.Int64 // connections that were established
	alive   atomic.Int64
	lost    atomic.Int64 // ended by the broker or the network
	readers sync.WaitGroup
	stop    context.CancelFunc // of keep-alive and sampler
	helpers sync.WaitGroup
}

func newRunner(name string, o options, t *target, p *progress) *runner {
	r := &runner{
		o: o, target: t, clock: clock{time.Now()}, nonce: rand.Uint32(), progress: p,
		meter: newMeter(2 * runtime.GOMAXPROCS(0)), handshakes: newMeter(1),
		conns: map[*conn]struct{}{}, errs: map[string]int{},
	}
	r.prefix = fmt.Sprintf("%s-%08x", o.prefix, r.nonce)
	r.result = &result{Scenario: name, URL: t.redacted(), Version: o.mqttVersion().String()}
	r.sampler = &sampler{r: r}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.helpers.Go(func() { r.every(ctx, time.Second, r.keepAlive) })
	r.helpers.Go(func() { r.every(ctx, time.Second, r.sampler.tick) })
	return r
}

// every calls f at each interval until ctx ends.
func (r *runner) every(ctx context.Context, d time.Duration, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f()
		}
	}
}

func (r *runner) keepAlive() {
	now := r.clock.now()
	r.mu.Lock()
	list := make([]*conn, 0, len(r.conns))
	for c := range r.conns {
		list = append(list, c)
	}
	r.mu.Unlock()
	for _, c := range list {
		c.ping(now)
	}
}

// open establishes connection number num. Its handshake counts from due.
func (r *runner) open(ctx context.Context, num int, spec connSpec, due time.Time) (*conn, error) {
	nc, err := r.target.dial(ctx, num)
	if ctx.Err() != nil && err != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	c := newConn(nc, num, r.o.mqttVersion(), r.clock)
	if err := c.connect(ctx, r.connectPacket(spec), spec.filters, byte(r.o.qos)); err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", r.target.addr, err)
	}
	r.opened.Add(1)
	r.handshakes.record(num, []int64{int64(time.Since(due))})
	return c, nil
}

func (r *runner) connectPacket(spec connSpec) *packet.Connect {
	user, password := r.o.username, r.o.password
	if u := r.target.url.User; u != nil && user == "" && password == "" {
		user = u.Username()
		password, _ = u.Password()
	}
	p := &packet.Connect{
		Version: r.o.mqttVersion(), ClientID: spec.clientID, CleanStart: !spec.persistent,
		KeepAlive:   uint16(r.o.keepAlive / time.Second),
		HasUsername: user != "", Username: user,
		HasPassword: password != "", Password: []byte(password),
	}
	if spec.persistent && p.Version == packet.V5 {
		p.Props.SetSessionExpiry(persistentExpiry)
	}
	return p
}

// connectAll opens a connection for each spec, --workers at a time, and hands it to
// ready, which is called by several goroutines. The first failure ends it.
func (r *runner) connectAll(ctx context.Context, specs []connSpec, ready func(i int, c *conn) error) (took time.Duration, err error) {
	ctx, cancel := within(ctx, r.o.setup,
		fmt.Errorf("not all %d connections were up after %v (--setup-timeout)", len(specs), r.o.setup))
	defer cancel()
	base, start := int(r.opened.Load()), time.Now()
	outer := ctx
	g, ctx := errgroup.WithContext(outer)
	g.SetLimit(r.o.workers)
	for i, spec := range specs {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			c, err := r.open(ctx, base+i, spec, time.Now())
			if err != nil {
				return err
			}
			r.register(c)
			return ready(i, c)
		})
	}
	// Wait cancels the group's context, so whether it was cut short is the outer one's.
	if err := g.Wait(); err != nil {
		return time.Since(start), err
	}
	return time.Since(start), context.Cause(outer)
}

// register takes c into what finish closes and keep-alive pings.
func (r *runner) register(c *conn) {
	r.mu.Lock()
	r.conns[c] = struct{}{}
	r.mu.Unlock()
	r.alive.Add(1)
}

// serve reads c for h in a goroutine of its own until c ends. ended, which may be
// nil, is called then.
func (r *runner) serve(c *conn, h handler, ended func()) {
	r.readers.Go(func() {
		err := c.loop(h)
		r.drop(c, err)
		if ended != nil {
			ended()
		}
	})
}

// drop takes c out, as lost unless the run itself has ended it, and closes it.
func (r *runner) drop(c *conn, err error) {
	r.mu.Lock()
	closing := r.closing
	r.mu.Unlock()
	if !r.forget(c) {
		return
	}
	c.nc.Close()
	if !closing {
		r.lost.Add(1)
		r.note(err)
	}
}

// maxNotes bounds the different errors that a result names.
const maxNotes = 10

// note counts an error that does not end the run. Addresses and ports make each
// system error unlike the others, so only its cause is kept.
func (r *runner) note(err error) {
	var op *net.OpError
	if errors.As(err, &op) {
		err = fmt.Errorf("%s: %w", op.Op, op.Err)
	} else if errors.Is(err, io.EOF) {
		err = errors.New("closed by the broker")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	text := err.Error()
	if _, known := r.errs[text]; known || len(r.errs) < maxNotes {
		r.errs[text]++
	}
}

// forget takes c out of what finish closes; its end is no loss from here on.
func (r *runner) forget(c *conn) (known bool) {
	r.mu.Lock()
	_, known = r.conns[c]
	delete(r.conns, c)
	r.mu.Unlock()
	if known {
		r.alive.Add(-1)
	}
	return known
}

// leave ends connections in good order. The read loops end soon after.
func (r *runner) leave(conns []*conn) {
	var g errgroup.Group
	g.SetLimit(r.o.workers)
	for _, c := range conns {
		if r.forget(c) {
			g.Go(func() error {
				c.disconnect()
				c.nc.Close()
				return nil
			})
		}
	}
	_ = g.Wait() // the functions give no errors
}

// finish ends all connections and waits for everything that runs.
func (r *runner) finish() {
	r.mu.Lock()
	r.closing = true
	list := make([]*conn, 0, len(r.conns))
	for c := range r.conns {
		list = append(list, c)
	}
	r.mu.Unlock()
	r.leave(list)
	r.readers.Wait()
	r.stop()
	r.helpers.Wait()
	r.progress.clear()
	r.result.close(r)
}

// within ends ctx after d with a cause. Unlike a context with a deadline, it does not
// let a dialler time out by itself a moment before ctx says that it has ended.
func within(ctx context.Context, d time.Duration, cause error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(d, func() { cancel(cause) })
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}

// sleep waits for d or the end of ctx; it reports whether d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// drain waits until done, but at most limit, and no longer than quiet after moved has
// last changed. It gives the time of that change.
func drain(limit time.Duration, moved func() uint64, done func() bool) (last time.Time) {
	end := time.Now().Add(limit)
	n, last := moved(), time.Now()
	for !done() && time.Now().Before(end) && time.Since(last) < quiet {
		time.Sleep(5 * time.Millisecond)
		if now := moved(); now != n {
			n, last = now, time.Now()
		}
	}
	return last
}
