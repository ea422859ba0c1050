//go:build !windows

package main_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// TestPluginObserverHangs: an observer that never returns costs what it would have been
// told, which is counted, and nothing else.
func TestPluginObserverHangs(t *testing.T) {
	t.Parallel()
	built := plugins(t)
	var yaml strings.Builder
	yaml.WriteString(oneListener + "plugins:\n")
	for _, r := range runtimes {
		yaml.WriteString(built.entry("hang-"+r.letter, r.runtime, "hooks: {authenticate: off}, queue_size: 20, config: {only: hang-"+r.letter+"}"))
	}
	b := startWithPlugins(t, yaml.String(), nil)
	c := mustConnect5(t, b.target("tcp", nil), "publisher")
	for _, r := range runtimes {
		name := "hang-" + r.letter
		publish := func(word string) {
			if err := c.publish("watch/"+name+"/"+word, 1, "x"); err != nil {
				t.Fatal(err)
			}
		}
		publish("hang")
		if r.runtime == pluginhost.WASM {
			// Nothing could wake it: it is ended at once, and told the rest.
			eventually(t, patience, func() bool {
				publish("fine")
				_, seen := b.get("/plugins/" + name + "/seen")
				return strings.Contains(seen, "published watch/"+name+"/fine")
			}, "%s goes on", name)
			continue
		}
		var i pluginhost.Info
		eventually(t, patience, func() bool {
			for range 20 {
				publish("fine")
			}
			i, _ = b.pluginNow(name)
			return i.Lost > 0
		}, "%s has lost observations: %s", name, b.show(name))
		if i.Queued > 20 || i.State != "serving" {
			t.Errorf("%+v", i)
		}
		if lost := b.metrics()[pluginMetric(t, "lost_events_total", fmt.Sprintf("plugin=%q", name))]; lost < float64(i.Lost) {
			t.Errorf("%s: %v observations lost in /metrics, %d in plugin list", name, lost, i.Lost)
		}
		roundTrip(t, mustConnect5(t, b.target("tcp", nil), "client-"+name), "plain/"+name)
	}
}

// TestPluginHangsAsAWhole: a plugin that answers nothing any more is started again, though
// nobody says so. It takes minutes:
//
//	go test ./cmd/patchbay -run TestPluginHangsAsAWhole -args -plugin.long
func TestPluginHangsAsAWhole(t *testing.T) {
	if !*pluginLong {
		t.Skip("takes minutes: -args -plugin.long")
	}
	t.Parallel()
	built := plugins(t)
	stopped := fault{runtime: pluginhost.Process, letter: "p", word: "stopped"}
	silence := fault{runtime: pluginhost.Process, letter: "p", word: "silence", garbage: true}
	b := startWithPlugins(t, oneListener+"plugins:\n"+faultEntries(built, []fault{stopped, silence}), nil)
	all := newWatcher(t, b, "edit/#", "garbage/#")
	i, _ := b.plugin(stopped.name())
	if p, err := os.FindProcess(i.PID); err != nil || p.Signal(syscall.SIGSTOP) != nil {
		t.Fatalf("stop %d: %v", i.PID, err)
	}
	for _, f := range []fault{stopped, silence} {
		v := newVictim(t, b, f)
		for range provocations {
			took, err := v.publish(f.word, "x")
			if err != nil || took > interceptDeadline+slack {
				t.Fatalf("%s: answered after %v: %v", f.name(), took, err)
			}
		}
	}
	for _, f := range []fault{stopped, silence} {
		eventually(t, 3*patience, func() bool {
			i, _ := b.pluginNow(f.name())
			return i.Restarts > 0
		}, "%s is started again: %s", f.name(), b.show(f.name()))
		newVictim(t, b, f).recovers(all)
	}
}
