package bridgekafka

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// problems collects what is wrong with a config.
type problems []error

func (p *problems) add(at, format string, args ...any) {
	*p = append(*p, sdk.NewProblem(at, fmt.Sprintf(format, args...)))
}

// check says what is wrong with a config, as problems with pointers.
func (c *Config) check(h *sdk.Host) error {
	var p problems
	if len(c.Routes)+len(c.From) == 0 {
		p.add("/routes", "there is nothing to do: routes says what goes to Kafka, from what comes from there")
	}
	var names []string
	for i := range c.Routes {
		r, at := &c.Routes[i], "/routes/"+strconv.Itoa(i)
		names = append(names, r.Name)
		p = append(p, r.Check(at)...)
		r.check(at, &p)
	}
	p = append(p, bridge.CheckNames("/routes", names)...)
	own := map[string]bool{}
	for _, name := range names {
		own[name] = true
	}
	names = nil
	for i := range c.From {
		s, at := &c.From[i], "/from/"+strconv.Itoa(i)
		names = append(names, s.Name)
		if own[s.Name] {
			p.add(at+"/name", "one of routes has the name %q already", s.Name)
		}
		s.check(at, &p)
		if h.Granted("publish") == nil {
			p.add(at, "what comes is published, for which the plugin needs the grant publish, as grants: [{publish: [\"kafka/#\"]}]")
		}
	}
	p = append(p, bridge.CheckNames("/from", names)...)
	c.Remote.check(&p)
	c.Loops.check(c, h, &p)
	return sdk.Problems(p...)
}

func (r *Remote) check(p *problems) {
	for i, s := range r.Brokers {
		if _, err := address(s); err != nil {
			p.add("/remote/brokers/"+strconv.Itoa(i), "%v", err)
		}
	}
	if r.SASL.Mechanism == "none" && (r.SASL.Username != "" || r.SASL.Password.Reveal() != "") {
		p.add("/remote/sasl/mechanism", "a user name and a password are for plain, scram-sha-256 or scram-sha-512")
	}
	if r.SASL.Mechanism != "none" && r.SASL.Username == "" {
		p.add("/remote/sasl/username", "%s needs a user name", r.SASL.Mechanism)
	}
	if _, err := r.TLS.config(); err != nil {
		*p = append(*p, err)
	}
}

func (l *Loops) check(c *Config, h *sdk.Host, p *problems) {
	for at, name := range map[string]string{"/remote/name": c.Remote.Name, "/loops/node": l.Node} {
		if strings.ContainsAny(name, ", ") {
			p.add(at, "a name has neither commas nor blanks")
		}
	}
	if l.Off {
		return
	}
	switch node := c.node(h); node {
	case "":
		p.add("/loops/node", "this broker has no node name: give it one here")
	case c.Remote.Name:
		p.add("/remote/name", "%q is the name of this broker itself; see loops.node", node)
	}
}

// check says what is wrong with what Route.Check does not know.
func (r *Route) check(at string, p *problems) {
	if topic, ok := r.Topic.Constant(); ok {
		if err := checkTopic(topic); err != nil {
			p.add(at+"/topic", "%v", err)
		}
	}
	if n, ok := r.Partition.Constant(); ok && n != "" {
		if _, err := partition(n); err != nil {
			p.add(at+"/partition", "%v", err)
		}
	}
	for name := range r.Headers {
		if name == "" || strings.HasPrefix(name, reserved) {
			p.add(at+"/headers", "the header %q: a name is not empty, and those that begin with %q are the bridge's own", name, reserved)
		}
	}
	if !r.Value.Empty() && r.Tombstones {
		p.add(at+"/tombstones", "value takes the place of the payload: there are no empty ones")
	}
}

func (s *Source) check(at string, p *problems) {
	if strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		p.add(at+"/name", "%q has characters other than a-z, 0-9 and \"-\"", s.Name)
	}
	if (len(s.Topics) == 0) == (s.Pattern == "") {
		p.add(at+"/topics", "either topics, as [\"plant.events\"], or a pattern")
	}
	for i, t := range s.Topics {
		if err := checkTopic(t); err != nil {
			p.add(at+"/topics/"+strconv.Itoa(i), "%v", err)
		}
	}
	if _, err := regexp.Compile(s.Pattern); err != nil {
		p.add(at+"/pattern", "%v", err)
	}
	if topic, ok := s.Topic.Constant(); ok {
		if err := bridge.CheckTopic(topic); err != nil {
			p.add(at+"/topic", "%v", err)
		}
	}
	if s.RetryMax < s.RetryMin {
		p.add(at+"/retry_max", "it is shorter than retry_min, %s", s.RetryMin.Std())
	}
}

// maxTopic is how long the name of a Kafka topic may be: it is that of a folder there.
const maxTopic = 249

// checkTopic says what is wrong with the name of a Kafka topic.
func checkTopic(t string) error {
	switch {
	case t == "":
		return errors.New("a Kafka topic has a name")
	case len(t) > maxTopic:
		return fmt.Errorf("%.20q…: the name of a Kafka topic has %d characters at most", t, maxTopic)
	case t == "." || t == "..":
		return fmt.Errorf("%q is no name of a Kafka topic", t)
	}
	for i := range len(t) {
		if c := t[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Errorf("%q: the name of a Kafka topic has letters, digits, \".\", \"_\" and \"-\"; |replace:\"/\":\".\" takes slashes out", t)
		}
	}
	return nil
}

// address is HOST:PORT of what the config gives.
func address(s string) (string, error) {
	if strings.Contains(s, "@") { // what is before it may be secret
		return "", errors.New("a broker is HOST:PORT; user name and password have keys of their own, in sasl")
	}
	if strings.Contains(s, "://") {
		return "", fmt.Errorf("%q: a broker is HOST:PORT, without a scheme", s)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), "9092"
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", fmt.Errorf("%q: a broker is HOST:PORT", s)
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, "/ ") {
		return "", fmt.Errorf("%q: a broker is HOST:PORT, as kafka-1:9092", s)
	}
	return net.JoinHostPort(host, port), nil
}

// node is the name of this broker in paths.
func (c *Config) node(h *sdk.Host) string {
	if c.Loops.Node != "" {
		return c.Loops.Node
	}
	return strings.NewReplacer(",", "-", " ", "-").Replace(h.Info().Node)
}
