package acl

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/glob"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Rules are those of a config and of its acl_file. They are immutable and safe for
// concurrent use.
type Rules struct {
	rules []rule
	file  *aclFile // nil without one
	// allow is the default for publish and subscribe.
	allow           bool
	checkDeliveries bool
}

// rule is one of the config.
type rule struct {
	where   string // a JSON Pointer
	allow   bool
	actions sdk.Access
	topics  []template
	// Nil lists say nothing.
	users, groups, clients, namespaces []string
	networks                           []network
	qos                                uint32
	retain                             sdk.RetainRule
}

// entry is a permission that a client has, with where it comes from; or a rule that gives
// it none.
type entry struct {
	allow   bool
	actions sdk.Access
	filter  string
	qos     uint32 // a mask, 0 is all
	retain  sdk.RetainRule
	// where is a JSON Pointer, FILE:LINE or "default"; text is the rule in words.
	where, text string
	// note says something that is not plain from the rule.
	note string
	// skipped says why the rule is not about this client; then it is no permission.
	skipped string
}

func (e *entry) permission() sdk.Permission {
	return sdk.Permission{
		Allow: e.allow, Actions: uint32(e.actions), TopicFilter: e.filter, QoS: e.qos, Retain: e.retain,
	}
}

// resolver collects the entries of a client.
type resolver struct {
	client *Client
	// words is set where people are to read the entries.
	words bool
	out   []entry
}

// resolve returns what the rules mean for a client, in the order in which it counts. With
// words it includes rules that are not about the client, and says why.
//
// What may be subscribed to may be received, unless a rule for receive says otherwise:
// that is how the broker takes it while nothing speaks of receiving. The rest of the
// list keeps it so where something does.
func (r *Rules) resolve(c *Client, words bool) []entry {
	v := resolver{client: c, words: words}
	for i := range r.rules {
		v.rule(&r.rules[i])
	}
	strict := r.checkDeliveries || r.file != nil
	if strict {
		v.mirror()
	}
	if r.file != nil {
		v.aclFile(r.file)
	}
	v.fallback(r.allow, strict)
	return v.out
}

func (v *resolver) add(e entry) { v.out = append(v.out, e) }

// rule adds what one rule of the config means.
func (v *resolver) rule(r *rule) {
	text := ""
	if v.words {
		text = r.text()
	}
	if why := r.mismatch(v.client); why != "" {
		v.skip(entry{where: r.where, text: text}, why)
		return
	}
	for i := range r.topics {
		groups := []string{""}
		if t := &r.topics[i]; t.has(groupPlaceholder) {
			groups = r.groupsOf(v.client)
		}
		for _, g := range groups {
			v.topic(r, &r.topics[i], g, text)
		}
	}
}

func (v *resolver) topic(r *rule, t *template, group, text string) {
	e := entry{allow: r.allow, actions: r.actions, qos: r.qos, retain: r.retain, where: r.where, text: text}
	v.fill(e, t, group)
}

// fill adds an entry with the client's values put in. Where a value must not be put in,
// what would allow is left out, and what would deny denies all that it may have meant.
func (v *resolver) fill(e entry, t *template, group string) {
	filter, bad := t.resolve(func(p *part) string { return v.client.value(p, group) })
	if bad == nil {
		e.filter = filter
		v.add(e)
		return
	}
	why := ""
	if v.words {
		value := v.client.value(bad, group)
		why = bad.String() + " " + strconv.Quote(value) + " " + cmp.Or(unusable(value, filter == ""), "is too long")
	}
	if e.allow {
		e.filter = t.source
		v.skip(e, why)
		return
	}
	if v.words {
		e.note = why + ", so everything that " + strconv.Quote(t.source) + " could mean is denied"
	}
	for _, f := range widest(filter) {
		e.filter = f
		v.add(e)
	}
}

// skip notes a rule that is not about the client, for people.
func (v *resolver) skip(e entry, why string) {
	if v.words {
		e.skipped = why
		v.add(e)
	}
}

// groupsOf are the groups for which a rule is about the client; "" if there are none.
func (r *rule) groupsOf(c *Client) []string {
	var out []string
	for _, g := range c.Groups {
		if r.groups == nil || glob.Any(r.groups, g) {
			out = append(out, g)
		}
	}
	if out == nil {
		return []string{""}
	}
	return out
}

