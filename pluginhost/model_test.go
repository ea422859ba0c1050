package pluginhost

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// The model: plugins that answer in every way that there is, right or wrong, take down
// what each has said of each client; what the broker gets must be what follows from
// that, plugin after plugin. All requests have clients of their own, by which they are
// told apart.

// way is how a plugin answers a batch.
type way int

const (
	now way = iota
	later
	failsNow
	failsLater
	saysError
	never
	pastDeadline
	badIndex
	twice
	unknownAction
	unknownBit
	ways
)

// bad ways answer nothing that counts.
func (w way) bad() bool { return w >= failsNow }

// actor is a plugin of the model.
type actor struct {
	t       *testing.T
	name    string
	point   pluginv1.Point
	failure pluginv1.FailurePolicy
	early   bool
	prompt  bool // always answers at once, and rightly
	rnd     *rand.Rand
	p       *plugin

	mu     sync.Mutex
	said   map[string]pluginv1.Action // by client; policy is the failure policy
	asked  map[string]bool
	faults int      // in this round: with a fifth one the breaker would open
	stale  []func() // answers that come when nobody waits any more
}

const policy pluginv1.Action = 100

const modelDeadline = 100 * time.Millisecond

func (x *actor) process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	how := way(x.rnd.IntN(int(ways)))
	switch {
	case x.prompt || how.bad() && (x.rnd.IntN(2) == 0 || x.faults >= breakAfter-1):
		how = now
	case how == pastDeadline && (x.point == pluginv1.PointAuthorizeReceive || x.point == pluginv1.PointInterceptDeliver):
		how = never // until the end
	}
	if how.bad() {
		x.faults++
	}
	if how == unknownBit && x.point != pluginv1.PointInterceptPublish && x.point != pluginv1.PointInterceptWill {
		how = failsLater
	}
	answer, after := x.decide(b, how)
	content, pause := contentOf(b), x.pause()
	intact := func() {
		if got := contentOf(b); got != content {
			x.t.Errorf("%s: the batch has changed under its plugin: %q, was %q", x.name, got, content)
		}
	}
	switch how {
	case failsNow:
		return true, errors.New("told to")
	case failsLater:
		x.stale = append(x.stale, intact) // a method that hangs goes on reading
		go func() { time.Sleep(pause); done(errors.New("told to")) }()
	case never:
		x.stale = append(x.stale, func() { intact(); done(errors.New("closed")) })
	case pastDeadline:
		x.stale = append(x.stale, func() { intact(); *a = answer; done(nil) })
	case now, saysError, badIndex, twice, unknownAction, unknownBit:
		*a = answer
		if how != now || x.rnd.IntN(2) == 0 {
			for _, f := range after {
				go f()
			}
			return true, nil
		}
		fallthrough
	default:
		go func() {
			time.Sleep(pause)
			*a = answer
			done(nil)
			for _, f := range after {
				go f()
			}
		}()
	}
	return false, nil
}

func (x *actor) pause() time.Duration { return time.Duration(x.rnd.IntN(30)) * time.Millisecond }

// decide makes the answer to a batch, and what is to be done after it.
func (x *actor) decide(b *pluginv1.Batch, how way) (a pluginv1.Answer, after []func()) {
	for i := range b.Events {
		id := b.Clients[b.Events[i].Client-1].ClientID
		if x.asked[id] {
			x.t.Errorf("%s is asked about %s twice", x.name, id)
		}
		x.asked[id] = true
		if how.bad() {
			x.said[id] = policy
			continue
		}
		action := x.action()
		x.said[id] = action
		v := x.verdict(b, i, action)
		if !x.prompt && x.point.Permits(pluginv1.ActionDefer) && x.rnd.IntN(4) == 0 {
			after = append(after, x.postpone(b.Events[i].ID, id, v)...)
			v = pluginv1.Verdict{Action: pluginv1.ActionDefer}
		}
		v.Event = uint32(i)
		a.Verdicts = append(a.Verdicts, v)
	}
	x.rnd.Shuffle(len(a.Verdicts), func(i, j int) { a.Verdicts[i], a.Verdicts[j] = a.Verdicts[j], a.Verdicts[i] })
	last := uint32(len(b.Events) - 1)
	switch how {
	case saysError:
		a.Error = "told to"
	case badIndex:
		a.Verdicts = append(a.Verdicts, pluginv1.Verdict{Event: last + 1})
	case twice:
		a.Verdicts = append(a.Verdicts, pluginv1.Verdict{Event: last}, pluginv1.Verdict{Event: last})
	case unknownAction:
		a.Verdicts = append(a.Verdicts, pluginv1.Verdict{Event: last, Action: 31})
	case unknownBit:
		a.Verdicts = append(a.Verdicts, pluginv1.Verdict{Event: last, Changed: 1 << 20})
	}
	return a, after
}

