package bridgesql

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// patience is how long messages wait here for the database before they are given back to
	// the host, which has more room for them.
	patience = 5 * time.Second
	// look is how often an idle connection is tried.
	look = 10 * time.Second
)

// link is what there is of connections to the database. One goroutine, run, finds out
// whether it is there; routes wait for that, so that an outage is one attempt now and then.
type link struct {
	c       *Database
	d       *dialect
	targets []target
	routes  []*route
	log     *sdk.Logger
	slots   chan struct{} // has one for each connection that may be in use
	lost    chan struct{} // run is to connect again

	mu      sync.Mutex
	idle    []conn
	up      bool
	since   time.Time
	err     error
	target  target            // the one that counts
	era     int               // counts connects; connections of an earlier one are closed
	broken  map[string]string // by route: why its statement cannot be
	changed chan struct{}     // closed when up has changed
}

func newLink(c *Database, targets []target, routes []*route, log *sdk.Logger) *link {
	n := c.MaxConnections
	if c.Type == "sqlite" {
		n = 1 // there is one writer
	}
	return &link{
		c: c, d: dialectOf(c.Type), targets: targets, routes: routes, log: log, slots: make(chan struct{}, n), lost: make(chan struct{}, 1),
		since: time.Now(), err: errors.New("no connection yet"), broken: map[string]string{}, changed: make(chan struct{}),
	}
}

// run connects, and keeps at it until ctx ends.
func (l *link) run(ctx context.Context) {
	pause := bridge.Backoff{Min: l.c.RetryMin.Std(), Max: l.c.RetryMax.Std()}
	said := false
	for ctx.Err() == nil {
		n, t, err := l.connect(ctx)
		if err == nil {
			l.log.Info("connected", "database", l.c.shown(t))
			pause.Reset()
			said = false
			l.rise(n, t)
			l.watch(ctx)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		l.fell(err)
		if !said { // once; Health says it from now on
			l.log.Warn("no connection to the database", "database", l.c.label(), "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause.Next()):
		}
	}
}

// connect opens a connection to the first address that works, and tries the statements.
func (l *link) connect(ctx context.Context) (conn, target, error) {
	var problems []error
	for _, t := range l.targets {
		n, err := l.open(ctx, t)
		if err == nil {
			if err = l.greet(ctx, n); err == nil {
				return n, t, nil
			}
			n.close()
		}
		if len(l.targets) > 1 {
			err = fmt.Errorf("%s: %w", t.address, err)
		}
		problems = append(problems, err)
	}
	return nil, target{}, errors.Join(problems...)
}

func (l *link) open(ctx context.Context, t target) (conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.c.ConnectTimeout.Std())
	defer cancel()
	return l.d.open(ctx, l.c, t)
}

// greet runs the setup, and looks whether the statements fit: it is better to know that before
// the first message.
func (l *link) greet(ctx context.Context, n conn) error {
	for i, text := range l.c.Setup {
		if err := l.limited(ctx, func(ctx context.Context) error { return n.exec(ctx, text) }); err != nil {
			return fmt.Errorf("setup/%d: %w", i, err)
		}
	}
	for _, r := range l.routes {
		err := l.limited(ctx, func(ctx context.Context) error { return n.prepare(ctx, r.s) })
		if err != nil && l.d.fault(err) != faultStatement {
			return err
		}
		l.fits(r.Name, err)
	}
	return nil
}

func (l *link) limited(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.c.Timeout.Std())
	defer cancel()
	return do(ctx)
}

// fits notes whether a route's statement fits the database, nil if it does.
func (l *link) fits(route string, err error) {
	l.mu.Lock()
	was := l.broken[route]
	if err == nil {
		delete(l.broken, route)
	} else {
		l.broken[route] = err.Error()
	}
	l.mu.Unlock()
	if err != nil && was != err.Error() {
		l.log.Error("the statement of a route does not fit the database: its messages wait", "route", route, "error", err)
	}
}

// rise lets routes work.
func (l *link) rise(n conn, t target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, n)
	l.up, l.since, l.err, l.target = true, time.Now(), nil, t
	l.era++
	l.change()
}

