package mosquittoconf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/plugins/acl"
	"github.com/patchbay-mq/patchbay/sdk/password"
)

// security is what Mosquitto asks of clients, of all listeners or of one.
type security struct {
	passwords, acl *entry
	plugins        []*entry
	anonymous      bool
	from           *entry // of anonymous; nil: the default
	empty          *entry // allow_zero_length_clientid
}

// securityOf is that of a listener.
func (c *converter) securityOf(s *section, local bool) *security {
	if !c.separate {
		s = &c.broker
	}
	out := &security{
		passwords: s.last("password_file"), acl: s.last("acl_file"), from: s.last("allow_anonymous"), anonymous: s.is("allow_anonymous", local),
		empty: s.last("allow_zero_length_clientid"),
	}
	for _, e := range s.list {
		if e.key == "plugin" || e.key == "auth_plugin" {
			out.plugins = append(out.plugins, e)
		}
	}
	return out
}

// set names the settings that Patchbay has once for all listeners.
func (s *security) set() string {
	var parts []string
	for _, e := range append([]*entry{s.passwords, s.acl}, s.plugins...) {
		if e != nil {
			parts = append(parts, e.key+" "+e.value)
		} else {
			parts = append(parts, "")
		}
	}
	if s.passwords != nil { // without, each listener has its own allow_anonymous
		parts = append(parts, fmt.Sprint(s.anonymous))
	}
	return strings.Join(parts, "\n")
}

// rank says which settings are kept if they differ: those that protect more.
func (s *security) rank() (n int) {
	if s.passwords != nil {
		n += 4
	}
	if len(s.plugins) > 0 {
		n += 2
	}
	if s.acl != nil {
		n++
	}
	return n
}

// protect converts who may connect, and do what. It returns the listeners that can be had
// so; what they would be without their protection is not opened.
func (c *converter) protect(list []*listener) []*listener {
	if len(list) == 0 {
		return nil
	}
	best := list[0]
	for _, l := range list {
		if l.security.rank() > best.security.rank() {
			best = l
		}
	}
	var kept []*listener
	for _, l := range list {
		switch {
		case l.security.set() != best.security.set():
			c.leaveOut(l, "Patchbay has one password_file, acl_file, set of plugins and allow_anonymous for all listeners, and its are others than those of "+best.place()+
				". Run a second broker for it, joined by a bridge; or give all listeners the same ones")
		case l.certs && !l.identity && best.security.passwords != nil && anyIdentity(list):
			c.leaveOut(l, "It demands certificates and passwords, while others of the listeners take the user name of the certificate; auth-cert would let its clients in without password")
		default:
			kept = append(kept, l)
		}
	}
	c.secure(best.security, kept)
	return kept
}

func (l *listener) place() string {
	if l.at == nil {
		return "the default listener"
	}
	return l.at.place()
}

func (c *converter) leaveOut(l *listener, why string) {
	c.forget(l.section)
	if at := l.entry(l.security.from); at != nil {
		c.add(at, lost, "the listener is left out. %s", why)
	}
}

func anyIdentity(list []*listener) bool {
	for _, l := range list {
		if l.identity {
			return true
		}
	}
	return false
}

// secure writes what protects the listeners.
func (c *converter) secure(s *security, list []*listener) {
	for _, e := range s.plugins {
		c.add(e, lost, "%s", pluginAdvice(e.value))
	}
	if s.empty != nil {
		if v, err := truth(s.empty.value); err == nil {
			c.out.at("mqtt").set("allow_empty_client_id", v, s.empty)
		}
	}
	if s.passwords != nil && anyIdentity(list) {
		c.plugins = append(c.plugins, object{{key: "name", value: "auth-cert"}, {key: "config", value: &object{{key: "unmatched", value: "continue"}}}})
	}
	if s.passwords != nil {
		c.passwords(s, len(s.plugins) == 0)
	}
	switch {
	case s.acl != nil:
		c.rules(s.acl)
	case len(s.plugins) > 0:
		// Who may do what was the plugin's to say: nobody may until somebody says it here.
		c.plugins = append(c.plugins, object{{key: "name", value: "acl"}, {key: "config", value: &object{{key: "default", value: "deny"}}}})
	}
	for _, l := range list {
		switch {
		case s.passwords != nil: // plugins decide
		case len(s.plugins) > 0:
			l.out.set("allow_anonymous", false, l.security.from)
		case l.identity || l.security.anonymous:
			l.out.set("allow_anonymous", true, l.security.from)
		default:
			l.out.set("allow_anonymous", false, l.security.from)
		}
	}
}

