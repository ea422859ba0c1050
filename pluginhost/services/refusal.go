package services

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Kinds of scope, by which refusals are logged.
const (
	scopeWhole     = "grant"
	scopeTopic     = "topic"
	scopeNamespace = "namespace"
	scopeName      = "name"
	scopeOrigin    = "origin"
	scopeAddress   = "address"
)

// refusal is a call that its grant does not cover.
type refusal struct {
	grant, scope string
	// of is what the grant does not cover; empty if there is none.
	of string
	// write is the value of `grants:` that would cover it, also a further line.
	write, also string
	// because takes the place of the advice, where no grant would help.
	because string
}

func (r *refusal) message(plugin string) string {
	var b strings.Builder
	if r.of == "" {
		fmt.Fprintf(&b, "the plugin %q does not have the grant %q", plugin, r.grant)
	} else {
		fmt.Fprintf(&b, "the grant %q of the plugin %q does not cover %s", r.grant, plugin, r.of)
	}
	if r.because != "" {
		b.WriteString(": " + r.because)
		return b.String()
	}
	fmt.Fprintf(&b, "; to give it, write in the plugin's entry of the config: grants: %s", r.write)
	if r.also != "" {
		b.WriteString(" and " + r.also)
	}
	return b.String()
}

// reportEvery is how often refusals of one kind are logged: a plugin that tries again and
// again is not to fill the log.
const reportEvery = time.Minute

// refuse counts a refusal, logs it if that was not done lately, and makes its error.
func (p *Plugin) refuse(r refusal) error {
	message := r.message(p.name)
	key, now := report{r.grant, r.scope}, time.Now()
	p.mu.Lock()
	p.refused[r.grant]++
	last, known := p.reported[key]
	tell := !known || now.Sub(last) >= reportEvery
	if tell {
		p.reported[key] = now
	}
	p.mu.Unlock()
	if tell {
		p.s.log.Warn("a call of a plugin was refused", "plugin", p.name, "grant", r.grant, "scope", r.scope, "reason", message)
	}
	return &pluginv1.HostError{Code: pluginv1.HostErrorCodeDenied, Message: message, Grant: r.grant}
}

// quote writes a string so that it can be read in a message and in YAML.
func quote(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}