// fell has routes wait.
func (l *link) fell(err error) {
	l.mu.Lock()
	idle := l.idle
	l.idle, l.err = nil, err
	if l.up {
		l.up, l.since = false, time.Now()
		l.change()
	}
	l.mu.Unlock()
	for _, n := range idle {
		n.close()
	}
}

// change tells who waits. It is called with mu held.
func (l *link) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// watch returns when the database is lost, and looks after it while nobody else does.
func (l *link) watch(ctx context.Context) {
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.lost:
			if !l.isUp() {
				return
			}
		case <-t.C:
			if !l.alive(ctx) {
				return
			}
		}
	}
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// alive tries a connection that is idle, if there is one.
func (l *link) alive(ctx context.Context) bool {
	l.mu.Lock()
	if len(l.idle) == 0 {
		l.mu.Unlock()
		return l.isUp()
	}
	n := l.idle[0]
	l.idle = l.idle[1:]
	era := l.era
	l.mu.Unlock()
	if err := l.limited(ctx, n.ping); err != nil {
		n.close()
		if ctx.Err() == nil {
			l.log.Warn("the connection to the database is lost", "database", l.c.label(), "error", err)
			l.fell(err)
		}
		return false
	}
	l.back(n, era)
	return true
}

// lease is a connection in use.
type lease struct {
	conn
	l   *link
	era int
}

// get returns a connection. It waits for the database, but not for long. The error is for
// the bridge, which waits no more if that has been done here.
func (l *link) get(ctx context.Context) (*lease, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, bridge.Hold(fmt.Errorf("all %d connections are busy: see max_connections", cap(l.slots)), 0)
	}
	n, err := l.take(ctx)
	if err != nil {
		<-l.slots
	}
	return n, err
}

// take returns an idle connection, or a new one.
func (l *link) take(ctx context.Context) (*lease, error) {
	for {
		l.mu.Lock()
		up, err, changed, era, t := l.up, l.err, l.changed, l.era, l.target
		if n := len(l.idle); up && n > 0 {
			c := l.idle[n-1]
			l.idle = l.idle[:n-1]
			l.mu.Unlock()
			return &lease{c, l, era}, nil
		}
		l.mu.Unlock()
		if up {
			c, err := l.open(ctx, t)
			if err != nil {
				if len(l.slots) == 1 { // nobody else has one, who would find out
					l.falls(era, err)
				}
				return nil, fmt.Errorf("another connection: %w", err)
			}
			return &lease{c, l, era}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, bridge.Hold(err, 0)
		}
	}
}

// done gives a connection back that is as good as before.
func (n *lease) done() {
	n.l.back(n.conn, n.era)
	<-n.l.slots
}

// drop closes a connection that may not be used any more.
func (n *lease) drop() {
	n.close()
	<-n.l.slots
}

// fail closes a connection because of an outage, which concerns all of its time.
func (n *lease) fail(err error) {
	n.l.falls(n.era, err)
	n.drop()
}

// falls has routes wait and run connect again, if that has not been done since era.
func (l *link) falls(era int, err error) {
	l.mu.Lock()
	now := l.up && l.era == era
	l.mu.Unlock()
	if !now {
		return
	}
	l.log.Warn("the connection to the database is lost", "database", l.c.label(), "error", err)
	l.fell(err)
	select {
	case l.lost <- struct{}{}:
	default:
	}
}

func (l *link) back(n conn, era int) {
	l.mu.Lock()
	keep := l.up && l.era == era
	if keep {
		l.idle = append(l.idle, n)
	}
	l.mu.Unlock()
	if !keep {
		n.close()
	}
}

// remotes describes the connection for the status.
func (l *link) remotes() []bridge.Remote {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := bridge.Remote{Name: l.c.label(), Connected: l.up, Since: l.since}
	if l.up {
		r.Address = l.c.shown(l.target)
	}
	if l.err != nil {
		r.Error = l.err.Error()
	}
	return []bridge.Remote{r}
}

// misfits says which routes have statements that the database does not take; empty if none.
func (l *link) misfits() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for _, name := range slices.Sorted(maps.Keys(l.broken)) {
		list = append(list, "route "+name+": "+l.broken[name])
	}
	return strings.Join(list, "; ")
}
