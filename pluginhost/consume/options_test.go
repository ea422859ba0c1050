package consume

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/core/hook"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func TestConsumersThatAreRefused(t *testing.T) {
	for want, change := range map[string]func(*pluginv1.Consumer){
		"its name is not":                   func(c *pluginv1.Consumer) { c.Name = "" },
		"a-z, 0-9":                          func(c *pluginv1.Consumer) { c.Name = "Sink" },
		"1 to 64":                           func(c *pluginv1.Consumer) { c.Name = strings.Repeat("x", 65) },
		"no topic filters":                  func(c *pluginv1.Consumer) { c.TopicFilters = nil },
		`topic filter "a/#/b"`:              func(c *pluginv1.Consumer) { c.TopicFilters = []string{"a", "a/#/b"} },
		"min_qos is 3":                      func(c *pluginv1.Consumer) { c.MinQoS = 3 },
		"max_batch is 1025":                 func(c *pluginv1.Consumer) { c.MaxBatch = 1025 },
		"deadline_ms is 600001":             func(c *pluginv1.Consumer) { c.DeadlineMs = 600_001 },
		`dead_letter_topic "a/+"`:           func(c *pluginv1.Consumer) { c.DeadLetterTopic = "a/+" },
		`namespaces ["b"], the plugin is g`: func(c *pluginv1.Consumer) { c.Namespaces = []string{"b"} },
	} {
		spec := consumer()
		change(spec)
		queue := newFakeQueue()
		_, err := New(Options{Plugin: "p", Spec: spec, Broker: &fakeBroker{queue: queue}, Namespaces: []string{"a", "c"}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `of plugin "p"`) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
		if queue.opens != 0 {
			t.Errorf("%s: the queue was opened", want)
		}
	}
}

func TestQueueIsOpenAlready(t *testing.T) {
	inBubble(t, consumer(), func(b *bed) {
		if _, err := New(Options{Plugin: "p", Spec: b.spec, Broker: b.broker}); !errors.Is(err, hook.ErrQueueOpen) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestNamespaces(t *testing.T) {
	for _, c := range []struct{ wanted, given, want []string }{
		{nil, nil, nil},
		{nil, []string{"a", ""}, []string{"a", ""}},
		{[]string{"a"}, nil, []string{"a"}},
		{[]string{"a", "b", ""}, []string{"", "b", "c"}, []string{"b", ""}},
	} {
		s := settings{Options: Options{Spec: &pluginv1.Consumer{Namespaces: c.wanted}, Namespaces: c.given}}
		if q, err := s.queue(); err != nil || !slices.Equal(q.Namespaces, c.want) {
			t.Errorf("of %q, given %q: %q, %v; want %q", c.wanted, c.given, q.Namespaces, err, c.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	s, err := Options{Plugin: "p", Spec: &pluginv1.Consumer{Name: "c", TopicFilters: []string{"#"}}}.settings()
	if err != nil || s.batch != 256 || s.batchBytes != 1<<20 || s.deadline != 30*time.Second || s.retryAfter != time.Second ||
		s.maxAttempts != 0 || s.MaxHops != 8 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		after     time.Duration
		n         uint32
		low, high time.Duration
	}{
		{time.Second, 1, time.Second, 1200 * time.Millisecond},
		{time.Second, 4, 8 * time.Second, 9600 * time.Millisecond},
		{time.Second, 7, 48 * time.Second, time.Minute},
		{time.Second, 1 << 31, 48 * time.Second, time.Minute},
		{time.Millisecond, 1, time.Millisecond, 1200 * time.Microsecond},
		{5 * time.Minute, 3, 4 * time.Minute, 5 * time.Minute},
	} {
		r := &Runner{settings: settings{retryAfter: c.after}}
		for range 1000 {
			if d := r.backoff(c.n); d < c.low || d > c.high {
				t.Fatalf("%v, attempt %d: %v, want %v to %v", c.after, c.n, d, c.low, c.high)
			}
		}
	}
}

func TestLogIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q quiet
		if left, ok := q.pass(time.Now()); !ok || left != 0 {
			t.Fatal("the first line is left out")
		}
		for range 99 {
			time.Sleep(time.Millisecond)
			if _, ok := q.pass(time.Now()); ok {
				t.Fatal("a second line at once")
			}
		}
		time.Sleep(quietFor)
		if left, ok := q.pass(time.Now()); !ok || left != 99 {
			t.Fatalf("%d left out, %v; want 99", left, ok)
		}
	})
}

func FuzzCutText(f *testing.F) {
	f.Add(strings.Repeat("a", maxText-1) + "€")
	f.Add("\xff\x00\u0085")
	f.Fuzz(func(t *testing.T, s string) {
		got := cutText(s)
		// U+FFFD takes three bytes for what was one.
		if !utf8.ValidString(got) || len(got) > 3*maxText || strings.ContainsAny(got, "\x00\n\u0085") {
			t.Errorf("%q of %q", got, s)
		}
		if utf8.ValidString(s) && len(got) > maxText {
			t.Errorf("%d bytes", len(got))
		}
	})
}
