package consume

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// known is what the model knows of one message.
type known struct {
	attempts uint32
	// settled: the plugin has acknowledged it. dying: it has to become a dead letter.
	settled, dying bool
	// later: others may overtake it until it is due, which is between two times.
	later      bool
	from, till time.Time
}

// model says, in the simplest way, what a Runner must do. It is also the plugin, which
// does at random whatever a plugin can do.
type model struct {
	t      *testing.T
	rng    *rand.Rand
	spec   *pluginv1.Consumer
	queue  *fakeQueue
	broker *fakeBroker

	mu       sync.Mutex
	offsets  []uint64 // all, ascending
	messages map[uint64]*known
	// generation counts Runners. Answers to those before count for nothing.
	generation int
	// unanswered is the batch that the plugin has, unless that was abandoned.
	unanswered *handed
	// instances that are up; each batch that hangs is ended with its instance.
	current *modelPlugin
	good    bool // from now on the plugin does as it should
	handed  int
	dead    map[uint64]int
}

// handed is a batch that the plugin has.
type handed struct {
	generation int
	offsets    []uint64
	until      time.Time
}

// modelPlugin is one instance.
type modelPlugin struct {
	instance.Plugin
	m      *model
	mu     sync.Mutex
	closed bool
	open   []func()
}

func (m *model) errorf(format string, args ...any) {
	m.t.Helper()
	m.t.Errorf("at %v: %s", time.Now().Format("15:04:05.000000"), fmt.Sprintf(format, args...))
}

// Consume checks the batch, and answers it some time.
func (p *modelPlugin) Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error) {
	m := p.m
	h := m.hand(b)
	m.mu.Lock()
	how, pause := m.rng.IntN(20), time.Duration(m.rng.IntN(900_000)+1)*time.Microsecond
	if m.good {
		how, pause = 19, time.Millisecond
	}
	m.mu.Unlock()
	if how < 5 {
		err := m.result(b, r)
		m.apply(h, r, err)
		return true, err
	}
	var once sync.Once
	finish := func(answer func() error) {
		once.Do(func() {
			err := answer()
			m.apply(h, r, err)
			done(err)
		})
	}
	crash := func() error { return errCrashed }
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		m.apply(h, r, errCrashed)
		return true, errCrashed
	}
	p.open = append(p.open, func() { finish(crash) })
	p.mu.Unlock()
	switch how {
	case 5: // hangs until the instance is closed
	case 6: // late
		pause += 3 * time.Second
		fallthrough
	default:
		time.AfterFunc(pause, func() { finish(func() error { return m.result(b, r) }) })
	}
	return false, nil
}

// Close ends all that is under way.
func (p *modelPlugin) Close() error {
	p.mu.Lock()
	p.closed = true
	list := p.open
	p.mu.Unlock()
	for _, f := range list {
		f()
	}
	return nil
}

// result answers at random.
func (m *model) result(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	list, rng := offsetsOf(b), m.rng
	if m.good || rng.IntN(3) == 0 {
		acknowledge(b, r)
		return nil
	}
	switch rng.IntN(8) {
	case 0:
		return errCrashed
	case 1:
		r.Results = append(r.Results, pluginv1.DeliveryResult{Offset: list[0] + 1, Outcome: pluginv1.OutcomeOk})
		return nil
	case 2:
		r.Error = "nothing works"
		return nil
	case 3:
		r.AcknowledgedOffset = list[rng.IntN(len(list))]
		r.Error = "that far"
		return nil
	}
	if rng.IntN(2) == 0 {
		r.AcknowledgedOffset = list[rng.IntN(len(list))]
	}
	for _, o := range list {
		if rng.IntN(2) == 0 {
			continue
		}
		d := pluginv1.DeliveryResult{Offset: o, Outcome: pluginv1.Outcome(rng.IntN(3) + 1), Reason: "so"}
		if d.Outcome == pluginv1.OutcomeDeadLetter && rng.IntN(3) != 0 {
			d.Outcome = pluginv1.OutcomeRetry
		}
		if d.Outcome == pluginv1.OutcomeRetry && rng.IntN(2) == 0 {
			d.RetryAfterMs = uint32(rng.IntN(5000) + 1)
		}
		r.Results = append(r.Results, d)
	}
	rng.Shuffle(len(r.Results), func(i, j int) { r.Results[i], r.Results[j] = r.Results[j], r.Results[i] })
	return nil
}

