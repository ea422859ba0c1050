package mosquittoconf

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
)

var notInNames = regexp.MustCompile(`[^a-z0-9-]+`)

// slug makes a name for an entry of plugins or for a route.
func slug(s string) string {
	s = strings.Trim(notInNames.ReplaceAllString(strings.ToLower(s), "-"), "-")
	if s == "" {
		return "x"
	}
	return s[:min(len(s), 40)]
}

// bridgeNotes are keys of bridges that there is nothing for.
var bridgeNotes = []struct {
	key     string
	outcome outcome
	text    string
}{
	{"bridge_alpn", lost, "TLS is asked for no protocol by name"},
	{"bridge_bind_address", lost, "the system chooses the address that a connection comes from"},
	{"bridge_max_packet_size", lost, "the other broker says how much it takes (MQTT 5); messages that are too large become dead letters"},
	{"bridge_max_topic_alias", needless, "no aliases are used"},
	{"bridge_require_ocsp", lost, "OCSP responses are not looked at"},
	{"bridge_tls_version", needless, "TLS 1.2 or 1.3, whichever is newer on both sides"},
	{"idle_timeout", lost, "a bridge is always connected"},
	{"threshold", lost, "a bridge is always connected"},
	{"local_cleansession", needless, "what goes to the other broker is always kept until it is there"},
	{"local_clientid", needless, "the bridge is no client of this broker"},
	{"local_username", changed, "the bridge is no client of this broker, and not subject to acl_file: filters and grants say what it may"},
	{"local_password", needless, "the bridge is no client of this broker"},
	{"try_private", needless, "a broker of 3.1.1 is told that this is a bridge where it understands that"},
}

// bridge converts a connection to another broker.
func (c *converter) bridge(s *section) {
	name := s.at.value
	unused := c.unused(slug(name))
	remote := &object{}
	remote.set("name", slug(name), s.at)
	if strings.EqualFold(slug(name), c.host) {
		remote.set("name", slug(name)+"-remote", s.at)
	}
	if psk := s.last("bridge_psk"); psk != nil || s.last("bridge_identity") != nil {
		s.last("bridge_identity")
		at := psk
		if at == nil {
			at = s.at
		}
		c.add(at, lost, "the bridge %q is left out: TLS with pre-shared keys does not exist here, use certificates", name)
		c.forget(s)
		return
	}
	if !c.servers(s, remote) {
		c.forget(s)
		return
	}
	c.session(s, remote, unused)
	c.bridgeTLS(s, remote, unused)
	c.retries(s, remote)
	for _, n := range bridgeNotes {
		for _, e := range s.all(n.key) {
			c.add(e, n.outcome, "%s", n.text)
		}
	}
	routes, grants := c.routes(s)
	entry := object{}
	entry.set("name", unused, s.at)
	entry.set("plugin", "bridge-mqtt", nil)
	if len(grants) > 0 {
		entry.set("grants", []object{{{key: "publish", value: grants}}}, nil)
	}
	if len(routes) == 0 {
		c.add(s.at, lost, "the bridge %q has no topic", name)
		return
	}
	entry.set("config", &object{{key: "remote", value: remote}, {key: "routes", value: routes}}, nil)
	c.plugins = append(c.plugins, entry)
}

// forget accounts for what is left of a bridge that is left out.
func (c *converter) forget(s *section) {
	for _, e := range s.list {
		e.taken = true
	}
}

// unused makes a name for an entry of plugins, which begins with a letter and is there once.
func (c *converter) unused(name string) string {
	name = "bridge-" + name
	for n := 2; ; n++ {
		taken := false
		for _, p := range c.plugins {
			taken = taken || p[0].value == name
		}
		if !taken {
			return name
		}
		name = strings.TrimRight(name, "0123456789") + strconv.Itoa(n)
	}
}

// servers converts addresses; false if there are none.
func (c *converter) servers(s *section, remote *object) bool {
	scheme := "mqtt"
	if s.last("bridge_cafile") != nil || s.last("bridge_capath") != nil {
		scheme = "mqtts"
	}
	var list []string
	from := s.last("addresses")
	if e := s.last("address"); e != nil {
		from = e
	}
	if from != nil {
		for a := range strings.FieldsSeq(from.value) {
			host, port := a, "1883"
			if h, p, err := net.SplitHostPort(a); err == nil {
				host, port = h, p
			} else if i := strings.LastIndexByte(a, ':'); i > 0 { // an IPv6 address without brackets
				host, port = a[:i], a[i+1:]
			}
			list = append(list, scheme+"://"+net.JoinHostPort(host, port))
		}
	}
	if len(list) == 0 {
		c.add(s.at, lost, "the bridge %q has no address", s.at.value)
		return false
	}
	remote.set("servers", list, from)
	if s.is("round_robin", false) {
		remote.set("failback", "0s", s.last("round_robin"))
	}
	return true
}

