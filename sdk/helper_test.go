package sdk

import (
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/internal/guest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// OpenGuest opens a plugin as a guest does, for tests outside of a sandbox.
func OpenGuest(p Plugin) guest.Open {
	return func(h v1host.Service) (instance.Plugin, error) { return open(p, h, inGuest) }
}

// A Logger keeps quiet for a while after the host has left lines out, lets errors
// through, and says what it has cost.
func TestLoggerRate(t *testing.T) {
	now := time.Unix(0, 0)
	var got []pluginv1.LogRecord
	dropped := uint64(0)
	c := &logCore{now: func() time.Time { return now }}
	c.outbox = &outbox[pluginv1.LogRecord]{send: func(list []pluginv1.LogRecord) error {
		got = append(got, list...)
		c.told(dropped)
		return nil
	}}
	l := &Logger{core: c}
	dropped = 1
	l.Info("one")
	dropped = 0
	l.Info("two")
	l.Warn("three")
	if len(got) != 1 {
		t.Fatalf("%v", got)
	}
	l.Error("four")
	if len(got) != 2 || got[1].Attributes[0] != (Pair{Name: "skipped_lines", Value: "3"}) {
		t.Fatalf("%v", got)
	}
	now = now.Add(2 * time.Second)
	l.With("a", 1, "b").Info("five", "c", LevelInfo)
	last := got[len(got)-1]
	if last.Message != "five" || len(last.Attributes) != 3 || last.Attributes[1].Name != "!BADKEY" || last.Attributes[2].Value != "LOG_LEVEL_INFO" {
		t.Errorf("%v", last)
	}
}

// An outbox that sends by itself keeps the order, and flush waits for it.
func TestOutbox(t *testing.T) {
	var got []int
	o := &outbox[int]{async: true, send: func(list []int) error {
		got = append(got, list...)
		return nil
	}}
	for i := range 5000 {
		if !o.put(i) {
			t.Fatalf("%d is not taken", i)
		}
	}
	o.flush(t.Context())
	for i, x := range got {
		if x != i {
			t.Fatalf("%d comes as %d", x, i)
		}
	}
	if len(got) != 5000 {
		t.Errorf("%d were sent", len(got))
	}
}

func TestClone(t *testing.T) {
	m := &Message{Topic: "t", Payload: []byte("p"), UserProperties: []Pair{{Name: "a", Value: "b"}}}
	c := Clone(m)
	m.Payload[0] = 'x'
	if string(c.Payload) != "p" || c.UserProperties[0].Value != "b" {
		t.Errorf("%+v", c)
	}
}
