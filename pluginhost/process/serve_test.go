//go:build unix

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// TestOrder asks 80 batches of a plugin that answers 8 at a time, backwards, and looks whether more than 8 are under way.
func TestOrder(t *testing.T) {
	p := open(t, self("reverse"))
	var all []*asked
	for i := range 80 {
		all = append(all, ask(p, batch(fmt.Sprint("t/", i))))
	}
	for i, c := range all {
		c.says(t, fmt.Sprint("t/", i))
	}
}

// TestConcurrent asks from many goroutines, and from done.
func TestConcurrent(t *testing.T) {
	p := open(t, self("well"))
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 100 {
				topic := fmt.Sprintf("t/%d/%d", g, i)
				b, c := batch(topic), &asked{end: make(chan error, 1)}
				answered, err := p.Process(b, &c.answer, func(error) {
					// The batch is the caller's again.
					*b = *batch(topic)
					c.answer = pluginv1.Answer{}
					if answered, err := p.Process(b, &c.answer, func(err error) { c.end <- err }); answered {
						c.end <- err
					}
				})
				if answered {
					t.Error(err)
					return
				}
				c.says(t, topic)
			}
		})
	}
	group.Wait()
}

// TestObservers fills the window with observations that are not answered: decisions go on.
func TestObservers(t *testing.T) {
	p := open(t, self("watches slowly"))
	var observed []*asked
	for range 20 {
		observed = append(observed, ask(p, &pluginv1.Batch{Point: pluginv1.PointConnected, Events: []pluginv1.Event{{}}}))
	}
	until(t, "6 observations under way", func() bool { s := p.Stats(); return s.Unanswered == 6 && s.Queued == 14 })
	for i := range 20 {
		ask(p, batch(fmt.Sprint(i))).says(t, fmt.Sprint(i))
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range observed {
		if err := c.wait(t); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if err := ask(p, batch("late")).wait(t); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := p.Health(t.Context(), &pluginv1.HealthRequest{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestSilent has a plugin that never answers, and batches up to the bound.
func TestSilent(t *testing.T) {
	p := open(t, self("silent"))
	var all []*asked
	for range maxQueue + 8 {
		all = append(all, ask(p, batch("t")))
		if len(all) == 8 {
			until(t, "8 under way", func() bool { return p.Stats() == Stats{p.PID(), p.Stats().MemoryBytes, 0, 8} })
		}
	}
	if err := ask(p, batch("t")).wait(t); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if runtime.GOOS == "linux" && p.Stats().MemoryBytes < 1<<20 {
		t.Errorf("%+v", p.Stats())
	}
	began := time.Now()
	go p.Close()
	for _, c := range all {
		if err := c.wait(t); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

// TestFailures has plugins that fail with one batch of three, and says which go on.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		role  string
		cause Cause
		says  string
		over  bool // the process has ended
		alone bool // other batches that are under way are not affected
	}{
		{"panics", Crashed, "exit status 2; it wrote: panic: the sky has fallen", true, false},
		{"exits", Crashed, "exit status 3; it wrote: enough", true, false},
		{"ends streams", Broken, "ended the stream", false, false},
		{"answers others", BadAnswer, "which is not under way", false, false},
		{"answers too much", BadAnswer, "too large", false, false},
		{"fails", Failed, "cannot decide", false, true},
	} {
		t.Run(c.role, func(t *testing.T) {
			t.Parallel()
			o := self(c.role)
			o.MaxMessage = 1 << 20
			p := open(t, o)
			ask(p, batch("before")).says(t, "before")
			bad, after := ask(p, batch("bad")), ask(p, batch("bad too"))
			for _, asked := range []*asked{bad, after} {
				err := asked.wait(t)
				var e *Error
				if !errors.As(err, &e) || e.Cause != c.cause || e.Op != pluginv1.PluginOpProcess || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v; it should be %v and say %q", err, c.cause, c.says)
				}
			}
			if !c.over {
				ask(p, batch("again")).says(t, "again")
				if p.Err() != nil {
					t.Error(p.Err())
				}
				return
			}
			select {
			case <-p.Exited():
			case <-time.After(limit):
				t.Fatal("it has not ended")
			}
			if err := p.Err(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			var e *Error
			if err := ask(p, batch("again")).wait(t); !errors.As(err, &e) || e.Cause != Crashed {
				t.Error(err)
			}
			if _, err := p.Health(t.Context(), &pluginv1.HealthRequest{}); !errors.As(err, &e) || e.Cause != Crashed || e.Op != pluginv1.PluginOpHealth {
				t.Error(err)
			}
		})
	}
}

func TestUnary(t *testing.T) {
	slow := open(t, self("describes slowly"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := slow.Describe(ctx, &pluginv1.DescribeRequest{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ended := make(chan error)
	go func() {
		_, err := slow.Describe(context.Background(), &pluginv1.DescribeRequest{})
		ended <- err
	}()
	if err := slow.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	var e *Error
	_, err := open(t, self("describes badly")).Describe(t.Context(), &pluginv1.DescribeRequest{})
	if !errors.As(err, &e) || e.Cause != Failed || e.Error() != "process plugin: DESCRIBE: the moon is wrong" {
		t.Error(err)
	}
}

// TestHost has a plugin call the host's services while it starts.
func TestHost(t *testing.T) {
	p := open(t, self("caller"))
	r, err := p.Start(t.Context(), &pluginv1.StartRequest{})
	if err != nil || len(r.Problems) != 1 || r.Problems[0].Message != "version 1" {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestConsume(t *testing.T) {
	p := open(t, self("well"))
	var group sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		for i := range 20 {
			b := &pluginv1.ConsumeBatch{Consumer: name, Deliveries: []pluginv1.Delivery{{Offset: uint64(100 + i)}}}
			r := new(pluginv1.ConsumeResult)
			group.Add(1)
			answered, err := p.Consume(b, r, func(err error) {
				defer group.Done()
				if err != nil || r.AcknowledgedOffset != b.Deliveries[0].Offset || r.Error != "as an example" {
					t.Errorf("%+v, %v", r, err)
				}
			})
			if answered {
				t.Fatal(err)
			}
		}
	}
	group.Wait()
	if s := p.Stats(); s.Queued != 0 || s.Unanswered != 0 {
		t.Errorf("%+v", s)
	}
}

// TestOutput reads what a plugin writes, by whatever way.
func TestOutput(t *testing.T) {
	var log records
	o := self("talker")
	o.Log = log.log
	p := open(t, o)
	if _, err := p.Start(t.Context(), &pluginv1.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ERROR bad count=3", "INFO through gRPC", "INFO " + strings.Repeat("y", maxLine)} {
		until(t, line[:16], func() bool { return slices.Contains(log.get(), line) })
	}
}

// TestFlood has a plugin that writes to its log without end; it goes on working, slowed down.
func TestFlood(t *testing.T) {
	var log records
	o := self("flooder")
	o.Log, o.LogRate = log.log, 10
	p := open(t, o)
	if _, err := p.Start(t.Context(), &pluginv1.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	until(t, "a line about those that were dropped", func() bool {
		ask(p, batch("t")).says(t, "t")
		return strings.Contains(strings.Join(log.get(), "\n"), "WARN")
	})
	until(t, "dropped lines", func() bool {
		return strings.Contains(strings.Join(log.get(), "\n"), "lines were dropped: there were more than 10 a second")
	})
	if n, most := len(log.get()), 2*(40+10*int(time.Since(began).Seconds()+1)); n > most {
		t.Errorf("%d lines were passed on, of at most %d", n, most)
	}
}

// TestSDK runs a plugin that is written with the Go SDK, and compares it with itself built in.
func TestSDK(t *testing.T) {
	var cases []plugintest.Case
	for _, topic := range []string{"deny", "anything", "deny"} {
		cases = append(cases, plugintest.Batch(topic, batch(topic)))
	}
	program := load(t, self("sdk"))
	plugintest.Conformance(t, "{}", cases,
		plugintest.Builtin(sdkPlugin()), plugintest.Runner{Name: "process", Open: program.Open})
	var log records
	o := self("sdk")
	o.Log = log.log
	p := open(t, o)
	if _, err := p.Start(t.Context(), &pluginv1.StartRequest{Config: "{}"}); err != nil {
		t.Fatal(err)
	}
	if err := ask(p, batch("panic")).wait(t); err == nil || !strings.Contains(err.Error(), "as asked for") {
		t.Error(err)
	}
	ask2 := ask(p, batch("deny"))
	if err := ask2.wait(t); err != nil || len(ask2.answer.Verdicts) != 1 {
		t.Errorf("%+v, %v", ask2.answer, err)
	}
}

// TestLeaks opens and closes, well and badly, and counts what is left.
func TestLeaks(t *testing.T) {
	round := func() {
		opened, err := load(t, self("well")).Open(t.Context(), plugintest.NewHost())
		if err != nil {
			t.Fatal(err)
		}
		p := opened.(*Plugin)
		if _, err := p.Start(t.Context(), &pluginv1.StartRequest{}); err != nil {
			t.Fatal(err)
		}
		ask(p, batch("t")).says(t, "t")
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		crashes, err := load(t, self("exits")).Open(t.Context(), plugintest.NewHost())
		if err != nil {
			t.Fatal(err)
		}
		if err := ask(crashes.(*Plugin), batch("bad")).wait(t); err == nil {
			t.Error("no error")
		}
		if err := crashes.Close(); err != nil {
			t.Error(err)
		}
		if _, err := load(t, self("garbage")).Open(t.Context(), plugintest.NewHost()); err == nil {
			t.Error("no error")
		}
	}
	round()
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0
		}
		return len(list)
	}
	goroutines, before := runtime.NumGoroutine(), files()
	for range 3 {
		round()
	}
	until(t, "goroutines and files as before", func() bool { return runtime.NumGoroutine() <= goroutines && files() <= before })
	if left, err := os.ReadDir(socketDir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder of sockets: %v, %v", left, err)
	}
}
