package acl

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/topic"
)

// The naive evaluator takes the README at its word: it looks at the rules one by one, puts
// names in by strings.ReplaceAll, and decides about subscriptions by all topics that
// there are.

// speaks reports whether a rule is about the client and what it does.
func speaks(r *RuleConfig, c *Client, action string, qos byte, retain bool) bool {
	list := append(slices.Clone(r.Allow), r.Deny...)
	if !slices.Contains(list, action) && !slices.Contains(list, "all") {
		return false
	}
	if r.QoS != nil && !slices.Contains(r.QoS, int(qos)) || r.Retain != nil && action != "subscribe" && *r.Retain != retain {
		return false
	}
	if r.Users != nil && !slices.Contains(r.Users, c.Username) || r.Clients != nil && !slices.Contains(r.Clients, c.ClientID) ||
		r.Namespaces != nil && !slices.Contains(r.Namespaces, c.Namespace) {
		return false
	}
	if r.Groups != nil && !slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(c.Groups, g) }) {
		return false
	}
	return r.Addresses == nil || slices.ContainsFunc(r.Addresses, func(n network) bool {
		if !c.Address.IsValid() {
			return n.unix
		}
		return !n.unix && n.prefix.Contains(c.Address)
	})
}

// meaning are the filters of a rule for the client.
func meaning(r *RuleConfig, c *Client) []string {
	var out []string
	for _, t := range r.Topics {
		groups := []string{""}
		if strings.Contains(t, "%g") {
			groups = nil
			for _, g := range c.Groups {
				if r.Groups == nil || slices.Contains(r.Groups, g) {
					groups = append(groups, g)
				}
			}
			if groups == nil {
				groups = []string{""}
			}
		}
		for _, g := range groups {
			out = append(out, meaningOf(t, c, g, r.Allow != nil)...)
		}
	}
	return out
}

func meaningOf(t string, c *Client, group string, allow bool) []string {
	values := map[string]string{"%u": c.Username, "%c": c.ClientID, "%n": c.Namespace, "%g": group}
	levels := strings.Split(t, "/")
	for i, level := range levels {
		for name, v := range values {
			if !strings.Contains(level, name) {
				continue
			}
			if v == "" || strings.ContainsAny(v, "+#/") || i == 0 && strings.HasPrefix(level, name) && v[0] == '$' {
				switch {
				case allow:
					return nil
				case i == 0:
					return []string{"#", "$SYS/#"}
				}
				return []string{strings.Join(levels[:i], "/") + "/#"}
			}
			level = strings.ReplaceAll(level, name, v)
		}
		levels[i] = level
	}
	return []string{strings.Join(levels, "/")}
}

// subscribable says, for a filter that may be subscribed to, whether a rule decides and how.
func naiveSubscribe(filter string, rules []string, allow bool) bool {
	inAll, inAny := true, false
	for _, n := range names {
		if topic.Match(filter, n) {
			in := slices.ContainsFunc(rules, func(f string) bool { return topic.Match(f, n) })
			inAll, inAny = inAll && in, inAny || in
		}
	}
	if allow {
		return inAll
	}
	return inAny
}

func naive(cfg *Config, c *Client, q Question) bool {
	about := func(action string) (decided, allowed bool) {
		for i := range cfg.Rules {
			r := &cfg.Rules[i]
			if action == q.Action && !speaks(r, c, action, q.QoS, q.Retain) || !applies(r, c, action) {
				continue // a delivery obeys rules for subscribing whatever their QoS
			}
			for _, f := range meaning(r, c) {
				hit := topic.Match(f, q.Topic)
				if q.Action == "subscribe" {
					hit = naiveSubscribe(q.Topic, []string{f}, r.Allow != nil)
				}
				if hit {
					return true, r.Allow != nil
				}
			}
		}
		return false, false
	}
	decided, allowed := about(q.Action)
	if q.Action == "receive" && !decided && cfg.CheckDeliveries {
		decided, allowed = about("subscribe")
	}
	if decided {
		return allowed
	}
	// What nobody could subscribe to does not come: "#" does not cover $x, nor does a default.
	hidden := strings.HasPrefix(q.Topic, "$x")
	if q.Action == "receive" && !cfg.CheckDeliveries {
		return !hidden || !speaksOfReceiving(cfg, c) || slices.ContainsFunc(cfg.Rules, func(r RuleConfig) bool {
			return r.Allow != nil && applies(&r, c, "subscribe") &&
				slices.ContainsFunc(meaning(&r, c), func(f string) bool { return strings.HasPrefix(f, "$x") })
		})
	}
	return cfg.Default == "allow" && !hidden
}

