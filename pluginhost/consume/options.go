package consume

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// What a Consumer leaves out, and how far it may go.
const (
	defaultBatch      = 256
	maxBatch          = 1024
	defaultBatchBytes = 1 << 20
	defaultDeadline   = 30 * time.Second
	maxDeadline       = 600_000 * time.Millisecond
	defaultRetryAfter = time.Second
	// maxRetryAfter is where doubling ends.
	maxRetryAfter = time.Minute
	// defaultMaxHops is how many plugins may publish in answer to each other.
	defaultMaxHops = 8
)

// Pin lends the plugin's present instance for one batch: release is called once, from any
// goroutine, when the batch is over or, if it was abandoned, when the runtime has said so.
// ok is false if there is none; the Runner asks again after Use or Resume, or a second. It is called
// on the Runner's goroutine, when there is a batch to be handed over, and must not block.
// What it lends is used: Options.Called is told of it.
type Pin func() (inst instance.Plugin, release func(), ok bool)

// Options say what a Runner is to do.
type Options struct {
	// Plugin is the name under which the operator has configured the plugin. It owns the
	// queue.
	Plugin string
	// Spec is the consumer, as in the manifest or narrowed. It must not be changed any more.
	Spec *pluginv1.Consumer
	// Broker has the queue, and takes dead letters.
	Broker hook.Broker
	// Namespaces that the operator gives the plugin; empty is all.
	Namespaces []string
	// MaxHops is how many plugins may have published a message or what it answers to; past
	// it a dead letter is dropped, not published. 0 is 8.
	MaxHops uint8
	// Log gets failures and dead letters, a few a minute; nil discards them.
	Log *slog.Logger
	// Called, if not nil, is told of each batch how long it took, how many messages it
	// had, and the plugin's failure: ErrLate, ErrNonsense (both wrapped) or what the
	// runtime has said; ErrLate also stands for a batch that Close has not waited for. What
	// the plugin says itself (ConsumeResult.error) is none. It is called on the Runner's
	// goroutine, which Close waits for, and must not block.
	Called func(took time.Duration, messages int, err error)
}

// settings are Options with all defaults filled in.
type settings struct {
	Options
	batch       int
	batchBytes  int
	deadline    time.Duration
	retryAfter  time.Duration
	maxAttempts uint32
	fields      pluginv1.Field
}

func (o Options) settings() (settings, error) {
	c := o.Spec
	s := settings{
		Options: o, batch: defaultBatch, batchBytes: defaultBatchBytes, deadline: defaultDeadline,
		retryAfter: defaultRetryAfter, maxAttempts: c.MaxAttempts, fields: pluginv1.Field(c.Fields),
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.Log = s.Log.With("plugin", o.Plugin, "consumer", c.Name)
	if s.MaxHops == 0 {
		s.MaxHops = defaultMaxHops
	}
	if c.MaxBatch != 0 {
		s.batch = int(c.MaxBatch)
	}
	if c.MaxBatchBytes != 0 {
		s.batchBytes = int(c.MaxBatchBytes)
	}
	if c.DeadlineMs != 0 {
		s.deadline = millis(c.DeadlineMs)
	}
	if c.RetryAfterMs != 0 {
		s.retryAfter = millis(c.RetryAfterMs)
	}
	switch {
	case !validName(c.Name):
		return s, errors.New("its name is not 1 to 64 of a-z, 0-9 and \"-\"")
	case len(c.TopicFilters) == 0:
		return s, errors.New("it has no topic filters")
	case c.MinQoS > 2:
		return s, fmt.Errorf("min_qos is %d", c.MinQoS)
	case s.batch > maxBatch:
		return s, fmt.Errorf("max_batch is %d, more than %d", s.batch, maxBatch)
	case s.deadline > maxDeadline:
		return s, fmt.Errorf("deadline_ms is %d, more than %d", s.deadline.Milliseconds(), maxDeadline.Milliseconds())
	}
	for _, f := range c.TopicFilters {
		if err := topic.ValidFilter(f); err != nil {
			return s, fmt.Errorf("topic filter %q: %w", f, err)
		}
	}
	if c.DeadLetterTopic != "" {
		if err := topic.ValidNameString(c.DeadLetterTopic); err != nil {
			return s, fmt.Errorf("dead_letter_topic %q: %w", c.DeadLetterTopic, err)
		}
	}
	return s, nil
}

func (s *settings) queue() (hook.QueueSpec, error) {
	q := hook.QueueSpec{
		Owner: s.Plugin, Name: s.Spec.Name, Filters: s.Spec.TopicFilters, MinQoS: byte(s.Spec.MinQoS),
		Namespaces: s.Spec.Namespaces,
	}
	switch {
	case len(s.Namespaces) == 0:
	case len(q.Namespaces) == 0:
		q.Namespaces = s.Namespaces
	default:
		// No namespace at all cannot be said to the queue, to which empty is all.
		q.Namespaces = nil
		for _, ns := range s.Spec.Namespaces {
			if slices.Contains(s.Namespaces, ns) {
				q.Namespaces = append(q.Namespaces, ns)
			}
		}
		if len(q.Namespaces) == 0 {
			return q, fmt.Errorf("it asks for namespaces %q, the plugin is given %q", s.Spec.Namespaces, s.Namespaces)
		}
	}
	return q, nil
}

func validName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func millis[T uint32 | int64](n T) time.Duration { return time.Duration(n) * time.Millisecond }
