package consume

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store/disk"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const patience = 20 * time.Second

// sink is a plugin, and what it has seen through all crashes of the broker.
type sink struct {
	t      *testing.T
	poison int

	mu   sync.Mutex
	rng  *rand.Rand
	seen map[int]bool // acknowledged by the plugin
	last int          // the last number that came for the first time since the broker's start
	here map[int]bool // what has come since
	dead map[int]bool
}

// sinkInstance is one that answers on goroutines of its own.
type sinkInstance struct {
	instance.Plugin
	*sink
	calls atomic.Int32
}

func (s *sinkInstance) pin() (instance.Plugin, func(), bool) {
	s.calls.Add(1)
	return s, func() { s.calls.Add(-1) }, true
}

func (s *sinkInstance) Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error) {
	go func() { done(s.work(b, r)) }()
	return false, nil
}

func (s *sink) work(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var numbers []int
	bad := b.Deliveries[0].Attempt == 1 && s.rng.IntN(10) == 0
	for i := range b.Deliveries {
		n, err := strconv.Atoi(string(b.Deliveries[i].Message.Payload))
		if err != nil {
			return err
		}
		if !s.here[n] && n < s.last {
			s.t.Errorf("%d comes for the first time after %d", n, s.last)
		}
		s.here[n], s.last = true, max(s.last, n)
		numbers = append(numbers, n)
		bad = bad || n == s.poison
	}
	if bad {
		return errCrashed
	}
	for _, n := range numbers {
		s.seen[n] = true
	}
	acknowledge(b, r)
	return nil
}

// run is one life of a broker.
type run struct {
	t       *testing.T
	b       *broker.Broker
	addr    string
	runner  *Runner
	plugin  *sinkInstance
	mu      sync.Mutex
	acked   map[int]bool
	sockets []net.Conn
}

func (s *sink) start(fs vfs.FS) *run {
	t := s.t
	st, err := disk.Open(disk.Options{Dir: "data", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = slog.New(slog.DiscardHandler), st })
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Subscribe("dead", func(m broker.Message) {
		s.mu.Lock()
		defer s.mu.Unlock()
		n, _ := strconv.Atoi(string(m.Payload))
		s.dead[n] = true
	}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.here, s.last = map[int]bool{}, 0
	s.mu.Unlock()
	r := &run{t: t, b: b, addr: l.Addr().String(), acked: map[int]bool{}, plugin: &sinkInstance{sink: s}}
	r.open()
	return r
}

func (r *run) open() {
	runner, err := New(Options{Plugin: "p", Broker: r.b.Plugins(), Spec: &pluginv1.Consumer{
		Name: "c", TopicFilters: []string{"n/#"}, MinQoS: 1, Fields: uint32(pluginv1.FieldPayload), MaxBatch: 32,
		MaxAttempts: 3, RetryAfterMs: 1, DeadLetterTopic: "dead",
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.runner = runner
	runner.Use(r.plugin.pin)
}

// reload switches to another instance and waits until the one before is idle.
func (r *run) reload() {
	old := r.plugin
	r.plugin = &sinkInstance{sink: old.sink}
	r.runner.Use(r.plugin.pin)
	within(r.t, "the old instance", func() bool { return old.calls.Load() == 0 })
}

// publish sends numbers with QoS 1, and notes those that the broker has acknowledged.
func (r *run) publish(from, to int) (acknowledged <-chan struct{}) {
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.sockets = append(r.sockets, nc)
	b := []byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c")
	for n := from; n < to; n++ {
		b, _ = packet.AppendPublish(b, packet.V311, &packet.PublishOut{
			Topic: []byte("n/x"), Payload: strconv.AppendInt(nil, int64(n), 10), QoS: 1, PacketID: uint16(n - from + 1),
		})
	}
	go func() { _, _ = nc.Write(b) }()
	all := make(chan struct{})
	go func() {
		defer close(all)
		var p [4]byte
		for {
			if _, err := io.ReadFull(nc, p[:]); err != nil {
				return
			}
			if p[0] != 0x40 {
				continue // CONNACK
			}
			n := from + int(binary.BigEndian.Uint16(p[2:])) - 1
			r.mu.Lock()
			r.acked[n] = true
			done := len(r.acked) == to-from
			r.mu.Unlock()
			if done {
				return
			}
		}
	}()
	return all
}

// end closes everything in order.
func (r *run) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, nc := range r.sockets {
		nc.Close()
	}
	if err := r.runner.Close(ctx); err != nil {
		r.t.Error(err)
	}
	if err := r.b.Close(ctx); err != nil {
		r.t.Error(err)
	}
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// With a real broker, whose power fails again and again, and a plugin that fails, crashes and
// is reloaded: what a publisher has PUBACK for is seen, in order, and the poison is a dead
// letter.
func TestThroughCrashesOfTheBroker(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	s := &sink{t: t, rng: rand.New(rand.NewPCG(1, 2)), seen: map[int]bool{}, dead: map[int]bool{}, poison: 500}
	rng := rand.New(rand.NewPCG(3, 4))
	const count = 1000
	promised := map[int]bool{}
	fs := vfs.NewCrashableMem()
	for round := range rounds {
		r := s.start(fs)
		from := round * count
		all := r.publish(from, from+count)
		stop := 1 + rng.IntN(count-1)
		within(t, "PUBACKs", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.acked) >= stop/2
		})
		r.reload()
		if round%2 == 1 { // a changed spec closes the Runner and opens another one
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			if err := r.runner.Close(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			r.open()
		}
		within(t, "PUBACKs", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.acked) >= stop
		})
		if round == rounds-1 {
			<-all
		}
		// What is known now must be so after the power has failed; what comes later has never
		// happened.
		r.mu.Lock()
		for n := range r.acked {
			promised[n] = true
		}
		r.mu.Unlock()
		s.mu.Lock()
		seen := map[int]bool{}
		for n := range s.seen {
			seen[n] = true
		}
		s.mu.Unlock()
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		r.end()
		fs, s.seen = crashed, seen
	}
	r := s.start(fs)
	defer r.end()
	last := rounds * count
	r.publish(last, last+1)
	within(t, "the end of the queue", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.seen[last]
	})
	within(t, "an empty queue", func() bool { return r.runner.Stats().Backlog == 0 })
	within(t, "the dead letter", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.dead[s.poison] || !promised[s.poison]
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []int
	for n := range promised {
		if !s.seen[n] && n != s.poison {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		t.Errorf("%d messages were acknowledged to their publisher and never handed over, %d of them", missing[0], len(missing))
	}
	for n := range s.dead {
		if n != s.poison {
			t.Errorf("%d has become a dead letter", n)
		}
	}
	if len(promised) < count {
		t.Errorf("only %d messages were acknowledged", len(promised))
	}
	t.Logf("%d messages acknowledged to the publisher, %d dead letters", len(promised), len(s.dead))
}
