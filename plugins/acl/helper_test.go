package acl

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/topic"
)

// rulesOf reads a config.
func rulesOf(t testing.TB, config string) *Rules {
	t.Helper()
	r, err := Load(config)
	if err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	return r
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// permissionsOf are what the broker's core gets for a client.
func permissionsOf(t testing.TB, r *Rules, c Client) *access.Permissions {
	t.Helper()
	var list []access.Rule
	for _, e := range r.resolve(&c, false) {
		if err := topic.ValidFilter(e.filter); err != nil {
			t.Fatalf("%s: %q: %v", e.where, e.filter, err)
		}
		p := e.permission()
		list = append(list, access.Rule{
			Allow: p.Allow, Actions: access.Action(p.Actions), Filter: p.TopicFilter, QoS: access.QoSSet(p.QoS),
			Retain: access.RetainRule(p.Retain),
		})
	}
	return access.NewPermissions(list)
}

// ask asks the broker's core.
func ask(p *access.Permissions, q Question) bool {
	switch q.Action {
	case "publish":
		return p.MayPublish(q.Topic, q.QoS, q.Retain, 1)
	case "subscribe":
		return p.MaySubscribe(q.Topic, q.QoS, 1)
	}
	return p.MayReceive(q.Topic, q.QoS, q.Retain, 1)
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// names are all Topic Names of up to three levels over a small alphabet.
var names = allNames("a", "b", "xa", "xb", "$x")

func allNames(levels ...string) []string {
	var out []string
	var add func(prefix []string)
	add = func(prefix []string) {
		if s := strings.Join(prefix, "/"); s != "" {
			out = append(out, s)
		}
		if len(prefix) == 3 {
			return
		}
		for _, l := range levels {
			add(append(prefix[:len(prefix):len(prefix)], l))
		}
	}
	add(nil)
	return out
}

// randomFilter is a valid Topic Filter of up to three levels.
func randomFilter(r *rand.Rand, levels ...string) string {
	out := make([]string, 1+r.IntN(3))
	for i := range out {
		out[i] = pick(r, levels...)
	}
	if r.IntN(4) == 0 {
		out[len(out)-1] = "#"
	}
	return strings.Join(out, "/")
}