// pluginAdvice says what may take the place of a Mosquitto plugin.
func pluginAdvice(path string) string {
	const closed = "plugins of Mosquitto cannot be loaded; nobody may do anything that it would have decided. "
	switch {
	case strings.Contains(path, "dynamic_security"):
		return closed + "Users of dynamic security: plugin authfile with patchbay passwd; its roles: rules of plugin acl"
	case strings.Contains(path, "go-auth") || strings.Contains(path, "go_auth"):
		return closed + "Its HTTP backend: plugin auth-http has a mode for the same service; JWT: auth-jwt; files: authfile and acl"
	}
	return closed + "See docs/plugins.md: authfile, auth-jwt, auth-http, auth-cert, acl"
}

// passwords converts a password_file: lines that authfile would refuse, and with them the
// whole file, are left out of the copy.
func (c *converter) passwords(s *security, anonymous bool) {
	path := locate(s.passwords.value, s.passwords.file)
	config := &object{}
	entry := object{{key: "name", value: "authfile"}, {key: "config", value: config}}
	text, err := readFile(path)
	if err != nil {
		c.add(s.passwords, lost, "%s: %v. Nobody can log in until there are users in the file of the plugin authfile", path, err)
	}
	good := c.goodUsers(s.passwords, path, string(text))
	config.set("file", c.save("users.txt", path, good), s.passwords)
	if s.anonymous && anonymous {
		config.set("allow_anonymous", true, s.from)
	}
	c.plugins = append(c.plugins, entry)
}

// goodUsers are the lines of a password_file that can be used. Of several with the same
// name the last one counts.
func (c *converter) goodUsers(from *entry, path, text string) []byte {
	bad := func(line int, why string) {
		c.notes = append(c.notes, note{&entry{file: path, line: line, key: "user", taken: true}, lost, why})
	}
	type user struct{ line, text string }
	var users []user
	where := map[string]int{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		hash = strings.TrimSpace(hash)
		if !ok || name == "" || !utf8.ValidString(name) {
			bad(n, "the line is no user with a hash")
			continue
		}
		if err := password.Check(hash); err != nil {
			bad(n, fmt.Sprintf("%q: %v. Set a password: patchbay passwd", name, err))
			continue
		}
		if at, twice := where[name]; twice {
			bad(n, fmt.Sprintf("%q is there twice; this one counts", name))
			users[at].text = ""
		}
		where[name] = len(users)
		users = append(users, user{name, name + ":" + hash})
	}
	var b bytes.Buffer
	for _, u := range users {
		if u.text != "" {
			b.WriteString(u.text + "\n")
		}
	}
	return b.Bytes()
}

// rules converts an acl_file, which the plugin acl takes as it is.
func (c *converter) rules(e *entry) {
	path := locate(e.value, e.file)
	text, err := readFile(path)
	if err == nil {
		var config []byte
		if config, err = json.Marshal(map[string]string{"acl_file": path}); err == nil {
			_, err = acl.Load(string(config))
		}
	}
	if err != nil {
		c.add(e, lost, "%v. Mend it in the file that acl_file of the plugin acl names, or the broker does not start", err)
	}
	c.plugins = append(c.plugins, object{
		{key: "name", value: "acl"}, {key: "config", value: &object{{key: "acl_file", value: c.save("acl.txt", path, text), from: e}}},
	})
}