// action picks one that the point permits.
func (x *actor) action() pluginv1.Action {
	for {
		a := pluginv1.Action(x.rnd.IntN(int(pluginv1.ActionDefer)))
		if x.rnd.IntN(3) == 0 {
			a = pluginv1.ActionContinue
		}
		if x.point.Permits(a) {
			return a
		}
	}
}

func (x *actor) verdict(b *pluginv1.Batch, i int, action pluginv1.Action) pluginv1.Verdict {
	e := &b.Events[i]
	v := pluginv1.Verdict{Action: action}
	switch action {
	case pluginv1.ActionDeny, pluginv1.ActionDisconnect:
		v.ReasonCode = uint32(packet.QuotaExceeded)
	case pluginv1.ActionReplace:
		if e.Message != nil {
			v.Changed = uint32(pluginv1.ChangePayload)
			v.Replacement = &pluginv1.Message{Payload: []byte(string(e.Message.Payload) + "+" + x.name)}
		}
		for j, s := range e.Subscriptions {
			v.Filters = append(v.Filters, pluginv1.FilterResult{
				Index: uint32(j), Subscription: &pluginv1.Subscription{TopicFilter: s.TopicFilter + "/" + x.name},
			})
		}
	case pluginv1.ActionAllow:
		if x.point == pluginv1.PointPermit {
			v.Auth = &pluginv1.AuthResult{HasPermissions: true}
		}
		if x.point == pluginv1.PointAuthenticate {
			v.Auth = &pluginv1.AuthResult{Username: x.name}
		}
	}
	return v
}

// postpone gives a verdict by Complete: before the answer if that is allowed, soon after
// it, with nonsense, too late or not at all.
func (x *actor) postpone(event uint64, id string, v pluginv1.Verdict) (after []func()) {
	g := x.p.gen.Load()
	complete := func(v pluginv1.Verdict, late uint32) {
		got := g.Complete(&pluginv1.CompleteRequest{Completions: []pluginv1.Completion{{EventID: event, Verdict: &v}}})
		if got != late {
			x.t.Errorf("%s: Complete for %s says %d late, want %d", x.name, id, got, late)
		}
	}
	switch how := x.rnd.IntN(5); {
	case how == 0 && x.early:
		complete(v, 0)
	case how <= 1:
		pause := x.pause()
		after = append(after, func() {
			time.Sleep(pause + time.Millisecond)
			complete(v, 0)
			complete(v, 1)
		})
	case x.faults >= breakAfter-1:
		// Not before the answer has been taken, which may happen on another thread.
		after = append(after, func() { time.Sleep(time.Millisecond); complete(v, 0) })
	case how == 2:
		x.faults++
		x.said[id] = policy
		after = append(after, func() { time.Sleep(time.Millisecond); complete(pluginv1.Verdict{Action: pluginv1.ActionDefer}, 0) })
	case how == 3:
		x.faults++
		x.said[id] = policy
		x.stale = append(x.stale, func() { complete(v, 1) })
	default:
		x.faults++
		x.said[id] = policy
	}
	return after
}

// contentOf is all that must stay as it is while a plugin has the batch.
func contentOf(b *pluginv1.Batch) string {
	var s strings.Builder
	for i := range b.Events {
		e := &b.Events[i]
		fmt.Fprintf(&s, "%s %s ", b.Clients[e.Client-1].ClientID, e.Topic)
		if e.Message != nil {
			fmt.Fprintf(&s, "%s=%s ", e.Message.Topic, e.Message.Payload)
		}
		for _, f := range e.Subscriptions {
			s.WriteString(f.TopicFilter + " ")
		}
	}
	return s.String()
}

// outcome is what the broker has got of a request, or should have.
type outcome struct {
	what string // "continue", "deny", "drop", "disconnect"
	by   []string
	code packet.ReasonCode
}

func (o outcome) String() string { return fmt.Sprintf("%s %v %v", o.what, o.by, o.code) }

// expected is the naive model: what must become of a client's request.
func expected(actors []*actor, id string) outcome {
	o := outcome{what: "continue"}
	for i, x := range actors {
		action, asked := x.said[id]
		if !asked {
			return outcome{what: x.name + " was not asked"}
		}
		if action == policy {
			switch x.failure {
			case pluginv1.FailurePolicyContinue:
				action = pluginv1.ActionContinue
			case pluginv1.FailurePolicyDrop:
				action = pluginv1.ActionDrop
			default:
				action = pluginv1.ActionDeny
				o.code = packet.ImplementationSpecificError
			}
		} else if action == pluginv1.ActionDeny || action == pluginv1.ActionDisconnect {
			o.code = packet.QuotaExceeded
		}
		switch action {
		case pluginv1.ActionContinue:
			continue
		case pluginv1.ActionReplace:
			o.by = append(o.by, x.name)
			continue
		case pluginv1.ActionAllow:
			if x.point == pluginv1.PointGatePublish {
				continue
			}
			o.what = "allow"
			if x.point == pluginv1.PointAuthenticate {
				o.by = append(o.by, x.name)
			}
		case pluginv1.ActionDeny:
			o.what = "deny"
		case pluginv1.ActionDrop:
			o.what = "drop"
		case pluginv1.ActionDisconnect:
			o.what = "disconnect"
		}
		for _, y := range actors[i+1:] {
			if _, asked := y.said[id]; asked {
				return outcome{what: y.name + " was asked after " + x.name + " had decided"}
			}
		}
		break
	}
	return o
}

