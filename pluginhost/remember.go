package pluginhost

import (
	"bytes"
	"errors"
	"slices"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// hookBucket keeps, by the name of each plugin that has served, the hooks at which its failure
// policy does not let things pass: as a Narrowed with nothing else.
//
// A broker can start without a plugin that is optional, or in the plugin folder. It would then
// acknowledge what a gate of that plugin holds back (a bridge with ack: after_remote), and
// allow what the plugin refuses, until the plugin is there: that it was there before is
// what an operator relies on. So its failure policy answers from the beginning.
const hookBucket = "plugin-hooks"

// noteHooks stores what is to hold if the plugin cannot be started the next time. It is called
// with life held.
func (p *plugin) noteHooks(g *generation) {
	n := new(pluginv1.Narrowed)
	for i := range g.wanted.Hooks {
		w := &g.wanted.Hooks[i]
		if slices.ContainsFunc(g.hooks, func(k *hooked) bool { return k.point == w.Point && k.holds() }) {
			n.Hooks = append(n.Hooks, *w)
		}
	}
	values := p.host.o.Values
	stored, _, err := values.Get(hookBucket, p.name)
	known := err == nil
	if known || errors.Is(err, p.host.o.NotFound) {
		err = nil
		switch encoded := n.AppendTo(nil); {
		case len(n.Hooks) > 0 && !(known && bytes.Equal(stored, encoded)):
			_, err = values.Set(hookBucket, p.name, encoded, 0)
		case len(n.Hooks) == 0 && known:
			err = values.Delete(hookBucket, p.name)
		}
	}
	if err != nil {
		p.log.Error("the plugin's hooks could not be stored: if it cannot be started the next time, the broker does without them", "error", err)
	}
}

// holds reports whether the failure policy keeps something from happening.
func (k *hooked) holds() bool {
	return k.point.Mode() != pluginv1.Observation && k.failure != pluginv1.FailurePolicyContinue
}

// forgetHooks is for a plugin that its operator has taken away.
func (p *plugin) forgetHooks() {
	if err := p.host.o.Values.Delete(hookBucket, p.name); err != nil && !errors.Is(err, p.host.o.NotFound) {
		p.log.Error("what was stored of the plugin's hooks could not be removed", "error", err)
	}
}

// shut has the failure policy answer for a plugin that has served before, and now could not be
// started since the broker has. It is called with life held.
func (p *plugin) shut() {
	p.host.mu.Lock()
	done := p.hooks != nil
	p.host.mu.Unlock()
	if done {
		return
	}
	stored, _, err := p.host.o.Values.Get(hookBucket, p.name)
	if errors.Is(err, p.host.o.NotFound) {
		return
	}
	n := new(pluginv1.Narrowed)
	if err == nil {
		err = n.Unmarshal(stored)
	}
	if err != nil {
		p.log.Error("what was stored of the plugin's hooks cannot be read: the broker does without them until the plugin serves", "error", err)
		return
	}
	none := &generation{plugin: p, idle: make(chan struct{})}
	none.retire() // no call of it can begin
	hooks := slices.DeleteFunc(compile(none, n.Hooks, p.currentSpec()), func(k *hooked) bool { return !k.holds() })
	if len(hooks) == 0 {
		return
	}
	p.log.Warn("the plugin has served before and cannot be started: its failure policy answers until it serves, or is disabled or removed")
	p.putInForce(hooks)
}
