package proto

import (
	"slices"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/hook"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// The contract offers every Point of the broker, and no others.
func TestPointsAreThoseOfTheBroker(t *testing.T) {
	broker := map[string]pluginv1.Mode{}
	for p := hook.Point(0); p.String() != hook.Point(255).String(); p++ {
		mode := pluginv1.Observation
		switch {
		case p <= hook.InterceptDeliver:
			mode = pluginv1.Decision
		case p == hook.GatePublish:
			mode = pluginv1.Gate
		}
		broker["POINT"+upperSnake(p.String())] = mode
	}
	// The host asks it within the broker's Authenticate.
	broker["POINT_PERMIT"] = pluginv1.Decision
	values := loadContract(t).enum(t, "Point").Values()
	for i := 1; i < values.Len(); i++ {
		name, p := string(values.Get(i).Name()), pluginv1.Point(values.Get(i).Number())
		if p.String() != name {
			t.Errorf("%v is named %s", name, p)
		}
		if mode, ok := broker[name]; !ok || mode != p.Mode() {
			t.Errorf("%s has mode %d; the broker has it: %t, with mode %d", name, p.Mode(), ok, mode)
		}
		delete(broker, name)
	}
	for name := range broker {
		t.Errorf("the contract does not have %s", name)
	}
	for p, want := range map[pluginv1.Point]pluginv1.Mode{
		-1: 0, 0: 0, 1: pluginv1.Decision, 19: pluginv1.Decision, 20: pluginv1.Gate, 23: pluginv1.Gate,
		24: pluginv1.Observation, 63: pluginv1.Observation, 64: 0,
	} {
		if p.Mode() != want {
			t.Errorf("the mode of %d is %d, want %d", p, p.Mode(), want)
		}
	}
}

// upperSnake turns InterceptPublish into _INTERCEPT_PUBLISH.
func upperSnake(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// Permits says what the comments of the Points say.
func TestPermitsIsWhatTheCommentsSay(t *testing.T) {
	actions := loadContract(t).enum(t, "Action").Values()
	for name, comment := range comments(t, "event.proto", "POINT_") {
		var p pluginv1.Point
		for p.String() != name {
			p++
		}
		want := []string{"CONTINUE"}
		if p == pluginv1.PointUnspecified {
			want = nil
		}
		if _, list, ok := strings.Cut(comment, "Actions: "); ok {
			list, _, _ = strings.Cut(list, ".")
			want = append(want, strings.Split(list, ", ")...)
		}
		if len(want) < 3 && (p.Mode() == pluginv1.Decision || p.Mode() == pluginv1.Gate) {
			t.Errorf("the comment of %s has no actions", name)
		}
		for i := range actions.Len() {
			a := pluginv1.Action(actions.Get(i).Number())
			if got := p.Permits(a); got != slices.Contains(want, strings.TrimPrefix(a.String(), "ACTION_")) {
				t.Errorf("%s permits %s: %t, but its comment allows %v", name, a, got, want)
			}
		}
	}
	for _, a := range []pluginv1.Action{-1, 8, 31, 32, 64} {
		if pluginv1.PointInterceptPublish.Permits(a) {
			t.Errorf("an action that is not known, %d, is permitted", a)
		}
	}
}

// Masks and reasons have the values of the broker.
func TestValuesAreThoseOfTheBroker(t *testing.T) {
	dropped := comments(t, "event.proto", "POINT_DROPPED")["POINT_DROPPED"]
	for _, reason := range hook.DropReasons {
		if !strings.Contains(dropped, `"`+reason+`"`) {
			t.Errorf("the comment of POINT_DROPPED does not have %q", reason)
		}
	}
	for _, c := range []struct {
		name      string
		got, want int
	}{
		{"ACCESS_PUBLISH", int(pluginv1.AccessPublish), int(access.Publish)},
		{"ACCESS_SUBSCRIBE", int(pluginv1.AccessSubscribe), int(access.Subscribe)},
		{"ACCESS_RECEIVE", int(pluginv1.AccessReceive), int(access.Receive)},
		{"RETAIN_RULE_ANY", int(pluginv1.RetainRuleAny), int(access.AnyRetain)},
		{"RETAIN_RULE_ONLY_RETAINED", int(pluginv1.RetainRuleOnlyRetained), int(access.OnlyRetained)},
		{"RETAIN_RULE_NOT_RETAINED", int(pluginv1.RetainRuleNotRetained), int(access.NotRetained)},
		{"Permission.qos of QoS 2", 4, int(access.QoS(2))},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, the broker has %d", c.name, c.got, c.want)
		}
	}
}

// Masks are made of single bits.
func TestMasksAreBits(t *testing.T) {
	c := loadContract(t)
	for _, name := range []string{"Field", "Change", "Access"} {
		values := c.enum(t, name).Values()
		for i := 1; i < values.Len(); i++ {
			if n := values.Get(i).Number(); n != 1<<(i-1) {
				t.Errorf("%s is %d, not the next bit", values.Get(i).Name(), n)
			}
		}
	}
}

// Every grant that a call needs is one that the comment of Grant.name lists.
func TestGrantsAreDocumented(t *testing.T) {
	names := fieldComment(t, "manifest.proto", "Grant", "name")
	ops := loadContract(t).enum(t, "HostOp").Values()
	used := map[string]bool{"publish_as_client": true}
	for i := range ops.Len() {
		op := pluginv1.HostOp(ops.Get(i).Number())
		if g := op.Grant(); g != "" {
			used[g] = true
		}
	}
	for g := range used {
		if !strings.Contains(names, `"`+g+`"`) {
			t.Errorf("grant %q is not in the comment of Grant.name", g)
		}
	}
	if n := strings.Count(names, `"`) / 2; n != len(used) {
		t.Errorf("the comment of Grant.name has %d grants, calls need %d", n, len(used))
	}
	if op := pluginv1.HostOpKVGet; op.Grant() != "kv" || op.Waits() || !pluginv1.HostOpKVSet.Waits() {
		t.Errorf("KvGet needs %q and waits: %t", op.Grant(), op.Waits())
	}
}
