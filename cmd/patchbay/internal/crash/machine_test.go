package crash

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store/disk"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// machine is a program whose lives end with a power loss: a broker in this
// process, with its durable store on a file system that forgets what was not
// synced.
type machine struct {
	t       testing.TB
	sync    disk.SyncMode
	forgets func(name string) bool // see power
	// percent is how much of what is not synced survives; nil for something else
	// each time.
	percent *int
	rng     *rand.Rand
	log     *recorder

	fs   *vfs.MemFS // the disk of the next life
	life *life
	last *life // the one before, until it is known to have ended
}

// life is one life of a machine.
type life struct {
	power  *power
	ready  chan string   // the address, once the broker listens
	gone   chan struct{} // closed when it is over, for whatever reason
	once   sync.Once
	err    error         // why it ended by itself; set before gone is closed
	opened chan struct{} // closed when the start is through, well or not
	closed chan struct{} // closed when nothing of it is left
	lost   bool          // the power was

	broker *broker.Broker // nil until opened, and if the start failed
	store  *disk.Store
	addr   string
	wg     sync.WaitGroup
}

// syncInterval is that of SyncInterval.
const syncInterval = 20 * time.Millisecond

// startOperations is about the number of operations on the disk of a start with
// little to recover.
const startOperations = 80

func newMachine(t testing.TB, mode disk.SyncMode, seed uint64) *machine {
	t.Helper()
	m := &machine{t: t, sync: mode, rng: rand.New(rand.NewPCG(seed, 1<<33)), fs: vfs.NewCrashableMem(), log: newRecorder(t)}
	t.Cleanup(m.close)
	return m
}

// unsynced chooses how much of what is not synced survives, in percent.
func (m *machine) unsynced() int {
	if m.percent != nil {
		return *m.percent
	}
	switch m.rng.IntN(4) {
	case 0:
		return 0
	case 1:
		return 100
	}
	return 1 + m.rng.IntN(99)
}

// begin starts a life whose power fails after so many operations; -1 for not by
// itself. Whatever was there of the life before last is gone by then.
func (m *machine) begin(operations int64) error {
	if err := m.bury(); err != nil {
		return err
	}
	m.last = m.life
	if m.last != nil && m.last.lost {
		m.last.power.restore()
	}
	l := &life{
		power: newPower(m.fs, m.unsynced(), rand.New(rand.NewPCG(m.rng.Uint64(), 0))),
		ready: make(chan string, 1), gone: make(chan struct{}), opened: make(chan struct{}), closed: make(chan struct{}),
	}
	l.power.forgets = m.forgets
	l.power.left.Store(operations)
	m.life = l
	go func() {
		defer close(l.opened)
		if err := l.open(m.sync, m.log); err != nil {
			l.end(fmt.Errorf("start: %w", err))
		}
	}()
	return nil
}

// bury waits until nothing is left of the life before the present one.
func (m *machine) bury() error {
	if m.last == nil {
		return nil
	}
	select {
	case <-m.last.closed:
		m.last = nil
		return nil
	case <-time.After(patience):
		_ = pprof.Lookup("goroutine").WriteTo(m.log.file, 1)
		return fmt.Errorf("a broker whose power failed does not end when it is closed")
	}
}

// open is the start of a broker.
func (l *life) open(mode disk.SyncMode, log *recorder) error {
	logger := slog.New(&lifeLog{log, l.gone})
	store, err := disk.Open(disk.Options{
		Dir: "data", FS: l.power, Sync: mode, Interval: syncInterval, Logger: logger, CacheBytes: 1 << 20,
		OnFailed: func(err error) { l.end(fmt.Errorf("the store failed: %w", err)) },
	})
	if err != nil {
		return err
	}
	b, err := broker.New(func(o *broker.Options) {
		o.Store, o.Logger = store, logger
		// As in the configuration of a process.
		o.Session.MaxQueued, o.Session.MaxQueuedBytes, o.Session.MaxInflight = 0, 0, 40
		o.Sys.Interval = 0
	})
	if err != nil {
		store.Close()
		return err
	}
	l.broker, l.store = b, store
	ln, err := b.Listen(broker.Listener{
		Transport: transport.ListenerConfig{Name: "mqtt", Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true,
	})
	if err != nil {
		return err // the broker is closed with the life
	}
	l.wg.Go(l.churn)
	l.ready <- ln.Addr().String()
	return nil
}

// churn publishes large retained messages that replace each other, so that the
// store's logs and tables change in a short life too.
func (l *life) churn() {
	payload := make([]byte, 64<<10)
	for i := 0; !closed(l.gone); i++ {
		m := broker.Message{Topic: fmt.Sprint("churn/", i%4), Payload: payload, QoS: 1, Retain: true}
		if _, err := l.broker.Publish(m); err != nil {
			return // it is being closed
		}
		select {
		case <-l.gone:
		case <-time.After(4 * time.Millisecond):
		}
	}
}

// end closes gone; err is why the life ended by itself.
func (l *life) end(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.gone)
	})
}

