package config

import (
	"fmt"
	"maps"
	"slices"
)

// warnings lists what works and is unsafe, or is not what it seems.
func warnings(c *Config, m *Meta) []Problem {
	var found []Problem
	warn := func(key, format string, args ...any) {
		found = append(found, Problem{m.Source(key), key, fmt.Sprintf(format, args...)})
	}
	for i := range c.Listeners {
		ln := &c.Listeners[i]
		path := fmt.Sprintf("listeners[%d].", i)
		if ln.AllowAnonymous == "true" && !ln.Local() && ln.ClientCert != "required" {
			unless := ""
			if len(c.Plugins) > 0 {
				unless = ", unless a plugin decides who may connect"
			}
			warn(path+"allow_anonymous", "whoever reaches %s can publish and read everything%s", ln.Name, unless)
		}
		if ln.ProxyProtocol != "off" && len(ln.ProxyTrusted) == 0 && !ln.Local() {
			warn(path+"proxy_protocol", "without proxy_trusted, whoever reaches %s can claim any address", ln.Name)
		}
		if !ln.RequireSubprotocol {
			warn(path+"require_subprotocol", "the specification demands the subprotocol mqtt of every client [MQTT-6.0.0-3]")
		}
	}
	a := &c.Admin
	if a.Listen != "off" && !isLoopback(a.Listen) {
		if a.Cert == "" {
			warn("admin.listen", "%s is not loopback and not HTTPS: admin.token travels in clear text", a.Listen)
		}
		if a.PProf {
			warn("admin.pprof", "profiles show memory contents to whoever may use %s", a.Listen)
		}
	}
	if a.Token != "" && !c.hidden["admin.token"] && m.Source("admin.token").File != "" {
		warn("admin.token", "is readable in the file; better ${file:PATH} or ${env:NAME}")
	}
	if a.Token != "" && len(a.Token) < 16 {
		warn("admin.token", "is short enough to be guessed; 16 characters or more are better")
	}
	for i := range c.Plugins {
		if c.Plugins[i].Dev {
			warn(fmt.Sprintf("plugins[%d].dev", i), "whatever is in %s is run", c.Plugins[i].Path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		if key := "secrets." + name; !c.hidden[key] {
			warn(key, "is readable in the file; better ${file:PATH} or ${env:NAME}")
		}
	}
	if c.Limits.Memory == (Watermark{}) {
		warn("limits.memory", "off: publishers can fill the memory until the system ends the program")
	}
	if c.Session.MaxQueuedMessages == 0 && c.Session.MaxQueuedBytes == 0 {
		warn("session.max_queued_messages", "without it and max_queued_bytes, one client that is gone can fill the memory")
	}
	if c.Session.RetryInterval != 0 {
		warn("session.retry_interval", "holds for MQTT 3.1 and 3.1.1 clients; MQTT 5 forbids it")
	}
	return found
}