// applies is speaks for some QoS and RETAIN.
func applies(r *RuleConfig, c *Client, action string) bool {
	qos, retain := byte(0), r.Retain != nil && *r.Retain
	if r.QoS != nil {
		qos = byte(r.QoS[0])
	}
	return speaks(r, c, action, qos, retain)
}

func speaksOfReceiving(cfg *Config, c *Client) bool {
	return slices.ContainsFunc(cfg.Rules, func(r RuleConfig) bool {
		return applies(&r, c, "receive") && meaning(&r, c) != nil
	})
}

func randomConfig(r *rand.Rand) *Config {
	cfg := &Config{Default: pick(r, "deny", "deny", "allow"), CheckDeliveries: r.IntN(3) == 0}
	some := func(n int, list ...string) []string {
		if r.IntN(n) > 0 {
			return nil
		}
		out := []string{pick(r, list...)}
		if r.IntN(2) == 0 {
			out = append(out, pick(r, list...))
		}
		return out
	}
	for range r.IntN(6) {
		rule := RuleConfig{
			Users: some(4, "a", "b", "x/a", ""), Groups: some(4, "a", "b", "#"), Clients: some(5, "a", "b", "$x"), Namespaces: some(6, "", "a"),
		}
		for range 1 + r.IntN(2) {
			f := randomFilter(r, "a", "b", "+", "$x", "%u", "%c", "%n", "%g", "x%u")
			if f == "" {
				f = "a"
			}
			rule.Topics = append(rule.Topics, f)
		}
		actions := []string{pick(r, "publish", "subscribe", "receive", "all")}
		if r.IntN(3) == 0 {
			actions = append(actions, pick(r, "publish", "subscribe", "receive"))
		}
		if r.IntN(2) == 0 {
			rule.Allow = actions
		} else {
			rule.Deny = actions
		}
		if r.IntN(5) == 0 {
			rule.QoS = []int{r.IntN(3)}
		}
		if r.IntN(5) == 0 {
			retain := r.IntN(2) == 0
			rule.Retain = &retain
		}
		if r.IntN(6) == 0 {
			rule.Addresses = []network{pick(r, network{unix: true}, network{prefix: netip.MustParsePrefix("10.0.0.0/8")})}
		}
		cfg.Rules = append(cfg.Rules, rule)
	}
	return cfg
}

func randomClient(r *rand.Rand) Client {
	return Client{
		Username: pick(r, "a", "b", "x/a", "", "+", "a#"), ClientID: pick(r, "a", "b", "a/b", "#", "$x"), Namespace: pick(r, "", "a", "b"),
		Groups:  pick(r, nil, []string{"a"}, []string{"b", "a"}, []string{"#", "b"}),
		Address: pick(r, netip.Addr{}, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("192.0.2.1")),
	}
}

// The permissions that clients get, evaluated by the broker's own code, are what the
// rules mean; and Explain says the same.
func TestAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	answers := map[string]int{}
	for range rounds {
		cfg := randomConfig(r)
		rules, err := newRules(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c := randomClient(r)
		p := permissionsOf(t, rules, c)
		for range 20 {
			q := Question{
				Action: pick(r, "publish", "subscribe", "receive"), Topic: names[r.IntN(len(names))], QoS: byte(r.IntN(3)), Retain: r.IntN(2) == 0,
			}
			if q.Action == "subscribe" && r.IntN(2) == 0 {
				if f := randomFilter(r, "a", "b", "+", "$x"); f != "" {
					q.Topic = f
				}
			}
			want := naive(cfg, &c, q)
			if got := ask(p, q); got != want {
				t.Fatalf("%+v\n%+v: the broker says %v, the rules %v\n%s", c, q, got, want, describe(rules, &c))
			}
			x, err := rules.Explain(c, q)
			if err != nil || x.Allowed != want {
				t.Fatalf("%+v\n%+v: Explain says %+v, %v; the rules %v\n%s", c, q, x, err, want, describe(rules, &c))
			}
			answers[fmt.Sprint(q.Action, want)]++
		}
	}
	for _, a := range []string{"publish", "subscribe", "receive"} {
		if answers[a+"true"] < rounds/10 || answers[a+"false"] < rounds/10 {
			t.Errorf("the test asks too little: %v", answers)
		}
	}
}

func describe(r *Rules, c *Client) string {
	var b strings.Builder
	for _, e := range r.resolve(c, true) {
		fmt.Fprintf(&b, "%s %s: %v %v %q %s %s\n", e.where, e.text, e.allow, accessText(e.actions), e.filter, e.note, e.skipped)
	}
	return b.String()
}
