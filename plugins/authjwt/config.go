package authjwt

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/permission"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	Keys             []KeyConfig       `json:"keys" doc:"Keys to verify tokens with." max:"256"`
	JWKSFile         string            `json:"jwks_file" doc:"A file with a JWK Set, or with public keys or certificates in PEM." example:"/etc/patchbay/jwks.json"`
	JWKSURL          string            `json:"jwks_url" doc:"Where the issuer serves its JWK Set. Needs the grant http with its origin." example:"https://id.example.com/.well-known/jwks.json"`
	Refresh          sdk.Duration      `json:"refresh" doc:"How often to fetch jwks_url anew; more often if its Cache-Control says so." default:"15m" min:"1s"`
	RefetchPause     sdk.Duration      `json:"refetch_pause" doc:"A token with an unknown key has jwks_url fetched at once, but no more often than this." default:"10s" min:"100ms"`
	FetchTimeout     sdk.Duration      `json:"fetch_timeout" doc:"How long fetching jwks_url may take." default:"5s" min:"100ms" max:"10s"`
	MaxStale         sdk.Duration      `json:"max_stale" doc:"How old keys of jwks_url may become while it cannot be fetched. With the grant kv they outlive restarts." default:"24h" min:"1m"`
	Poll             sdk.Duration      `json:"poll" doc:"How often to look whether jwks_file has changed; a change is taken at the second look. 0s is never." default:"1s" min:"0s"`
	Algorithms       []string          `json:"algorithms" doc:"Algorithms that are accepted. Absent: all that a key is for." enum:"HS256,HS384,HS512,RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519" min:"1"`
	From             []string          `json:"from" doc:"Where clients put the token: password, username, or method for the Authentication Data of MQTT 5. Absent: password and method." enum:"password,username,method" min:"1"`
	Methods          []string          `json:"methods" doc:"Authentication Methods of MQTT 5 that bring a token. Absent: JWT and OAUTH2-JWT." min:"1"`
	Issuers          []string          `json:"issuers" doc:"What iss has to be, one of these. Tokens of others are left to the next plugin. Absent: not looked at." min:"1"`
	Audiences        []string          `json:"audiences" doc:"What aud has to be or contain, one of these. Absent: not looked at." min:"1"`
	Leeway           sdk.Duration      `json:"leeway" doc:"By how much clocks may differ." default:"30s" min:"0s" max:"10m"`
	RequireExpiry    bool              `json:"require_expiry" doc:"Refuse tokens without exp." default:"true"`
	MaxAge           sdk.Duration      `json:"max_age" doc:"How old tokens may be by their iat, which they must have then. 0s is without limit." default:"0s" min:"0s"`
	Verify           map[string]string `json:"verify" doc:"Claims with what they have to be or contain; ${client_id} and ${username} stand for what the client gives."`
	Claims           ClaimsConfig      `json:"claims" doc:"What claims mean. A claim is named as it is, or by a JSON Pointer that begins with /."`
	ReplaceClientID  bool              `json:"replace_client_id" doc:"Give clients the id of claims.client_id whatever they ask for, instead of refusing those that ask for another."`
	ClientIDs        []string          `json:"client_ids" doc:"Client ids that may be used; * stands for any text, %u for the user name. Absent: all." example:"%u,%u-*" min:"1"`
	DefaultNamespace string            `json:"default_namespace" doc:"The namespace of clients whose token names none. Absent: that of the listener, but with claims.namespace they are refused."`
	CloseAtExpiry    bool              `json:"close_at_expiry" doc:"Close connections with 0x87 (Not authorized) when their token expires, unless the client has authenticated again." default:"true"`
	Ask              *AskConfig        `json:"ask" doc:"Ask clients that have come with an Authentication Method to authenticate again before their token expires. Needs the grant publish."`
}

// KeyConfig is a key of the config.
type KeyConfig struct {
	ID        string     `json:"kid" doc:"Which tokens it is for, by their kid. Absent: all."`
	Algorithm string     `json:"algorithm" doc:"The algorithm that it is for. Absent: all of its kind." enum:"HS256,HS384,HS512,RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519"`
	Secret    sdk.Secret `json:"secret" doc:"The shared secret of HS256, HS384 or HS512; or else pem."`
	Encoding  string     `json:"encoding" doc:"How secret is written." default:"text" enum:"text,base64,base64url,hex"`
	PEM       string     `json:"pem" doc:"A public key or a certificate in PEM; or else secret." example:"${file:/etc/patchbay/issuer.pem}"`
}

// ClaimsConfig names claims.
type ClaimsConfig struct {
	Username    string            `json:"username" doc:"The user name. Empty: what the client gives, for which verify should have a claim." default:"sub"`
	ClientID    string            `json:"client_id" doc:"The Client Identifier, or a list of those that may be used. Clients that ask for none are given the first."`
	Namespace   string            `json:"namespace" doc:"The namespace." example:"tenant"`
	Groups      []string          `json:"groups" doc:"Groups, as lists or as texts with blanks between them; for plugin acl." example:"/realm_access/roles" min:"1"`
	Permissions string            `json:"permissions" doc:"What the client may do, and nothing else; see the README." example:"acl"`
	Attributes  map[string]string `json:"attributes" doc:"Attributes of the client that other plugins see, each with its claim."`
}

