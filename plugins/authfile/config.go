package authfile

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/plugins/internal/glob"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/password"
)

// Config of the plugin.
type Config struct {
	File           string              `json:"file" doc:"A file of lines user:hash, of patchbay passwd or Mosquitto." example:"users.txt"`
	Users          []UserConfig        `json:"users" doc:"Users beside those of the file." max:"16384"`
	Groups         map[string][]string `json:"groups" doc:"Groups with the names of their users; * stands for any text."`
	Namespace      string              `json:"namespace" doc:"The namespace of users that have none of their own. Absent: that of the listener."`
	ClientIDs      []string            `json:"client_ids" doc:"Client ids that users may have; * stands for any text, %u for the user name. Absent: all." example:"%u,%u-*" min:"1"`
	AllowAnonymous bool                `json:"allow_anonymous" doc:"Let clients in that give no user name. Else the next plugin decides about them."`
	Poll           sdk.Duration        `json:"poll" doc:"How often to look whether the file has changed; a change is taken at the second look. 0s is never." default:"1s" min:"0s"`
	Disconnect     bool                `json:"disconnect" doc:"Close connections of users that a change of the file or config removes, or gives another password. Needs the grants clients and disconnect." default:"true"`
	Remember       sdk.Duration        `json:"remember" doc:"How long a password that was right is known to be, without looking again. 0s is not at all." default:"5m" min:"0s" max:"24h"`
	Parallel       int                 `json:"parallel" doc:"How many passwords are verified at once. 0 stands for all cores but one." min:"0" max:"1024"`
	MaxMemory      sdk.Size            `json:"max_memory" doc:"Memory for verifying; argon2id takes 19 MiB for each." default:"256MiB" min:"1MiB"`
	MaxQueue       int                 `json:"max_queue" doc:"How many logins wait for their turn; more are refused with Server busy." default:"1000" min:"1" max:"4000"`
}

// UserConfig is a user of the config.
type UserConfig struct {
	Name      string     `json:"name" required:"true" doc:"The user name." min:"1"`
	Hash      sdk.Secret `json:"hash" required:"true" doc:"The hash, as patchbay passwd writes it behind the colon."`
	Groups    []string   `json:"groups" doc:"Groups that the user is in."`
	Namespace string     `json:"namespace" doc:"The namespace that the user's clients are put into."`
	ClientIDs []string   `json:"client_ids" doc:"As client_ids above, for this user." min:"1"`
}

// policy is what a config says but for the users. It is immutable.
type policy struct {
	namespace string
	clientIDs []string // nil: all
	groups    []group  // sorted by name
	anonymous bool
	inline    []*user
}

type group struct {
	name  string
	users []string // patterns
}

// user is who may log in. It is immutable.
type user struct {
	name, hash string
	groups     []string // of the user's own
	namespace  string
	clientIDs  []string // nil: those of the policy
	where      string   // for messages
}

// newPolicy checks a config. Errors are problems with pointers.
func newPolicy(c *Config) (*policy, error) {
	p := &policy{namespace: c.Namespace, clientIDs: c.ClientIDs, anonymous: c.AllowAnonymous}
	var problems []error
	problem := func(at, message string) { problems = append(problems, sdk.NewProblem(at, message)) }
	for name, users := range c.Groups {
		if why := badGroup(name); why != "" {
			problem("/groups", strconv.Quote(name)+": "+why)
		}
		p.groups = append(p.groups, group{name, users})
	}
	slices.SortFunc(p.groups, func(a, b group) int { return strings.Compare(a.name, b.name) })
	for i := range c.Users {
		in, at := &c.Users[i], "/users/"+strconv.Itoa(i)
		if why := badUser(in.Name); why != "" {
			problem(at+"/name", why)
		}
		if err := password.Check(in.Hash.Reveal()); err != nil {
			problem(at+"/hash", err.Error())
		}
		for _, g := range in.Groups {
			if why := badGroup(g); why != "" {
				problem(at+"/groups", strconv.Quote(g)+": "+why)
			}
		}
		p.inline = append(p.inline, &user{in.Name, in.Hash.Reveal(), in.Groups, in.Namespace, in.ClientIDs, at})
	}
	return p, sdk.Problems(problems...)
}

// badUser says why a user name cannot be, "" if it can.
func badUser(name string) string {
	switch {
	case name == "":
		return "the user name is empty"
	case len(name) > 65535:
		return "the user name is longer than 65,535 bytes, which MQTT cannot carry"
	case !utf8.ValidString(name) || strings.Contains(name, "\x00"):
		return "the user name is not UTF-8 without U+0000"
	}
	return ""
}

// badGroup says why a name cannot be that of a group, "" if it can: groups are told as a
// list with commas.
func badGroup(name string) string {
	if name == "" || strings.TrimSpace(name) != name || strings.ContainsAny(name, ",\x00") || !utf8.ValidString(name) {
		return "a group has a name without commas, and without blanks at its ends"
	}
	return ""
}

// groupsOf lists the groups of a user.
func (p *policy) groupsOf(u *user) []string {
	out := u.groups
	for i := range p.groups {
		if g := &p.groups[i]; !slices.Contains(out, g.name) && glob.Any(g.users, u.name) {
			out = append(slices.Clip(out), g.name)
		}
	}
	return out
}

// mayHave reports whether a user's client may have an id. A name with a "*" in it would
// stand for others' ids where a pattern has it, so then the pattern does not fit.
func (p *policy) mayHave(u *user, clientID string) bool {
	patterns := u.clientIDs
	if patterns == nil {
		patterns = p.clientIDs
	}
	if patterns == nil {
		return true
	}
	for _, s := range patterns {
		if strings.Contains(s, "%u") {
			if strings.Contains(u.name, "*") {
				continue
			}
			s = strings.ReplaceAll(s, "%u", u.name)
		}
		if glob.Match(s, clientID) {
			return true
		}
	}
	return false
}
