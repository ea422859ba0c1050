package bridgewebhook

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/plugins/internal/template"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	Routes         []Route      `json:"routes" required:"true" doc:"What goes where." min:"1" max:"200"`
	Timeout        sdk.Duration `json:"timeout" doc:"How long a request may take, its response included." default:"10s" min:"100ms" max:"50s"`
	ConnectTimeout sdk.Duration `json:"connect_timeout" doc:"How long a connection may take to be made, TLS apart." default:"5s" min:"10ms" max:"50s"`
	MaxConnections int          `json:"max_connections" doc:"Connections to one server." default:"64" min:"1" max:"1000"`
	AllowPrivate   []network    `json:"allow_private" doc:"Networks and addresses to which requests may go although they are not public: private, this machine's own, link-local and reserved ones." example:"10.20.0.0/16,127.0.0.1"`
	MaxRedirects   int          `json:"max_redirects" doc:"How many redirects (307 and 308) are followed. To another server only the signature and Content-Type go along." default:"0" min:"0" max:"10"`
	UserAgent      string       `json:"user_agent" doc:"User-Agent of the requests." default:"patchbay" max:"256"`
	TLS            TLS          `json:"tls" doc:"TLS of https URLs."`
}

// TLS of the connections.
type TLS struct {
	CAFile             string `json:"ca_file" doc:"PEM file of authorities that the server's certificate must lead to. Absent: the system's."`
	CertFile           string `json:"cert_file" doc:"PEM file of the bridge's own certificate, with cert_key_file. Read again for each connection, so that it may be renewed."`
	KeyFile            string `json:"cert_key_file" doc:"PEM file of its key."`
	ServerName         string `json:"server_name" doc:"Name that the server's certificate must have. Absent: that of the URL."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify" doc:"Take any certificate. Whoever is on the way can read and change everything."`
}

// Route is where messages go, and as what.
type Route struct {
	bridge.Route
	URL        template.URL             `json:"url" required:"true" doc:"URL, with templates behind its host." example:"https://api.example.com/plants/${topic[2]}/orders"`
	Method     string                   `json:"method" doc:"Method of the requests." enum:"POST,PUT,PATCH,DELETE" default:"POST"`
	Headers    map[string]template.Text `json:"headers" doc:"Headers, as templates." max:"64"`
	Body       template.JSON            `json:"body" doc:"Body of a message, as a template of JSON. Absent: the payload; in batches an object with the message's properties and payload." example:"{\"device\":${topic[-1]},\"t\":${payload.temp}}"`
	Text       template.Text            `json:"text" doc:"In place of body: a template of any text. Not in batches."`
	Batch      string                   `json:"batch" doc:"none: one message in a request. array: many, in a JSON array. lines: many, each in a line of its own." enum:"none,array,lines" default:"none"`
	Key        template.Text            `json:"key" doc:"With parallel: messages with the same text are kept in order." default:"${topic}"`
	Parallel   int                      `json:"parallel" doc:"How many requests may be under way at once. With 1 all messages of the route are in order." default:"1" min:"1" max:"64"`
	Statuses   map[string]string        `json:"statuses" doc:"What a response means, by status (\"409\") or class (\"5xx\"): done, wait, retry, give_up." example:"{\"409\":\"done\"}" max:"64"`
	RetryAfter sdk.Duration             `json:"retry_after_max" doc:"The longest pause that a Retry-After of the server can ask for." default:"5m" min:"0s" max:"24h"`
	Sign       *Sign                    `json:"sign" doc:"Sign requests. Absent: they are not signed."`
}

// Sign says how requests are signed.
type Sign struct {
	Secrets []sdk.Secret `json:"secrets" required:"true" doc:"Shared secrets. With several, there is a signature by each: for changing them without a gap." min:"1" max:"3"`
	Header  string       `json:"header" doc:"Header with time and signature." default:"Patchbay-Signature" max:"128"`
}

// minSecret is the shortest secret that is taken, in bytes: what is shorter can be guessed.
const minSecret = 16

// problems collects what is wrong.
type problems struct{ list []error }

func (p *problems) add(at, format string, args ...any) {
	p.list = append(p.list, sdk.NewProblem(at, fmt.Sprintf(format, args...)))
}

// check says what is wrong with a config, as problems with pointers.
func (c *Config) check() error {
	var p problems
	var names []string
	for i := range c.Routes {
		r := &c.Routes[i]
		names = append(names, r.Name)
		at := "/routes/" + strconv.Itoa(i)
		p.list = append(p.list, r.Route.Check(at)...)
		r.check(at, c, &p)
	}
	p.list = append(p.list, bridge.CheckNames("/routes", names)...)
	if !validHeaderValue(c.UserAgent) {
		p.add("/user_agent", "it has characters that a header cannot have")
	}
	c.TLS.check(&p)
	return sdk.Problems(p.list...)
}

func (r *Route) check(at string, c *Config, p *problems) {
	r.checkURL(at+"/url", c, p)
	for name, t := range r.Headers {
		checkHeader(at+"/headers", name, &t.Template, p)
	}
	if !r.Text.Empty() && !r.Body.Empty() {
		p.add(at+"/text", "it is in place of body: one of the two")
	}
	if r.Batch != batchNone && !r.Text.Empty() {
		p.add(at+"/text", "a batch is made of JSON: use body")
	}
	for key, action := range r.Statuses {
		if !validStatus(key) {
			p.add(at+"/statuses", "%q is neither a status as 409 nor a class as 5xx", key)
		}
		if _, ok := actions[action]; !ok {
			p.add(at+"/statuses", "%s: %q is none of done, wait, retry, give_up", key, action)
		}
	}
	if r.Sign == nil {
		return
	}
	checkHeader(at+"/sign/header", r.Sign.Header, nil, p)
	for i, s := range r.Sign.Secrets {
		if n := len(s.Reveal()); n < minSecret {
			p.add(at+"/sign/secrets/"+strconv.Itoa(i), "it has %d bytes, and should have at least %d random ones", n, minSecret)
		}
	}
}

// checkURL demands that scheme, host and port stand there as text: whoever can choose a
// topic must not choose the server.
func (r *Route) checkURL(at string, c *Config, p *problems) {
	fixed, _, _ := strings.Cut(r.URL.String(), "${")
	scheme, rest, ok := strings.Cut(fixed, "://")
	if scheme != "http" && scheme != "https" || !ok {
		p.add(at, "a URL begins with https:// or http://")
		return
	}
	if !strings.ContainsAny(rest, "/?#") && fixed != r.URL.String() {
		p.add(at, "templates can stand behind the host only, as in https://example.com/${topic}")
		return
	}
	u, err := url.Parse(fixed)
	switch {
	case err != nil:
		p.add(at, "it is no URL") // the error may have a password in it
	case u.User != nil:
		p.add(at, "user and password belong into headers, as Authorization: \"Basic …\"")
	case u.Hostname() == "":
		p.add(at, "the host is missing")
	case strings.Contains(r.URL.String(), "#"):
		p.add(at, "a fragment (#…) is never sent")
	default:
		if why := c.forbidden(u.Hostname()); why != "" {
			p.add(at, "%s", why)
		}
	}
}

// forbidden says why no request can ever go to a host, "" if that has to be seen.
func (c *Config) forbidden(host string) string {
	list := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	if host != "localhost" {
		a, err := netip.ParseAddr(host)
		if err != nil {
			return ""
		}
		list = []netip.Addr{a}
	}
	var err error
	for _, a := range list {
		if err = c.checkAddress(a); err == nil {
			return ""
		}
	}
	return err.Error()
}
