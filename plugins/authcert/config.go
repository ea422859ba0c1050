package authcert

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	Identities    []IdentityConfig    `json:"identities" doc:"Who the holders of certificates are: the first that fits counts. Absent: the user name is the Common Name." max:"4096"`
	Certificates  []CertificateConfig `json:"certificates" doc:"Single certificates, which count before identities." max:"16384"`
	File          string              `json:"file" doc:"A file of lines FINGERPRINT USERNAME, more certificates." example:"/etc/patchbay/certificates.txt"`
	Poll          sdk.Duration        `json:"poll" doc:"How often to look whether the file has changed; a change is taken at the second look. 0s is never." default:"1s" min:"0s"`
	Unmatched     string              `json:"unmatched" doc:"What becomes of a client whose certificate fits nothing: deny, or continue with the next plugin." default:"deny" enum:"deny,continue"`
	Namespace     string              `json:"namespace" doc:"The namespace of clients for whom nothing else says one. Absent: that of the listener."`
	ClientIDs     []string            `json:"client_ids" doc:"Client ids that may be used; * stands for any text, %u for the user name. Absent: all." example:"%u,%u-*" min:"1"`
	CloseAtExpiry bool                `json:"close_at_expiry" doc:"Close connections with 0x87 (Not authorized) when their certificate expires." default:"true"`
	Disconnect    bool                `json:"disconnect" doc:"Close connections of clients that a change of the file or config refuses, or makes somebody else. Needs the grants clients and disconnect." default:"true"`
}

// IdentityConfig says who the holders of some certificates are.
type IdentityConfig struct {
	Match      map[string]string `json:"match" doc:"Patterns by field (cn, o, ou, dns, email, uri, ip, serial, issuer, sha256), which must all fit; ${NAME} takes a part. Absent: all certificates."`
	Username   string            `json:"username" doc:"The user name; here and below ${FIELD} and ${NAME} stand for what the certificate has." default:"${cn}"`
	ClientID   string            `json:"client_id" doc:"The Client Identifier. Clients that ask for none are given it, others must have it."`
	Namespace  string            `json:"namespace" doc:"The namespace." example:"${tenant}"`
	Groups     []string          `json:"groups" doc:"Groups, for plugin acl; ${FIELD} alone stands for all values of a field." example:"${ou}"`
	Attributes map[string]string `json:"attributes" doc:"Attributes of the client that other plugins see."`
	ClientIDs  []string          `json:"client_ids" doc:"As client_ids above, for these." min:"1"`
}

// CertificateConfig says who the holder of one certificate is.
type CertificateConfig struct {
	SHA256    string   `json:"sha256" required:"true" doc:"The fingerprint: the SHA-256 of the certificate in DER, as openssl x509 -noout -fingerprint -sha256 writes it."`
	Username  string   `json:"username" doc:"The user name. Needed unless deny."`
	ClientID  string   `json:"client_id" doc:"The Client Identifier. Clients that ask for none are given it, others must have it."`
	Namespace string   `json:"namespace" doc:"The namespace."`
	Groups    []string `json:"groups" doc:"Groups, for plugin acl."`
	ClientIDs []string `json:"client_ids" doc:"As client_ids above, for this one." min:"1"`
	Deny      bool     `json:"deny" doc:"Refuse it."`
}

// policy is what a config says. It is immutable.
type policy struct {
	identities        []identity
	pins              map[fingerprint]*pin // of the config and the file
	leave             bool                 // unmatched clients are left to the next plugin
	namespace         string
	clientIDs         []string
	close, disconnect bool
	needsDER          bool
	file              string
}

// identity is an IdentityConfig that was checked.
type identity struct {
	match                         []matcher
	username, clientID, namespace *text // nil: none
	groups                        []*text
	attributes                    []attribute
	clientIDs                     []string
}

type matcher struct {
	field   string
	pattern *text
}

type attribute struct {
	name  string
	value *text
}

