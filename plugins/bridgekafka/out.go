package bridgekafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
)

const (
	// patience is how long messages wait here for Kafka before they are given back to the
	// host, which has more room for them.
	patience = 2 * time.Second
	// linger is how long a batch of the client waits for more of its partition: longer than a
	// route takes to give it all that there is (load), which it says by itself (kick). What
	// waits for it is the first records of topics that the client asks Kafka about before.
	linger = 100 * time.Millisecond
	// unknownRetries is how often Kafka is asked about a topic that there is not, before
	// the message counts as failed.
	unknownRetries = 4
)

// producer are the options of the client that writes; records is how many may be under way.
func (w *work) producer(records int) []kgo.Opt {
	c := &w.c.Producer
	o := []kgo.Opt{
		kgo.ProducerLinger(linger), kgo.MaxBufferedRecords(max(records, 1)), kgo.UnknownTopicRetries(unknownRetries),
		kgo.ProducerBatchMaxBytes(int32(c.MaxBatch)), kgo.ProduceRequestTimeout(w.c.Remote.RequestTimeout.Std()),
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
	}
	switch c.Compression {
	case "gzip":
		o = append(o, kgo.ProducerBatchCompression(kgo.GzipCompression()))
	case "snappy":
		o = append(o, kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	case "lz4":
		o = append(o, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	case "zstd":
		o = append(o, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	default:
		o = append(o, kgo.ProducerBatchCompression(kgo.NoCompression()))
	}
	if c.Acks == "leader" {
		// Without idempotence one request at a time is what keeps the order.
		o = append(o, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	if c.CreateTopics {
		o = append(o, kgo.AllowAutoTopicCreation())
	}
	return o
}

// outRoute is a route to Kafka.
type outRoute struct {
	*Route
	w     *work
	heads []header

	failing atomic.Bool // something of this Send has failed

	mu sync.Mutex
	// flights are records that the client has, by the offset of their message: also those of a
	// batch that was given back, so that they are not written twice.
	flights map[uint64]*flight
	landed  chan struct{} // has something when a flight is over
}

// flight is a record on its way, and the context of it. Its fields are guarded by
// outRoute.mu.
type flight struct {
	context.Context
	rec        *kgo.Record
	partition  int32
	partitions atomic.Int32 // how many there are, if partition is not among them
	over       bool
	err        error
}

func newOutRoute(w *work, r *Route) *outRoute {
	return &outRoute{Route: r, w: w, heads: r.headers(), flights: map[uint64]*flight{}, landed: make(chan struct{}, 1)}
}

// send implements bridge.Options.Send.
func (p *plugin) send(ctx context.Context, b *bridge.Batch) error {
	w := p.work.Load()
	if w == nil {
		return bridge.Hold(errNotRunning, 100*time.Millisecond)
	}
	r := w.out[b.Route.Name]
	if r == nil {
		return bridge.Hold(errNotRunning, 100*time.Millisecond)
	}
	client := w.client.Load()
	flights, err := r.fly(ctx, b)
	if err != nil {
		w.monitor.look()
		_, _, _ = r.settle(b, flights) // what there is, is there
		return err
	}
	suspects, behind, err := r.settle(b, flights)
	if err != nil {
		w.monitor.look()
		if k := (*kerr.Error)(nil); errors.As(err, &k) { // and not the way there
			w.renew(client)
		}
		return err
	}
	for _, i := range suspects {
		if err := r.alone(ctx, b, i, flights[i]); err != nil {
			return err
		}
	}
	if behind {
		return bridge.Hold(errBehind, 0)
	}
	return nil
}

// fly has the client write a batch, in order, and returns the flights of its messages when they
// are over; nil for messages of which something is said already, and for those behind one that
// has failed: they would overtake it.
//
// When a record fails, the client fails all that it has of the partition, and tells so a moment
// later. One that it is given in that moment would be written. So nothing is added to what is
// under way, and what it is given it begins to write when all of it is there (load, kick).
func (r *outRoute) fly(ctx context.Context, b *bridge.Batch) ([]*flight, error) {
	flights := make([]*flight, len(b.Messages))
	under := r.begin(b, flights)
	if len(under) > 0 {
		return flights, r.await(ctx, under)
	}
	r.failing.Store(false)
	for from := 0; from < len(flights) && !r.failing.Load(); {
		next := r.load(b, flights, from)
		r.kick()
		if err := r.await(ctx, flights[from:next]); err != nil {
			return flights, err
		}
		from = next
	}
	return flights, nil
}

// begin finds the flights of messages that come again, and returns those that are under way,
// also of messages that the host does not hand over any more: they have expired there, or are
// dead letters.
func (r *outRoute) begin(b *bridge.Batch, flights []*flight) (under []*flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b.Messages {
		flights[i] = r.flights[b.Messages[i].Offset]
	}
	for offset, f := range r.flights {
		if !f.over {
			under = append(under, f)
		} else if first := b.Messages[0].Offset; first > 0 && offset < first {
			delete(r.flights, offset)
		}
	}
	return under
}

// load gives the client what it has not got, up to what it writes at once, and returns what is
// next.
func (r *outRoute) load(b *bridge.Batch, flights []*flight, from int) (next int) {
	var arena []byte
	size := 0
	for i := from; i < len(flights); i++ {
		if r.failing.Load() { // some errors are known without Kafka
			return i
		}
		f := flights[i]
		switch {
		case f == nil:
			rec, ok, err := r.record(b, i, &arena)
			if err != nil {
				b.Refuse(i, err)
				continue
			}
			if !ok { // it has been there
				b.Done(i)
				continue
			}
			if size += sizeOf(rec); size > int(r.w.c.Producer.MaxBatch) && i > from {
				return i
			}
			flights[i] = r.board(rec, b.Messages[i].Offset)
			r.produce(flights[i])
		case r.failed(f): // after its batch was given back
			if size += sizeOf(f.rec); size > int(r.w.c.Producer.MaxBatch) && i > from {
				return i
			}
			r.again(f)
		}
	}
	return len(flights)
}

// failed reports whether a flight is over, and was for nothing.
func (r *outRoute) failed(f *flight) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f.over && f.err != nil
}

func (r *outRoute) board(rec *kgo.Record, offset uint64) *flight {
	f := &flight{Context: r.w.ctx, rec: rec, partition: rec.Partition}
	if offset > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.flights[offset] = f
	}
	return f
}

// again produces a record that has failed.
func (r *outRoute) again(f *flight) {
	r.mu.Lock()
	f.over, f.err = false, nil
	f.rec = &kgo.Record{Topic: f.rec.Topic, Key: f.rec.Key, Value: f.rec.Value, Headers: f.rec.Headers, Timestamp: f.rec.Timestamp}
	r.mu.Unlock()
	f.partitions.Store(0)
	r.produce(f)
}

// produce gives the client a record.
func (r *outRoute) produce(f *flight) {
	f.rec.Context = f
	r.w.client.Load().Produce(f, f.rec, func(_ *kgo.Record, err error) {
		if err != nil && f.partitions.Load() == 0 {
			r.failing.Store(true)
		}
		r.mu.Lock()
		f.over, f.err = true, err
		r.mu.Unlock()
		select {
		case r.landed <- struct{}{}:
		default:
		}
	})
}

// kick has the client write what it has, and does not wait for that: Flush begins by
// ending what lingers.
func (r *outRoute) kick() {
	ctx, cancel := context.WithCancel(r.w.ctx)
	cancel()
	_ = r.w.client.Load().Flush(ctx)
}

// await waits until all flights are over. While Kafka does not answer it does not wait for
// long.
func (r *outRoute) await(ctx context.Context, flights []*flight) error {
	t := time.NewTimer(patience)
	defer t.Stop()
	for !r.over(flights) {
		state, changed := r.w.monitor.now()
		var out <-chan time.Time
		if !state.connected {
			out = t.C
		} else {
			t.Reset(patience)
		}
		select {
		case <-r.landed:
		case <-changed:
		case <-out:
			return bridge.Hold(fmt.Errorf("no answer from Kafka: %s", state.err), 0)
		case <-r.w.ctx.Done():
			return bridge.Hold(errNotRunning, 100*time.Millisecond)
		case <-ctx.Done():
			return bridge.Hold(fmt.Errorf("no answer from Kafka in time: %w", ctx.Err()), 0)
		}
	}
	return nil
}

func (r *outRoute) over(flights []*flight) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range flights {
		if f != nil && !f.over {
			return false
		}
	}
	return true
}

// errBehind is why messages come again that were not given to the client.
var errBehind = errors.New("a record before it has failed")

// settle says what is known of the messages. What it says nothing of comes again: with the
// error, or because it is behind. Suspects have failed together with others of their
// partition, of which only one may be to blame.
func (r *outRoute) settle(b *bridge.Batch, flights []*flight) (suspects []int, behind bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, f := range flights {
		switch {
		case b.Settled(i):
		case f == nil || !f.over:
			behind = true
		case f.err == nil:
			delete(r.flights, b.Messages[i].Offset)
			b.Done(i)
		case f.partitions.Load() > 0:
			b.Refuse(i, fmt.Errorf("the topic %s has %d partitions, and none of the number %d", f.rec.Topic, f.partitions.Load(), f.partition))
		default:
			switch blame(f.err) {
			case onMessage:
				suspects = append(suspects, i)
			case onTopic:
				b.Fail(i, f.why())
			default:
				err = fmt.Errorf("error of Kafka: %w", f.err)
			}
		}
	}
	return suspects, behind, err
}

// alone sends a suspect by itself, to find out whether it is to blame.
func (r *outRoute) alone(ctx context.Context, b *bridge.Batch, i int, f *flight) error {
	r.again(f)
	r.kick()
	if err := r.await(ctx, []*flight{f}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f.err == nil:
		delete(r.flights, b.Messages[i].Offset)
		b.Done(i)
	case blame(f.err) == onMessage:
		b.Refuse(i, f.why())
	case blame(f.err) == onTopic:
		b.Fail(i, f.why())
		return bridge.Hold(errBehind, 0)
	default:
		return fmt.Errorf("error of Kafka: %w", f.err)
	}
	return nil
}

func (f *flight) why() error {
	return fmt.Errorf("no record can be written to %s: %w", f.rec.Topic, f.err)
}

// What an error of a record is about.
type blamed uint8

const (
	onKafka   blamed = iota // the cluster, or the way there: everything waits
	onTopic                 // something that a person may put right
	onMessage               // it would be so again
)

func blame(err error) blamed {
	var k *kerr.Error
	if !errors.As(err, &k) {
		return onKafka
	}
	switch k {
	case kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.InvalidTopicException, kerr.UnsupportedForMessageFormat:
		return onMessage
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.TopicAuthorizationFailed, kerr.PolicyViolation, kerr.CorruptMessage:
		return onTopic
	}
	return onKafka
}