func TestChainsAgainstModel(t *testing.T) {
	for i := range scenes {
		s := &scenes[i]
		t.Run(pointName(s.point), func(t *testing.T) {
			for seed := range uint64(12) {
				synctest.Test(t, func(t *testing.T) { s.play(t, rand.New(rand.NewPCG(seed, uint64(s.point)))) })
			}
		})
	}
}

// cast makes one to four plugins for the point.
func (s *scene) cast(t *testing.T, h *Host, rnd *rand.Rand) (actors []*actor) {
	policies := []pluginv1.FailurePolicy{pluginv1.FailurePolicyDeny, pluginv1.FailurePolicyContinue, pluginv1.FailurePolicyDrop}
	for i := range 1 + rnd.IntN(4) {
		x := &actor{
			t: t, name: fmt.Sprintf("p%d", i), point: s.point, early: rnd.IntN(2) == 0, prompt: s.prompt && rnd.IntN(2) == 0,
			rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0)),
		}
		for x.failure == 0 || checkFailure(s.point, x.failure) != nil {
			x.failure = policies[rnd.IntN(len(policies))]
		}
		x.reset()
		process := x.process
		if s.prompt {
			process = x.promptly
		}
		x.p = serve(t, h, x.name, newFake(process), x.early, &pluginv1.Manifest{Hooks: []pluginv1.Hook{{
			Point: s.point, Fields: uint32(pluginv1.FieldPayload), MaxBatch: uint32(1 + rnd.IntN(4)), Failure: x.failure,
			DeadlineMs: uint32(modelDeadline / time.Millisecond),
		}}})
		actors = append(actors, x)
	}
	return actors
}

// promptly is process for deliveries, which have no deadline.
func (x *actor) promptly(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	before := len(x.stale)
	answered, err := x.process(b, a, done)
	for _, f := range x.stale[before:] {
		go f()
	}
	x.stale = x.stale[:before]
	return answered, err
}

func (x *actor) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.said, x.asked, x.stale = map[string]pluginv1.Action{}, map[string]bool{}, nil
	x.faults = 0
	if x.p != nil {
		x.p.breaker.reset()
	}
}

func (s *scene) play(t *testing.T, rnd *rand.Rand) {
	h, _ := newTestHost(t)
	defer closeHost(t, h)
	actors := s.cast(t, h, rnd)
	for round := range 40 {
		var ids []string
		for i := range 1 + rnd.IntN(s.most) {
			ids = append(ids, fmt.Sprintf("c%d-%d", round, i))
		}
		var times atomic.Int32
		done := make(chan struct{})
		answered, end := s.ask(h, ids, func() {
			if times.Add(1) == 1 {
				close(done)
			}
		})
		if !answered {
			<-done
		}
		got := end()
		// Whatever a plugin still has must not be used again, nor change.
		scribbles := []*packet.Message{keep("scribble", "scribble", 1), keep("scribble", "scribble", 1)}
		synctest.Wait()
		for _, x := range actors {
			x.mu.Lock()
			stale := x.stale
			x.mu.Unlock()
			for _, f := range stale {
				f()
			}
		}
		time.Sleep(2 * modelDeadline)
		synctest.Wait()
		if n := times.Load(); answered && n != 0 || !answered && n != 1 {
			t.Fatalf("answered %v and done %d times", answered, n)
		}
		for i, id := range ids {
			if want := s.normal(expected(actors, id)); s.normal(got[i]).String() != want.String() {
				t.Fatalf("round %d, %s: got %v, want %v; plugins said %v", round, id, s.normal(got[i]), want, says(actors, id))
			}
		}
		for _, m := range scribbles {
			m.Unref()
		}
		for _, x := range actors {
			if n := x.p.gen.Load().lates.count.Load(); n != 0 {
				t.Fatalf("%s: %d calls are late that were answered", x.name, n)
			}
			x.reset()
		}
	}
}

func says(actors []*actor, id string) (list []string) {
	for _, x := range actors {
		if a, ok := x.said[id]; ok {
			list = append(list, fmt.Sprintf("%s %v (policy %v)", x.name, a, x.failure))
		}
	}
	return list
}
