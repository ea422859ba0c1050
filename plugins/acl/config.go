package acl

import (
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	Rules   []RuleConfig `json:"rules" doc:"Rules in order: the first that applies decides." max:"16384"`
	ACLFile string       `json:"acl_file" doc:"A Mosquitto acl_file, whose rules come after those here." example:"/etc/mosquitto/acl"`
	Default string       `json:"default" doc:"What holds for publishing and subscribing where no rule applies." default:"deny" enum:"deny,allow"`
	// CheckDeliveries ends rights that are taken away from subscriptions that exist, those of
	// sessions that come back included.
	CheckDeliveries bool         `json:"check_deliveries" doc:"Hold each delivery against the rules for subscribing too, so that a right that is taken away ends for subscriptions that exist. Costs a little at each delivery." default:"true"`
	Poll            sdk.Duration `json:"poll" doc:"How often to look whether acl_file has changed; a change is taken at the second look. 0s is never." default:"1s" min:"0s"`
}

// RuleConfig is one rule. Lists that are absent say nothing; of those that are there
// one element each must fit.
type RuleConfig struct {
	Allow      []string  `json:"allow" doc:"What is allowed; or else deny." enum:"publish,subscribe,receive,all" min:"1"`
	Deny       []string  `json:"deny" doc:"What is denied; or else allow." enum:"publish,subscribe,receive,all" min:"1"`
	Topics     []string  `json:"topics" required:"true" doc:"Topic Filters; %u, %c, %n, %g or ${username}, ${client_id}, ${namespace}, ${group}, ${attribute.NAME} stand for the client's." min:"1" max:"4096"`
	Users      []string  `json:"users" doc:"User names; * stands for any text, an empty one for clients without a name." min:"1"`
	Groups     []string  `json:"groups" doc:"Groups of which the client must be in one; * stands for any text." min:"1"`
	Clients    []string  `json:"clients" doc:"Client ids; * stands for any text." min:"1"`
	Namespaces []string  `json:"namespaces" doc:"Namespaces; * stands for any text, an empty one for the default namespace." min:"1"`
	Addresses  []network `json:"addresses" doc:"Networks or addresses of clients, or unix for unix sockets." example:"10.0.0.0/8" min:"1"`
	QoS        []int     `json:"qos" doc:"QoS levels that the rule is about. Absent: all." enum:"0,1,2" min:"1"`
	Retain     *bool     `json:"retain" doc:"Restricts the rule to messages with or without RETAIN. Without meaning for subscribe."`
}

// newRules reads the rules of a config, but for the acl_file. Errors are problems with
// pointers.
func newRules(c *Config) (*Rules, error) {
	out := &Rules{allow: c.Default == "allow", checkDeliveries: c.CheckDeliveries}
	var problems []error
	for i := range c.Rules {
		r, errs := newRule(&c.Rules[i], "/rules/"+strconv.Itoa(i))
		problems = append(problems, errs...)
		out.rules = append(out.rules, r)
	}
	if err := sdk.Problems(problems...); err != nil {
		return nil, err
	}
	return out, nil
}

func newRule(c *RuleConfig, at string) (r rule, problems []error) {
	r = rule{
		where: at, allow: c.Allow != nil, users: c.Users, groups: c.Groups, clients: c.Clients,
		namespaces: c.Namespaces, networks: c.Addresses,
	}
	if (c.Allow == nil) == (c.Deny == nil) {
		problems = append(problems, sdk.NewProblem(at, `a rule has either "allow" or "deny"`))
	}
	for _, name := range append(c.Allow, c.Deny...) {
		r.actions |= accesses[name]
	}
	for _, q := range c.QoS {
		r.qos |= 1 << q
	}
	switch {
	case c.Retain != nil && *c.Retain:
		r.retain = sdk.RetainOnlyRetained
	case c.Retain != nil:
		r.retain = sdk.RetainNotRetained
	}
	for i, s := range c.Topics {
		t, err := parseTemplate(s)
		if err != nil {
			problems = append(problems, sdk.NewProblem(at+"/topics/"+strconv.Itoa(i), strconv.Quote(s)+": "+err.Error()))
		}
		r.topics = append(r.topics, t)
	}
	return r, problems
}

const allAccess = sdk.AccessPublish | sdk.AccessSubscribe | sdk.AccessReceive

var accesses = map[string]sdk.Access{
	"publish": sdk.AccessPublish, "subscribe": sdk.AccessSubscribe, "receive": sdk.AccessReceive, "all": allAccess,
}

// accessText names a set of actions.
func accessText(a sdk.Access) string {
	if a == allAccess {
		return "all"
	}
	var names []string
	for _, name := range []string{"publish", "subscribe", "receive"} {
		if a&accesses[name] != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