// groupsAttribute is where plugins that give permissions look for groups, with commas
// between them.
const groupsAttribute = "groups"

// newPolicy checks a config. Errors are problems with pointers.
func newPolicy(c *Config) (*policy, error) {
	p := &policy{
		pins: map[fingerprint]*pin{}, leave: c.Unmatched == "continue", namespace: c.Namespace, clientIDs: c.ClientIDs,
		close: c.CloseAtExpiry, disconnect: c.Disconnect, file: c.File,
	}
	k := &checker{needsDER: &p.needsDER}
	if c.Identities == nil {
		c.Identities = []IdentityConfig{{Username: "${cn}"}}
	}
	for i := range c.Identities {
		p.identities = append(p.identities, k.identity(&c.Identities[i], "/identities/"+strconv.Itoa(i)))
	}
	for i := range c.Certificates {
		in, at := &c.Certificates[i], "/certificates/"+strconv.Itoa(i)
		f, err := parseFingerprint(in.SHA256)
		if err != nil {
			k.problem(at+"/sha256", "%v", err)
			continue
		}
		out := &pin{
			username: in.Username, clientID: in.ClientID, namespace: in.Namespace, groups: in.Groups, clientIDs: in.ClientIDs,
			deny: in.Deny, where: at,
		}
		if why := out.fault(); why != "" {
			k.problem(at, "%s", why)
		} else if err := p.pin(f, out); err != nil {
			k.problem(at+"/sha256", "%v", err)
		}
	}
	return p, sdk.Problems(k.problems...)
}

// checker gathers what is wrong with a config.
type checker struct {
	problems []error
	needsDER *bool
}

func (k *checker) problem(at, format string, args ...any) {
	k.problems = append(k.problems, sdk.NewProblem(at, fmt.Sprintf(format, args...)))
}

func (k *checker) uses(field string) { *k.needsDER = *k.needsDER || inDER[field] }

func (k *checker) identity(c *IdentityConfig, at string) identity {
	out := identity{clientIDs: c.ClientIDs}
	taken := map[string]bool{}
	for _, field := range slices.Sorted(maps.Keys(c.Match)) {
		pattern, err := parseText(c.Match[field])
		if err == nil {
			err = pattern.checkPattern()
		}
		switch {
		case !slices.Contains(fields, field):
			k.problem(at+"/match", "%q is no field of certificates; there are %s", field, strings.Join(fields, ", "))
			continue
		case err != nil:
			k.problem(at+"/match/"+field, "%v", err)
			continue
		}
		k.uses(field)
		for _, name := range pattern.placeholders() {
			if taken[name] {
				k.problem(at+"/match/"+field, "${%s} is taken from another field already", name)
			}
			taken[name] = true
		}
		out.match = append(out.match, matcher{field, pattern})
	}
	template := func(at, s string) *text {
		if s == "" {
			return nil
		}
		t, err := parseText(s)
		if err != nil {
			k.problem(at, "%v", err)
			return nil
		}
		for _, name := range t.placeholders() {
			if k.uses(name); !taken[name] && !slices.Contains(fields, name) {
				k.problem(at, "${%s} is neither a field of certificates nor taken by match", name)
			}
		}
		return t
	}
	out.username, out.clientID = template(at+"/username", c.Username), template(at+"/client_id", c.ClientID)
	out.namespace = template(at+"/namespace", c.Namespace)
	if c.Username == "" {
		k.problem(at+"/username", "it is empty")
	}
	for i, s := range c.Groups {
		out.groups = append(out.groups, template(at+"/groups/"+strconv.Itoa(i), s))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Attributes)) {
		if name == "" || name == groupsAttribute {
			k.problem(at+"/attributes", "%q is not a name that an attribute can have here", name)
		}
		out.attributes = append(out.attributes, attribute{name, template(at+"/attributes", c.Attributes[name])})
	}
	return out
}