// alias is the value of the first key that is there.
func (s *section) alias(keys ...string) (found *entry) {
	for _, k := range keys {
		if e := s.last(k); e != nil && found == nil {
			found = e
		}
	}
	return found
}

// session converts who the bridge is, and what the other broker keeps.
func (c *converter) session(s *section, remote *object, name string) {
	version := s.last("bridge_protocol_version")
	switch {
	case version != nil && version.value == "mqttv50":
		remote.set("version", "5", version)
	case version != nil && version.value == "mqttv31":
		remote.set("version", "3.1.1", version)
		c.add(version, changed, "3.1.1 is the oldest version of MQTT that bridges speak")
	default:
		remote.set("version", "3.1.1", version)
	}
	id := s.at.value + "." + c.host // as Mosquitto makes it
	if e := s.alias("remote_clientid", "clientid"); e != nil {
		id = e.value
		remote.set("client_id", id, e)
	} else if c.host != "" {
		remote.set("client_id", id, nil)
		c.add(s.at, changed, "its client id is that of Mosquitto on this machine, so that the session at the other broker goes on (client_id)")
	}
	if e := s.alias("remote_username", "username"); e != nil {
		remote.set("username", e.value, e)
	}
	if e := s.alias("remote_password", "password"); e != nil {
		if path := c.save(name+".password", "", []byte(e.value)); path != "" {
			remote.set("password", "${file:"+path+"}", e)
		} else {
			c.add(e, changed, "with --output it is put into a file of its own, which the configuration names")
		}
	}
	if e := s.last("cleansession"); e != nil && s.is("cleansession", false) {
		remote.set("clean_start", true, e)
		remote.set("session_expiry", "0s", e)
	}
	if e := s.last("keepalive_interval"); e != nil {
		if n, err := number(e.value); err == nil && n.(int) >= 2 {
			remote.set("keep_alive", fmt.Sprintf("%ds", n), e)
		}
	}
	c.notifications(s, remote, id)
	if e := s.last("start_type"); e != nil && e.value != "automatic" {
		c.add(e, changed, "a bridge is always connected; what it has to say waits while it is not")
	}
}

// notifications converts the topic that says whether the bridge is connected.
func (c *converter) notifications(s *section, remote *object, id string) {
	topic, off, local := s.last("notification_topic"), s.last("notifications"), s.last("notifications_local_only")
	if local != nil && s.is("notifications_local_only", false) {
		c.add(local, lost, "at this broker nothing is published about a bridge: patchbay bridge status, /metrics and the admin listener's /plugins/NAME/status have it")
		return
	}
	switch {
	case !s.is("notifications", true):
		return
	case topic != nil:
		remote.set("status_topic", topic.value, topic)
	default:
		remote.set("status_topic", "$SYS/broker/connection/"+id+"/state", off)
	}
	if topic != nil {
		c.add(topic, changed, "it is published at the other broker; at this one patchbay bridge status says the same")
	}
}

func (c *converter) bridgeTLS(s *section, remote *object, name string) {
	for _, k := range []struct{ from, to string }{{"bridge_cafile", "ca_file"}, {"bridge_certfile", "cert_file"}, {"bridge_keyfile", "cert_key_file"}} {
		if e := s.last(k.from); e != nil {
			remote.at("tls").set(k.to, locate(e.value, e.file), e)
		}
	}
	if e := s.last("bridge_capath"); e != nil && s.last("bridge_cafile") == nil {
		text, err := bundle(nil, e)
		if err == nil && len(text) > 0 && c.dir != "" {
			remote.at("tls").set("ca_file", c.save(name+"-ca.pem", "", text), e)
		} else {
			c.add(e, changed, "the system's authorities are taken: name a file with those of the folder (tls: {ca_file: …})")
		}
	}
	if e := s.last("bridge_insecure"); e != nil && s.is("bridge_insecure", false) {
		c.add(e, lost, "the name in the certificate is looked at: server_name says which one it has; insecure_skip_verify would take any certificate")
	}
}

