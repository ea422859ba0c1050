package admin

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// taps are the taps of a fakePlugins.
type taps struct {
	mu   sync.Mutex
	last pluginhost.Tap
	open int
	// tell is what a tap is told as soon as it is there.
	tell []*pluginv1.Batch
}

func (f *fakePlugins) Tap(t pluginhost.Tap) (closed func(), err error) {
	x := &f.taps
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.open > 0 {
		return nil, pluginhost.ErrTapped
	}
	x.last = t
	x.open++
	for _, b := range x.tell {
		t.Tell(b)
	}
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.open--
	}, nil
}

func (x *taps) now() (last pluginhost.Tap, open int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last, x.open
}

func tick(n int64) *pluginv1.Batch {
	return &pluginv1.Batch{Point: pluginv1.PointTick, Events: []pluginv1.Event{{TimeMs: n}}}
}

func TestRecordCommand(t *testing.T) {
	b, _ := newBroker(t)
	f := &fakePlugins{taps: taps{tell: []*pluginv1.Batch{tick(1), tick(2), tick(3)}}}
	s := start(t, b, func(o *Options) { o.Plugins = f })
	file := filepath.Join(t.TempDir(), "events.jsonl")
	r := run(t, "", "plugin", "record", "--socket", s.Socket(), "--points", "tick,authenticate", "--topics", "a/#", "--with-passwords", "--count", "2", "-o", file)
	if r.err != nil {
		t.Fatal(r.err)
	}
	text, err := os.ReadFile(file)
	want := `{"point":"POINT_TICK","events":[{"timeMs":"1"}]}` + "\n" + `{"point":"POINT_TICK","events":[{"timeMs":"2"}]}` + "\n"
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	last, _ := f.taps.now()
	if !slices.Equal(last.Points, []pluginv1.Point{pluginv1.PointAuthenticate, pluginv1.PointTick}) || !slices.Equal(last.TopicFilters, []string{"a/#"}) || !last.Passwords {
		t.Errorf("%+v", last)
	}
	eventually(t, "the tap is closed", func() bool {
		_, open := f.taps.now()
		return open == 0
	})
	// Without flags: no passwords, nothing below $SYS, nothing for each receiver.
	if out := at(t, s, "plugin", "record", "--count", "3"); strings.Count(out, "\n") != 3 {
		t.Errorf("%q", out)
	}
	last, _ = f.taps.now()
	if last.Passwords || !slices.Equal(last.TopicFilters, []string{"#"}) || slices.Contains(last.Points, pluginv1.PointDelivered) ||
		!slices.Contains(last.Points, pluginv1.PointAuthenticate) {
		t.Errorf("%+v", last)
	}
}

// TestRecordingIsBounded: what is told to a recording that nobody reads is counted, and
// left out.
func TestRecordingIsBounded(t *testing.T) {
	r := &recording{wake: make(chan struct{}, 1)}
	big := &pluginv1.Batch{Point: pluginv1.PointPublished, Events: []pluginv1.Event{{Message: &pluginv1.Message{Payload: make([]byte, 1<<20)}}, {}}}
	for range 30 {
		r.tell(big)
	}
	first := r.take(nil)
	if len(first) > recordBytes+4<<20 || r.lost == 0 {
		t.Errorf("%d bytes, %d lost", len(first), r.lost)
	}
	kept := bytes.Count(first, []byte("\n"))
	r.tell(tick(1))
	if got := string(r.take(first)); !strings.HasSuffix(got, "\"lost\":\""+number(2*(30-kept))+"\"}\n") {
		t.Errorf("%s", got)
	}
}