// leave closes the broker that the power has left.
func (l *life) leave() {
	<-l.opened
	if l.broker != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = l.broker.Close(now) // nobody is interested any more
	}
	l.wg.Wait()
	close(l.closed)
}

func (m *machine) start() error {
	if err := m.begin(-1); err != nil {
		return err
	}
	l := m.life
	select {
	case l.addr = <-l.ready:
		<-l.opened
		return nil
	case <-l.gone:
		return fmt.Errorf("the broker did not start: %w\n%s", l.err, m.log.tail())
	case <-time.After(patience):
		m.kill()
		return fmt.Errorf("the broker does not say that it has started:\n%s", m.log.tail())
	}
}

func (m *machine) launch() error { return m.begin(m.rng.Int64N(startOperations)) }

func (m *machine) startup() time.Duration { return 60 * time.Millisecond }

func (m *machine) kill() {
	l := m.life
	m.fs, l.lost = l.power.fail(), true
	l.end(nil)
	go l.leave()
}

// stop ends the broker in order. That it keeps everything then must not need
// what was not synced.
func (m *machine) stop() error {
	l := m.life
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := l.broker.Close(ctx)
	l.end(nil)
	l.wg.Wait()
	close(l.closed)
	m.fs = l.power.CrashClone(vfs.CrashCloneCfg{})
	return err
}

func (m *machine) ended() <-chan struct{} { return m.life.gone }
func (m *machine) ending() string         { return fmt.Sprintf("%v\n%s", m.life.err, m.log.tail()) }
func (m *machine) address() string        { return m.life.addr }

// remains writes the disk of the next life to a real one.
func (m *machine) remains() string {
	dir := filepath.Dir(m.log.file.Name())
	if _, err := vfs.Clone(m.fs, vfs.Default, "data", filepath.Join(dir, "data")); err != nil {
		return dir + ", without the data folder: " + err.Error()
	}
	return dir
}

func (m *machine) close() {
	l := m.life
	if l == nil {
		return
	}
	if !closed(l.gone) || l.err != nil && !l.lost {
		m.kill()
	}
	if l.lost {
		l.power.restore()
	}
	for _, err := range []error{m.bury(), func() error { m.last = l; return m.bury() }()} {
		if err != nil {
			m.t.Errorf("%v; see %s", err, m.log.file.Name())
		}
	}
	m.life = nil
}

// recorder writes the log of all lives to a file and keeps what is an error.
type recorder struct {
	slog.Handler
	file *os.File
	mu   sync.Mutex
	bad  []string // the first errors
}

func newRecorder(t testing.TB) *recorder {
	t.Helper()
	f, err := os.Create(filepath.Join(folder(t), "broker.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &recorder{Handler: slog.NewTextHandler(f, nil), file: f}
}

// lifeLog is the slog.Handler of one life. An error of a broker that is closed
// after its life does not count.
type lifeLog struct {
	*recorder
	gone <-chan struct{}
}

func (l *lifeLog) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Level >= slog.LevelError && !closed(l.gone) {
		text := rec.Message
		rec.Attrs(func(a slog.Attr) bool {
			text += " " + a.String()
			return true
		})
		l.mu.Lock()
		if len(l.bad) < 10 {
			l.bad = append(l.bad, text)
		}
		l.mu.Unlock()
	}
	return l.Handler.Handle(ctx, rec)
}

// errors returns the first errors that were logged.
func (r *recorder) errors() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bad
}

func (r *recorder) tail() string { return tail(r.file.Name()) }
