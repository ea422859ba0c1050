package bridgekafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
)

const (
	// pollRecords is how many records are taken out of what the client has fetched, at most,
	// before the group may share its partitions anew.
	pollRecords = 2 * publishMessages
	// leaveLimit is how long Kafka may take to let a bridge leave a group.
	leaveLimit = 2 * time.Second
	// forgiven is for how long nothing must be heard of a problem: longer than the client
	// pauses in front of the same.
	forgiven = 5 * time.Second
	// decompressed is how large a batch may become, against those that are made to grow.
	decompressed = 256 << 20
)

// source is a route from Kafka.
type source struct {
	*Source
	w     *work
	scope template.Scope

	mu      sync.Mutex
	joined  bool
	since   time.Time // of joined
	problem string    // what keeps records from coming; "" if nothing does
}

func newSource(w *work, c *Source) *source {
	s := &source{Source: c, w: w, since: time.Now(), scope: template.Scope{
		Plugin: w.p.host.Name(), Route: c.Name, Node: w.p.host.Info().Node,
	}}
	if c.Codec == template.JSONCodec { // and not base64: templates see the payload
		s.scope.Codec = c.Codec
	}
	return s
}

// options are those of a session. The group is asked to wait with sharing partitions anew
// until what was polled is delivered and marked, so that nobody else delivers it too.
func (s *source) options() []kgo.Opt {
	o := append([]kgo.Opt{
		kgo.ConsumerGroup(s.Group), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(s.CommitInterval.Std()), kgo.BlockRebalanceOnPoll(),
		kgo.AutoCommitCallback(s.committed), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.FetchMaxBytes(int32(s.MaxFetch)), kgo.FetchMaxPartitionBytes(int32(min(s.MaxFetch, 1<<20))), kgo.MaxDecompressBatchBytes(decompressed),
		kgo.SessionTimeout(s.SessionTimeout.Std()), kgo.HeartbeatInterval(s.SessionTimeout.Std() / 4),
		kgo.OnPartitionsAssigned(s.assigned), kgo.WithHooks(groupHook{s}),
	}, s.w.common...)
	start := kgo.NewOffset().AtStart()
	if s.Start == "latest" {
		start = kgo.NewOffset().AtEnd()
	}
	o = append(o, kgo.ConsumeStartOffset(start), kgo.ConsumeResetOffset(start))
	if s.Pattern != "" {
		o = append(o, kgo.ConsumeRegex(), kgo.ConsumeTopics(s.Pattern))
	} else {
		o = append(o, kgo.ConsumeTopics(s.Topics...))
	}
	if s.Instance != "" {
		o = append(o, kgo.InstanceID(s.Instance))
	}
	return o
}

// run has one session after the other, until the work ends.
func (s *source) run() {
	pause := bridge.Backoff{Min: s.RetryMin.Std(), Max: s.RetryMax.Std()}
	for {
		began := time.Now()
		err := s.session()
		if s.w.ctx.Err() != nil {
			return
		}
		s.join(false)
		s.trouble(err.Error())
		if time.Since(began) > time.Minute {
			pause.Reset()
		}
		select {
		case <-s.w.ctx.Done():
			return
		case <-time.After(pause.Next()):
		}
	}
}

// session joins the group and delivers what comes. Whatever is wrong ends it: a new one
// begins with what Kafka knows to be delivered.
func (s *source) session() error {
	client, err := kgo.NewClient(s.options()...)
	if err != nil {
		return err
	}
	defer s.leave(client)
	for {
		fetches := s.poll(client)
		if err := s.w.ctx.Err(); err != nil {
			return err
		}
		problem := s.problems(fetches)
		records := fetches.Records()
		n, err := s.deliver(records)
		client.MarkCommitRecords(records[:n]...)
		client.AllowRebalance()
		if err != nil {
			return err
		}
		s.trouble(problem)
		if problem != "" && len(records) == 0 {
			select { // the client does not pause by itself in front of every error
			case <-s.w.ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// poll waits for records. A problem is over when nothing has been heard of it for a while.
func (s *source) poll(client *kgo.Client) kgo.Fetches {
	ctx := s.w.ctx
	s.mu.Lock()
	problem := s.problem
	s.mu.Unlock()
	if problem != "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, forgiven)
		defer cancel()
	}
	return client.PollRecords(ctx, pollRecords)
}

// leave tells Kafka what is delivered, and that others may have the partitions.
func (s *source) leave(client *kgo.Client) {
	client.AllowRebalance()
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	// With an instance nothing is left: the partitions are kept for the next session, and
	// what is marked has to be told here.
	if err := client.CommitMarkedOffsets(ctx); err != nil {
		s.w.p.host.Logger().Debug("Kafka was not told what is delivered: some of it will come again", "route", s.Name, "error", err)
	}
	_ = client.LeaveGroupContext(ctx)
	client.Close()
}

// problems says what Kafka does not give, "" if nothing; what a client gets over by itself
// is not among it.
func (s *source) problems(fetches kgo.Fetches) (text string) {
	fetches.EachError(func(topic string, partition int32, err error) {
		var lost *kgo.ErrDataLoss
		switch {
		case errors.Is(err, context.DeadlineExceeded): // of poll
		case errors.As(err, &lost):
			s.w.p.Trouble(s.Name, err, false)
			s.w.p.host.Logger().Error("Kafka has lost records", "route", s.Name, "topic", topic, "partition", partition, "error", err)
		case text == "":
			text = err.Error()
			if topic != "" {
				text = fmt.Sprintf("%s: %s", topic, err)
			}
		}
	})
	return text
}

// trouble notes what keeps records from coming, and says so once.
func (s *source) trouble(problem string) {
	s.mu.Lock()
	changed := s.problem != problem
	s.problem = problem
	s.mu.Unlock()
	if !changed {
		return
	}
	if problem != "" {
		s.w.p.Trouble(s.Name, errors.New(problem), false)
		s.w.p.host.Logger().Warn("records cannot be had", "route", s.Name, "group", s.Group, "error", problem)
	}
}

// committed is told what came of telling Kafka what is delivered.
func (s *source) committed(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, res *kmsg.OffsetCommitResponse, err error) {
	if err == nil && res != nil {
		for i := range res.Topics {
			for j := range res.Topics[i].Partitions {
				err = errors.Join(err, kerr.ErrorForCode(res.Topics[i].Partitions[j].ErrorCode))
			}
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.w.p.host.Logger().Debug("Kafka was not told what is delivered", "route", s.Name, "error", err)
	}
}

// assigned is told that the bridge is in the group.
func (s *source) assigned(context.Context, *kgo.Client, map[string][]int32) { s.join(true) }

// groupHook is told that the bridge is out of the group. Why is what it polls.
type groupHook struct{ s *source }

// OnGroupManageError implements kgo.HookGroupManageError.
func (h groupHook) OnGroupManageError(error) { h.s.join(false) }

func (s *source) join(joined bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined != joined {
		s.joined, s.since = joined, time.Now()
	}
}

// remote describes the group for the status.
func (s *source) remote() bridge.Remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := bridge.Remote{
		Name: s.w.c.Remote.Name + "/" + s.Name, Address: "group " + s.Group, Connected: s.joined && s.problem == "", Since: s.since, Error: s.problem,
	}
	if !r.Connected && r.Error == "" {
		r.Error = "not in the group yet"
	}
	return r
}
