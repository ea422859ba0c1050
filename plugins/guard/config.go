package guard

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	Logins     LoginsConfig   `json:"logins" doc:"Pauses after failed logins."`
	Flapping   FlappingConfig `json:"flapping" doc:"Bans of clients whose connections keep ending."`
	Deny       []DenyConfig   `json:"deny" doc:"Clients that are kept out, beside the broker's own bans." max:"4096"`
	Exempt     []string       `json:"exempt" doc:"Addresses and ranges whose clients are never paused or banned by this plugin." example:"10.0.0.0/8"`
	MaxEntries int            `json:"max_entries" doc:"How many addresses, users, pairs of both, and clients are remembered, of each; those that were quiet for longest are forgotten first." default:"16384" min:"256" max:"65536"`
}

// LoginsConfig is about failed logins.
type LoginsConfig struct {
	PerUser    int          `json:"per_user" doc:"Failed logins of a user before its next ones are paused; 0 is never." default:"5" min:"0" max:"10000"`
	PerAddress int          `json:"per_address" doc:"Failed logins from an address before its next ones are paused; 0 is never." default:"20" min:"0" max:"100000"`
	Pause      sdk.Duration `json:"pause" doc:"The first pause; each further failed login doubles it." default:"1s" min:"1ms" max:"24h"`
	MaxPause   sdk.Duration `json:"max_pause" doc:"The longest pause." default:"15m" min:"1ms" max:"24h"`
	Forget     sdk.Duration `json:"forget" doc:"How long after the last failed login all of them are forgotten." default:"1h" min:"1s" max:"720h"`
	KnownFor   sdk.Duration `json:"known_for" doc:"How long after a login that went well others' failures do not pause this user from this address. 0s is not at all." default:"720h" min:"0s" max:"8760h"`
	BanAfter   int          `json:"ban_after" doc:"Failed logins from an address after which it is banned; 0 is never." default:"100" min:"0" max:"1000000"`
	BanFor     sdk.Duration `json:"ban_for" doc:"How long an address is banned." default:"1h" min:"1s" max:"8760h"`
	IPv6Prefix int          `json:"ipv6_prefix" doc:"How many bits of an IPv6 address are one address: who has one has a whole network of them." default:"64" min:"16" max:"128"`
}

// FlappingConfig is about connections that end.
type FlappingConfig struct {
	Disconnects int          `json:"disconnects" doc:"How many connections of a client id may end within a time; at one more it is banned. 0 is any number." default:"15" min:"0" max:"100"`
	Within      sdk.Duration `json:"within" doc:"That time." default:"1m" min:"1s" max:"24h"`
	BanFor      sdk.Duration `json:"ban_for" doc:"How long the client id is banned." default:"5m" min:"1s" max:"8760h"`
}

// DenyConfig is whom to keep out: clients that fit all that it gives.
type DenyConfig struct {
	ClientID  string `json:"client_id" doc:"Client ids; * stands for any text." example:"bot-*"`
	Username  string `json:"username" doc:"User names; * stands for any text."`
	Address   string `json:"address" doc:"An IP address, or a range as 192.0.2.0/24."`
	Namespace string `json:"namespace" doc:"Only clients of this namespace. Absent: of all."`
	Reason    string `json:"reason" doc:"Why, for the log and for MQTT 5 clients." max:"1024"`
}

// pauses reports whether failed logins are counted at all.
func (c *LoginsConfig) pauses() bool { return c.PerUser > 0 || c.PerAddress > 0 }

// bans reports whether the plugin bans anybody.
func (c *Config) bans() bool {
	return c.Flapping.Disconnects > 0 || c.Logins.PerAddress > 0 && c.Logins.BanAfter > 0
}

// policy is a config that has been read. It is immutable.
type policy struct {
	Config
	rules  []rule
	exempt []netip.Prefix
}

// newPolicy checks a config. Errors are problems with pointers.
func newPolicy(c *Config) (*policy, error) {
	p := &policy{Config: *c}
	var problems []error
	problem := func(at, message string) { problems = append(problems, sdk.NewProblem(at, message)) }
	for i, s := range c.Exempt {
		r, why := parseRange(s)
		if why != "" {
			problem("/exempt/"+strconv.Itoa(i), why)
		}
		p.exempt = append(p.exempt, r)
	}
	for i := range c.Deny {
		at := "/deny/" + strconv.Itoa(i)
		r, key, why := newRule(&c.Deny[i])
		if why != "" {
			problem(at+key, why)
		}
		p.rules = append(p.rules, r)
	}
	l := &c.Logins
	if l.Pause > l.MaxPause {
		problem("/logins/pause", "it is longer than max_pause, "+l.MaxPause.Std().String())
	}
	if l.Forget < l.MaxPause {
		problem("/logins/forget", "it must not be shorter than max_pause, "+l.MaxPause.Std().String()+": a pause would end before its time")
	}
	if l.PerAddress > 0 && l.BanAfter > 0 && l.BanAfter < l.PerAddress {
		problem("/logins/ban_after", "it is less than per_address, "+strconv.Itoa(l.PerAddress)+": an address would be banned before it is paused")
	}
	return p, sdk.Problems(problems...)
}

// parseRange reads an address or a range, or says what is wrong with it.
func parseRange(s string) (p netip.Prefix, why string) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return p, strconv.Quote(s) + " is neither an IP address nor a range as 192.0.2.0/24"
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), ""
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, strconv.Quote(s) + " is neither an IP address nor a range as 192.0.2.0/24"
	case p != p.Masked():
		return netip.Prefix{}, strconv.Quote(s) + ": the range begins at " + p.Masked().String()
	case p.Addr().Is4In6() && p.Bits() >= 96:
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, ""
}