// AskConfig says how clients are asked to authenticate again.
type AskConfig struct {
	Before sdk.Duration `json:"before" doc:"How long before the token expires." default:"1m" min:"1s"`
	Topic  string       `json:"topic" required:"true" doc:"The topic that the client is told at; ${client_id} and ${username} are the client's." example:"auth/${client_id}/expires"`
}

// policy is what a config says but for keys of a file or URL. It is immutable.
type policy struct {
	keys                    []*key
	algorithms              []string // nil: all
	password, username      bool     // where a token may be
	methods                 []string
	issuers, audiences      []string
	leeway, maxAge          time.Duration
	requireExpiry           bool
	verify                  []check
	name, id, space, grants claim
	groups                  []claim
	attributes              []attribute
	replaceID, close        bool
	clientIDs               []string
	defaultSpace            string
	ask                     *AskConfig
}

// check holds a claim against a text with placeholders.
type check struct {
	claim claim
	want  string
}

type attribute struct {
	name  string
	claim claim
}

// groupsAttribute is where plugins that give permissions look for groups, with commas
// between them.
const groupsAttribute = "groups"

// newPolicy checks a config. Errors are problems with pointers.
func newPolicy(c *Config) (*policy, error) {
	p := &policy{
		algorithms: c.Algorithms, methods: c.Methods, issuers: c.Issuers, audiences: c.Audiences, leeway: c.Leeway.Std(),
		maxAge: c.MaxAge.Std(), requireExpiry: c.RequireExpiry, replaceID: c.ReplaceClientID, close: c.CloseAtExpiry,
		clientIDs: c.ClientIDs, defaultSpace: c.DefaultNamespace, ask: c.Ask,
	}
	var problems []error
	problem := func(at string, format string, args ...any) {
		problems = append(problems, sdk.NewProblem(at, fmt.Sprintf(format, args...)))
	}
	named := func(at, name string) claim {
		out, err := parseClaim(name)
		if err != nil {
			problem(at, "%v", err)
		}
		return out
	}
	if c.From == nil {
		c.From = []string{"password", "method"}
	}
	p.password, p.username = slices.Contains(c.From, "password"), slices.Contains(c.From, "username")
	switch {
	case !slices.Contains(c.From, "method"):
		p.methods = nil
	case c.Methods == nil:
		p.methods = []string{"JWT", "OAUTH2-JWT"}
	}
	p.name, p.id = named("/claims/username", c.Claims.Username), named("/claims/client_id", c.Claims.ClientID)
	p.space, p.grants = named("/claims/namespace", c.Claims.Namespace), named("/claims/permissions", c.Claims.Permissions)
	for i, name := range c.Claims.Groups {
		p.groups = append(p.groups, named("/claims/groups/"+strconv.Itoa(i), name))
	}
	for _, name := range sortedKeys(c.Claims.Attributes) {
		if name == "" || name == groupsAttribute {
			problem("/claims/attributes", "%q is not a name that an attribute can have here", name)
		}
		p.attributes = append(p.attributes, attribute{name, named("/claims/attributes", c.Claims.Attributes[name])})
	}
	for _, name := range sortedKeys(c.Verify) {
		if err := permission.CheckPlaceholders(c.Verify[name]); err != nil {
			problem("/verify", "%q: %v", name, err)
		}
		p.verify = append(p.verify, check{named("/verify", name), c.Verify[name]})
	}
	if p.username && p.name == nil {
		problem("/claims/username", "with the token in the user name, a claim has to say the name")
	}
	if c.ReplaceClientID && p.id == nil {
		problem("/replace_client_id", "claims.client_id has to say which claim has the id")
	}
	if a := c.Ask; a != nil {
		if err := permission.CheckPlaceholders(a.Topic); err != nil {
			problem("/ask/topic", "%v", err)
		} else if why := badTopic(a.Topic); why != "" {
			problem("/ask/topic", "%s", why)
		}
		if p.methods == nil {
			problem("/ask", "only clients with an Authentication Method can authenticate again, and from does not have method")
		}
	}
	if why := badURL(c.JWKSURL); why != "" {
		problem("/jwks_url", "%s", why)
	}
	if len(c.Keys) == 0 && c.JWKSFile == "" && c.JWKSURL == "" {
		problem("", "tokens are verified with keys: give keys, jwks_file or jwks_url")
	}
	for i := range c.Keys {
		at := "/keys/" + strconv.Itoa(i)
		keys, pointer, err := c.Keys[i].read()
		if err != nil {
			problem(at+pointer, "%v", err)
		}
		p.keys = append(p.keys, keys...)
	}
	return p, sdk.Problems(problems...)
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func badURL(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return `it has to be a URL as "https://id.example.com/.well-known/jwks.json"`
	}
	if u.User != nil {
		return "name and password do not belong into a URL"
	}
	return ""
}

func badTopic(s string) string {
	if s == "" || len(s) > 1024 || strings.ContainsAny(s, "+#\x00") || s[0] == '$' && !strings.HasPrefix(s, "${") {
		return "a Topic Name has no wildcards and does not begin with $"
	}
	return ""
}