// mismatch says why a rule is not about a client, "" if it is.
func (r *rule) mismatch(c *Client) string {
	switch {
	case r.namespaces != nil && !glob.Any(r.namespaces, c.Namespace):
		return "not for this namespace"
	case r.users != nil && !glob.Any(r.users, c.Username):
		return "not for this user"
	case r.groups != nil && !slices.ContainsFunc(c.Groups, func(g string) bool { return glob.Any(r.groups, g) }):
		return "not for a group of this client"
	case r.clients != nil && !glob.Any(r.clients, c.ClientID):
		return "not for this client id"
	case r.networks != nil && !slices.ContainsFunc(r.networks, func(n network) bool { return n.has(c.Address) }):
		return "not for this address"
	}
	return ""
}

// mirror has deliveries obey the rules for subscribing, after those for receiving.
func (v *resolver) mirror() {
	for _, e := range v.out[:len(v.out):len(v.out)] {
		said := e.actions&sdk.AccessReceive != 0 && e.qos == 0 && e.retain == sdk.RetainAny
		if e.skipped != "" || e.actions&sdk.AccessSubscribe == 0 || said {
			continue
		}
		// The QoS of a subscription is not that of a delivery.
		e.actions, e.qos, e.retain = sdk.AccessReceive, 0, sdk.RetainAny
		e.note = "what may be subscribed to may be received"
		if !e.allow {
			e.note = "what may not be subscribed to may not be received"
		}
		v.add(e)
	}
}

const defaultRule = "default"

// everything are filters for all topics but those that begin with another "$" than that
// of $SYS, which no wildcard covers.
var everything = [...]string{"#", "$SYS/#"}

// fallback adds what holds in the end.
func (v *resolver) fallback(allow, strict bool) {
	receives := slices.ContainsFunc(v.out, func(e entry) bool { return e.skipped == "" && e.actions&sdk.AccessReceive != 0 })
	if allow {
		actions := sdk.AccessPublish | sdk.AccessSubscribe
		if strict {
			actions = allAccess
		}
		for _, f := range everything {
			v.add(entry{allow: true, actions: actions, filter: f, where: defaultRule, text: "default: allow"})
		}
	}
	switch {
	case strict && !allow && !receives:
		v.add(entry{actions: sdk.AccessReceive, filter: "#", where: defaultRule, text: "default: deny"})
	case !strict && receives:
		for _, f := range append(everything[:], v.roots(sdk.AccessSubscribe)...) {
			v.add(entry{
				allow: true, actions: sdk.AccessReceive, filter: f, where: defaultRule,
				text: "what is subscribed may be received",
			})
		}
	}
}

// roots are filters for all topics that begin with the "$…" of an entry that allows one
// of the actions, but for $SYS.
func (v *resolver) roots(actions sdk.Access) []string {
	var out []string
	for i := range v.out {
		e := &v.out[i]
		if !e.allow || e.skipped != "" || e.actions&actions == 0 || !strings.HasPrefix(e.filter, "$") {
			continue
		}
		root, _, _ := strings.Cut(e.filter, "/")
		if root += "/#"; root != "$SYS/#" && !slices.Contains(out, root) {
			out = append(out, root)
		}
	}
	return out
}

// text is the rule in words.
func (r *rule) text() string {
	var b strings.Builder
	if r.allow {
		b.WriteString("allow ")
	} else {
		b.WriteString("deny ")
	}
	b.WriteString(accessText(r.actions))
	for i := range r.topics {
		b.WriteString(" " + r.topics[i].source)
	}
	list := func(name string, items []string) {
		if items != nil {
			b.WriteString(", " + name)
			for _, s := range items {
				b.WriteString(" " + strconv.Quote(s))
			}
		}
	}
	list("users", r.users)
	list("groups", r.groups)
	list("clients", r.clients)
	list("namespaces", r.namespaces)
	if r.networks != nil {
		b.WriteString(", addresses")
		for _, n := range r.networks {
			if n.unix {
				b.WriteString(" unix")
			} else {
				b.WriteString(" " + n.prefix.String())
			}
		}
	}
	if r.qos != 0 {
		b.WriteString(", qos")
		for q := range 3 {
			if r.qos&(1<<q) != 0 {
				b.WriteString(" " + strconv.Itoa(q))
			}
		}
	}
	switch r.retain {
	case sdk.RetainOnlyRetained:
		b.WriteString(", retained")
	case sdk.RetainNotRetained:
		b.WriteString(", not retained")
	}
	return b.String()
}
