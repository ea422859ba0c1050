package plugindev

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/trial"
	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// view shows calls of plugins, a few lines for each. The broker never waits for it: what
// a terminal is too slow for is left out and counted.
type view struct {
	out   io.Writer
	texts chan string
	lost  atomic.Int64
	once  sync.Once
	stop  chan struct{}
	ended chan struct{}
}

// maxShown is how many events of a batch are shown.
const maxShown = 8

func newView(out io.Writer) *view {
	v := &view{out: out, texts: make(chan string, 1024), stop: make(chan struct{}), ended: make(chan struct{})}
	go v.print()
	return v
}

func (v *view) print() {
	defer close(v.ended)
	for {
		select {
		case text := <-v.texts:
			v.put(text)
		case <-v.stop:
			for len(v.texts) > 0 {
				v.put(<-v.texts)
			}
			return
		}
	}
}

func (v *view) put(text string) {
	if n := v.lost.Swap(0); n > 0 {
		text = fmt.Sprintf("… %s not shown\n", plural(int(n), "call")) + text
	}
	_, _ = io.WriteString(v.out, text) // a terminal that is gone needs nothing
}

// close shows what is left.
func (v *view) close() {
	v.once.Do(func() { close(v.stop) })
	<-v.ended
}

// seen is told of a call.
func (v *view) seen(s pluginhost.Seen) {
	text := callText(&s, time.Now())
	select {
	case v.texts <- text:
	default:
		v.lost.Add(1)
	}
}

func callText(s *pluginhost.Seen, now time.Time) string {
	var b strings.Builder
	if a, ok := s.Out.(*pluginv1.Answer); ok && s.Err == nil && a.Error != "" {
		s.Err = errors.New(a.Error) // how a program says that it has failed
	}
	took := s.Took.Round(time.Microsecond).String()
	head := func(what, answer string) {
		fmt.Fprintf(&b, "%s  %s  → %s  (%s)\n", now.Format("15:04:05.000"), clean(what), clean(answer), took)
	}
	switch in := s.In.(type) {
	case *pluginv1.Batch:
		batchText(&b, s, in, now, took)
	case *pluginv1.ConsumeBatch:
		a := trial.Answer{Result: s.Out.(*pluginv1.ConsumeResult)}
		head((&trial.Line{Consume: in}).String(), answerText(s, a.String()))
	case *pluginv1.HTTPRequest:
		status := ""
		if out, ok := s.Out.(*pluginv1.HTTPResponse); ok && out != nil {
			status = fmt.Sprint(max(out.Status, 200))
		}
		head("http "+in.Method+" "+in.Path, answerText(s, status))
	case *pluginv1.TimerFired:
		head("timer "+in.Name, answerText(s, "done"))
	}
	if s.Err != nil {
		indent(&b, s.Err.Error())
	}
	return b.String()
}

func answerText(s *pluginhost.Seen, answer string) string {
	if s.Err != nil {
		return "FAILED"
	}
	return answer
}

// batchText writes a line for each event of a batch.
func batchText(b *strings.Builder, s *pluginhost.Seen, in *pluginv1.Batch, now time.Time, took string) {
	answers := map[uint32]*pluginv1.Verdict{}
	if out, ok := s.Out.(*pluginv1.Answer); ok && s.Err == nil {
		for i := range out.Verdicts {
			answers[out.Verdicts[i].Event] = &out.Verdicts[i]
		}
	}
	for i := range in.Events {
		if i == maxShown {
			fmt.Fprintf(b, "%14s… and %d more in this batch\n", "", len(in.Events)-i)
			return
		}
		e := in.Events[i]
		if n := int(e.MessageOf); n > 0 && n <= i {
			e.Message, e.MessageOf = in.Events[n-1].Message, 0
		}
		one := &pluginv1.Batch{Point: in.Point, Clients: in.Clients, Events: []pluginv1.Event{e}}
		answer := "CONTINUE"
		switch v := answers[uint32(i)]; {
		case s.Err != nil:
			answer = "FAILED: the failure policy answers"
		case in.Point.Mode() == pluginv1.Observation:
			answer = "told"
		case v != nil:
			answer = verdictText(v)
		}
		when, end := now.Format("15:04:05.000"), "  ("+took+")"
		if i > 0 {
			when, end = strings.Repeat(" ", len(when)), ""
		}
		fmt.Fprintf(b, "%s  %s  → %s%s\n", when, clean((&trial.Line{Batch: one}).String()), clean(answer), end)
	}
}

// verdictText is "DENY 0x86 wrong password".
func verdictText(v *pluginv1.Verdict) string {
	text := trial.ActionName(v.Action)
	if v.ReasonCode != 0 {
		text += fmt.Sprintf(" 0x%02X", v.ReasonCode)
	}
	if v.Reason != "" {
		text += " " + v.Reason
	}
	if v.Changed != 0 {
		var names []string
		for c := pluginv1.Change(1); uint32(c) <= v.Changed; c <<= 1 {
			if v.Changed&uint32(c) != 0 {
				names = append(names, strings.ToLower(strings.TrimPrefix(c.String(), "CHANGE_")))
			}
		}
		text += ", changed: " + strings.Join(names, ", ")
	}
	if n := len(v.Additional); n > 0 {
		text += ", and " + plural(n, "message")
	}
	if a := v.Auth; a != nil && a.HasPermissions {
		text += ", " + plural(len(a.Permissions), "permission")
		for i := range a.Permissions {
			if p := &a.Permissions[i]; i < 4 {
				text += " " + permissionText(p)
			}
		}
	}
	return text
}

func permissionText(p *pluginv1.Permission) string {
	text := "-"
	if p.Allow {
		text = "+"
	}
	for _, a := range []struct {
		bit    pluginv1.Access
		letter string
	}{{pluginv1.AccessPublish, "p"}, {pluginv1.AccessSubscribe, "s"}, {pluginv1.AccessReceive, "r"}} {
		if p.Actions&uint32(a.bit) != 0 {
			text += a.letter
		}
	}
	return text + ":" + p.TopicFilter
}