// retries converts restart_timeout.
func (c *converter) retries(s *section, remote *object) {
	e := s.last("restart_timeout")
	if e == nil {
		return
	}
	base, limit, _ := strings.Cut(e.value, " ")
	if limit = strings.TrimSpace(limit); limit == "" {
		limit = base
	}
	low, err := strconv.Atoi(base)
	high, err2 := strconv.Atoi(limit)
	if err != nil || err2 != nil || low < 1 || high < low || high > 3600 {
		c.add(e, lost, "%q is no pair of seconds up to an hour", e.value)
		return
	}
	remote.set("retry_min", fmt.Sprintf("%ds", low), e)
	remote.set("retry_max", fmt.Sprintf("%ds", high), e)
}

// routes converts the topics of a bridge. Grants are the topics that it publishes to.
func (c *converter) routes(s *section) (routes []object, grants []string) {
	drop := s.last("bridge_outgoing_retain")
	keep := s.is("bridge_outgoing_retain", true)
	seen := map[string]bool{}
	for i, e := range s.all("topic") {
		t, err := parseTopic(e.value)
		if err != nil {
			c.add(e, lost, "%v", err)
			continue
		}
		for _, direction := range t.directions() {
			r := t.route(fmt.Sprintf("topic-%d%s", i+1, direction.suffix), direction.name, e)
			if !keep && direction.name != "in" {
				r.set("drop_retain", true, drop)
			}
			routes = append(routes, r)
			if direction.name != "out" {
				grants = append(grants, t.local+t.pattern)
			}
			if direction.name != "in" {
				if filter := t.local + t.pattern; seen[filter] {
					c.add(e, changed, "%s is there twice: what matches goes over twice", filter)
				} else {
					seen[filter] = true
				}
			}
		}
	}
	return routes, grants
}

// topic is a line "topic PATTERN DIRECTION QOS LOCAL REMOTE".
type topic struct {
	pattern, direction string
	qos                int
	local, remote      string
}

func parseTopic(s string) (t topic, err error) {
	words := strings.Fields(s)
	if len(words) == 0 || len(words) > 5 {
		return t, fmt.Errorf("%q is no pattern with direction, QoS and prefixes", s)
	}
	for len(words) < 5 {
		words = append(words, map[int]string{1: "out", 2: "0"}[len(words)])
	}
	for i, w := range words {
		if w == `""` {
			words[i] = ""
		}
	}
	t = topic{pattern: words[0], direction: words[1], local: words[3], remote: words[4]}
	if t.qos, err = strconv.Atoi(words[2]); err != nil || t.qos < 0 || t.qos > 2 {
		return t, fmt.Errorf("%q is no QoS", words[2])
	}
	if t.direction != "in" && t.direction != "out" && t.direction != "both" {
		return t, fmt.Errorf("%q is none of in, out and both", t.direction)
	}
	if t.pattern == "" && (t.local == "" || t.remote == "") {
		return t, fmt.Errorf("without a pattern both prefixes are needed")
	}
	return t, nil
}

type direction struct{ name, suffix string }

// directions are those of the routes: a single topic that has two names goes each way by a
// route of its own, since each has a topic of the other side.
func (t *topic) directions() []direction {
	if t.pattern != "" || t.direction != "both" {
		return []direction{{t.direction, ""}}
	}
	return []direction{{"out", "-out"}, {"in", "-in"}}
}

func (t *topic) route(name, direction string, from *entry) (r object) {
	literal := func(s string) string { return strings.ReplaceAll(s, "${", "$${") }
	r.set("name", name, from)
	if direction != "out" {
		r.set("direction", direction, nil)
	}
	switch {
	case t.pattern != "":
		r.set("filters", []string{t.pattern}, nil)
		if t.local != "" {
			r.set("local_prefix", t.local, nil)
		}
		if t.remote != "" {
			r.set("remote_prefix", t.remote, nil)
		}
	case direction == "out":
		r.set("filters", []string{t.local}, nil)
		r.set("remote_topic", literal(t.remote), nil)
	default:
		r.set("filters", []string{t.remote}, nil)
		r.set("local_topic", literal(t.local), nil)
	}
	r.set("qos", t.qos, nil)
	return r
}