// hand checks a batch against what must come next.
func (m *model) hand(b *pluginv1.ConsumeBatch) *handed {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late()
	now := time.Now()
	m.handed += len(b.Deliveries)
	if m.unanswered != nil {
		m.errorf("a batch before the one before is answered or late")
	}
	list := offsetsOf(b)
	if len(list) == 0 || len(list) > int(m.spec.MaxBatch) {
		m.errorf("a batch of %d messages", len(list))
	}
	m.checkOrder(list, now)
	bytes := 0
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		k := m.messages[d.Offset]
		bytes += len(d.Message.Payload)
		if k == nil || k.settled || k.dying {
			m.errorf("offset %d is handed over, known: %+v", d.Offset, k)
			continue
		}
		if k.attempts++; d.Attempt != k.attempts {
			m.errorf("attempt of %d is %d, not %d", d.Offset, d.Attempt, k.attempts)
		}
		if n := m.spec.MaxAttempts; n > 0 && (k.attempts > n || k.attempts == n && len(list) > 1) {
			m.errorf("attempt %d of %d, in a batch of %d", k.attempts, n, len(list))
		}
		if got := binary.BigEndian.Uint64(d.Message.Payload); got != d.Offset {
			m.errorf("offset %d has the payload of %d", d.Offset, got)
		}
	}
	if len(list) > 1 && bytes > int(m.spec.MaxBatchBytes) {
		m.errorf("%d bytes in a batch", bytes)
	}
	h := &handed{m.generation, list, now.Add(time.Duration(m.spec.DeadlineMs)*time.Millisecond + grace)}
	m.unanswered = h
	return h
}

// checkOrder: the batch is the beginning of all that is neither done with nor to come
// later.
func (m *model) checkOrder(list []uint64, now time.Time) {
	i := 0
	for _, o := range m.offsets {
		if i == len(list) {
			return
		}
		k := m.messages[o]
		switch {
		case k.settled || k.dying:
			continue
		case list[i] == o:
			if now.Before(k.from) {
				m.errorf("offset %d comes %v too early", o, k.from.Sub(now))
			}
			i++
		case k.later && now.Before(k.till):
		default:
			m.errorf("offset %d comes before %d (%+v)", list[i], o, *k)
			return
		}
	}
	if i < len(list) {
		m.errorf("offset %d is out of order", list[i])
	}
}

// apply notes what an answer means, if it is not too late.
func (m *model) apply(h *handed, r *pluginv1.ConsumeResult, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if h.generation != m.generation || m.unanswered != h || !now.Before(h.until) {
		return
	}
	m.unanswered = nil
	m.outcome(h.offsets, r, err, now)
}

func (m *model) outcome(offsets []uint64, r *pluginv1.ConsumeResult, err error, now time.Time) {
	said := map[uint64]pluginv1.DeliveryResult{}
	if err == nil {
		for _, d := range r.Results {
			if !slices.Contains(offsets, d.Offset) {
				err = errors.New("nonsense")
			}
			said[d.Offset] = d
		}
	}
	ok := func(o uint64) bool {
		d, spoken := said[o]
		return err == nil && (spoken && d.Outcome == pluginv1.OutcomeOk || !spoken && o <= r.AcknowledgedOffset)
	}
	var lastOK uint64
	for _, o := range offsets {
		if ok(o) {
			lastOK = o
		}
	}
	tries := m.messages[offsets[0]].attempts
	for _, o := range offsets {
		k, d := m.messages[o], said[o]
		if err != nil {
			d = pluginv1.DeliveryResult{}
		}
		switch {
		case ok(o):
			k.settled = true
			continue
		case d.Outcome == pluginv1.OutcomeDeadLetter || m.spec.MaxAttempts != 0 && k.attempts >= m.spec.MaxAttempts:
			k.dying = true
			continue
		}
		wait := min(time.Duration(m.spec.RetryAfterMs)*time.Millisecond<<min(tries-1, 10), time.Minute)
		k.from, k.till = now.Add(wait*4/5), now.Add(wait*6/5)
		if wait < 50*time.Second {
			k.from = now.Add(wait)
		}
		if d.RetryAfterMs != 0 {
			k.from = now.Add(time.Duration(d.RetryAfterMs) * time.Millisecond)
			k.till = k.from
		}
		k.later = d.Outcome == pluginv1.OutcomeRetry && o < lastOK
	}
}

// late notes that a batch was not answered in time.
func (m *model) late() {
	if h := m.unanswered; h != nil && !time.Now().Before(h.until) {
		m.unanswered = nil
		m.outcome(h.offsets, nil, errCrashed, h.until)
	}
}

// acked: nothing is acknowledged in the queue that the plugin has not, or that is no
// dead letter.
func (m *model) acked(offsets []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range offsets {
		if k := m.messages[o]; !k.settled && m.dead[o] == 0 {
			m.errorf("offset %d is acknowledged, known: %+v", o, *k)
		}
	}
}

// publish takes dead letters, some late, and refuses some.
func (m *model) publish(l letter, done func(hook.PublishResult)) {
	o := binary.BigEndian.Uint64(l.message.Payload)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late()
	k, generation := m.messages[o], m.generation
	if !k.dying {
		m.errorf("offset %d is published as a dead letter, known: %+v", o, *k)
	}
	safe := func() {
		m.mu.Lock()
		if generation == m.generation {
			m.dead[o]++
		}
		m.mu.Unlock()
		done(hook.PublishResult{Code: packet.NoMatchingSubscribers})
	}
	switch how := m.rng.IntN(4); {
	case m.good || how == 0:
		m.dead[o]++
		done(hook.PublishResult{})
	case how == 1:
		done(hook.PublishResult{Code: packet.QuotaExceeded})
	default:
		time.AfterFunc(time.Duration(m.rng.IntN(2_000_000)+1)*time.Microsecond, safe)
	}
}

