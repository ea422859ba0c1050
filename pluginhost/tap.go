package pluginhost

import (
	"errors"
	"fmt"
	"slices"

	"github.com/patchbay-mq/patchbay/core/hook"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Tap is what somebody wants to see of what the broker asks and tells, whether or not
// plugins are asked about it: for recordings.
type Tap struct {
	// Points of which batches are told; see TapPoints.
	Points []pluginv1.Point
	// TopicFilters restrict it as they do a hook; none: all topics.
	TopicFilters []string
	// Passwords has passwords and Authentication Data told as well.
	Passwords bool
	// Tell gets a batch before the first plugin does. It is called on the broker's
	// goroutines, by several at once, also for a moment after the tap was closed; it must
	// not block, and the batch is valid during the call only.
	Tell func(b *pluginv1.Batch)
}

// ErrTapped is returned while there is a tap already.
var ErrTapped = errors.New("a recording is under way already")

// TapPoints are the points that can be tapped: all but gates, and decisions that are made
// for each receiver of a message.
func TapPoints() []pluginv1.Point {
	var list []pluginv1.Point
	for p := pluginv1.Point(1); p < 64; p++ {
		_, known := hookPoints[p]
		switch {
		case !known && p != pluginv1.PointPermit, p.Mode() == pluginv1.Gate,
			p == pluginv1.PointAuthorizeReceive, p == pluginv1.PointInterceptDeliver:
		default:
			list = append(list, p)
		}
	}
	return list
}

// tap is a Tap in force: a hook at each point, of a plugin that nobody sees and that is
// never asked.
type tap struct {
	Tap
	points [64]*hooked
}

// Tap has batches told from now on until close is called. It decides nothing; what the
// broker would not ask because no plugin wants to know, it asks meanwhile.
func (h *Host) Tap(t Tap) (closed func(), err error) {
	x := &tap{Tap: t}
	nobody := &plugin{host: h}
	for _, p := range t.Points {
		if !slices.Contains(TapPoints(), p) {
			return nil, fmt.Errorf("%s cannot be recorded", pointName(p))
		}
		fields := pluginv1.FieldPayload | pluginv1.FieldUserProperties | pluginv1.FieldProperties | pluginv1.FieldConnection |
			pluginv1.FieldAttributes | pluginv1.FieldTLS
		if p == pluginv1.PointAuthenticate {
			fields |= pluginv1.FieldConnect
			if t.Passwords {
				fields |= pluginv1.FieldPassword
			}
		}
		x.points[p] = &hooked{plugin: nobody, point: p, filters: t.TopicFilters, fields: fields, maxBatch: 64}
	}
	if !h.tap.CompareAndSwap(nil, x) {
		return nil, ErrTapped
	}
	h.rebuild()
	return func() {
		if h.tap.CompareAndSwap(x, nil) {
			h.rebuild()
		}
	}, nil
}

// wants is what the broker has to ask and tell for t; nil wants nothing.
func (t *tap) wants() (set hook.Set) {
	if t == nil {
		return 0
	}
	for p, k := range t.points {
		switch {
		case k == nil:
		case pluginv1.Point(p) == pluginv1.PointPermit:
			set |= hook.SetOf(hook.Authenticate)
		default:
			set |= hook.SetOf(hookPoints[k.point])
		}
	}
	return set
}

// tapped tells what w is about, before its run begins. It costs a look where there is no tap.
func (h *Host) tapped(w work, p pluginv1.Point) {
	if t := h.tap.Load(); t != nil && t.points[p] != nil {
		t.ask(w, t.points[p])
	}
}

// ask fills batches as for a plugin, and tells them in place of asking.
func (t *tap) ask(w work, k *hooked) {
	c := newCall()
	c.run = &run{host: k.plugin.host, work: w}
	for from := 0; ; {
		c.reset(c.run, k)
		next := w.fill(c, from)
		if len(c.batch.Events) == 0 || next <= from {
			break
		}
		from = next
		if a := c.batch.Events[0].Authentication; a != nil && !t.Passwords {
			a.Data = nil
		}
		t.Tell(&c.batch)
	}
	switch w := w.(type) { // nobody was asked
	case *authenticating:
		w.asked, w.decider = false, false
	case *authorizing:
		w.asked = false
	}
}

// observe tells an event.
func (t *tap) observe(e *hook.Event) {
	k := t.points[eventPoints[e.Point]]
	if k == nil || !k.wants(e) {
		return
	}
	x := &observed{}
	x.set(k, e)
	b := telling{events: []*observed{x}, hook: k}
	b.describe()
	t.Tell(&b.batch)
	x.drop()
}