// event: without a topic the event is all that becomes of a dead letter.
func (m *model) event(e *hook.Event) {
	o := binary.BigEndian.Uint64(e.Message.Payload)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late()
	if e.Point != hook.DeadLettered || e.Plugin != "p" || e.Reason == "" {
		m.errorf("event %+v", *e)
	}
	if m.spec.DeadLetterTopic == "" {
		if !m.messages[o].dying {
			m.errorf("offset %d is given up", o)
		}
		m.dead[o]++
	}
}

// put publishes a message.
func (m *model) put() {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.queue.next + 3
	payload := binary.BigEndian.AppendUint64(nil, o)
	if m.rng.IntN(4) == 0 {
		payload = append(payload, make([]byte, m.rng.IntN(600))...)
	}
	m.offsets = append(m.offsets, o)
	m.messages[o] = &known{}
	m.queue.put(&packet.Message{Topic: []byte("t"), Payload: payload, QoS: 1}, nil)
}

func (m *model) open() *Runner {
	r, err := New(Options{Plugin: "p", Spec: m.spec, Broker: m.broker})
	if err != nil {
		m.t.Fatal(err)
	}
	m.reload(r)
	return r
}

// reload switches to a new instance; the old one is closed some time later.
func (m *model) reload(r *Runner) {
	old := m.current
	m.current = &modelPlugin{m: m}
	p := m.current
	r.Use(func() (instance.Plugin, func(), bool) { return p, func() {}, true })
	if old != nil {
		time.AfterFunc(time.Duration(m.random(1000)+1)*time.Millisecond+13, func() { old.Close() })
	}
}

// restart closes the Runner, with patience or without, and opens another one.
func (m *model) restart(r *Runner) *Runner {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(m.random(3000))*time.Millisecond+7)
	defer cancel()
	_ = r.Close(ctx)
	m.mu.Lock()
	m.generation++
	m.unanswered = nil // an answer counted if it came before Close had returned
	for o, k := range m.messages {
		acked := m.queue.isAcked(o)
		if acked != (k.settled || m.dead[o] > 0 && acked) {
			m.errorf("offset %d: acknowledged in the queue: %v, known: %+v", o, acked, *k)
		}
		*k = known{settled: acked}
	}
	m.dead = map[uint64]int{}
	m.mu.Unlock()
	return m.open()
}

func (m *model) random(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(n)
}

// Random plugins, reloads, crashes and restarts, against the model.
func TestModel(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 20
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runModel(t, seed) })
		})
		if t.Failed() {
			return
		}
	}
}

func runModel(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	m := &model{t: t, rng: rng, messages: map[uint64]*known{}, dead: map[uint64]int{}, queue: newFakeQueue()}
	m.queue.paged = rng.IntN(2) == 0
	m.queue.onAck = m.acked
	m.broker = &fakeBroker{queue: m.queue, publish: m.publish, onEvent: m.event}
	m.spec = &pluginv1.Consumer{
		Name: "c", TopicFilters: []string{"#"}, Fields: uint32(pluginv1.FieldPayload), MaxBatch: uint32(1 + rng.IntN(20)),
		MaxBatchBytes: uint32(100 + rng.IntN(3000)), DeadlineMs: 2000, RetryAfterMs: uint32(10 + rng.IntN(1000)),
		MaxAttempts: uint32(rng.IntN(6)),
	}
	if rng.IntN(2) == 0 {
		m.spec.DeadLetterTopic = "dead"
	}
	r := m.open()
	for range 150 {
		switch n := m.random(100); {
		case n < 60:
			for range m.random(10) {
				m.put()
			}
		case n < 63:
			r.Pause()
			time.Sleep(time.Duration(m.random(2000)) * time.Millisecond)
			r.Resume()
		case n < 68:
			m.reload(r)
		case n < 70:
			r = m.restart(r)
		}
		time.Sleep(time.Duration(m.random(700))*time.Millisecond + 3)
	}
	m.mu.Lock()
	m.good = true
	m.mu.Unlock()
	m.reload(r) // what hangs ends
	for range 300 {
		if len(m.queue.unacked()) == 0 {
			break
		}
		time.Sleep(time.Minute)
	}
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if left := m.queue.unacked(); len(left) > 0 {
		t.Errorf("%d messages are left: %v", len(left), left)
	}
	time.Sleep(time.Hour) // all that was late has come
	m.current.Close()
	synctest.Wait()
	m.queue.references(t)
	for o, n := range m.queue.acked {
		if n > 1 {
			t.Errorf("offset %d was acknowledged %d times", o, n)
		}
	}
	if s := r.Stats(); s.Backlog != 0 || s.InFlight != 0 || s.Abandoned != 0 {
		t.Errorf("at the end: %+v", s)
	}
	if m.handed == 0 {
		t.Error("nothing was handed over")
	}
}
