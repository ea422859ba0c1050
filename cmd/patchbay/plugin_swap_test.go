package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// TestPluginSwaps swaps a plugin in each runtime again and again, while a thousand
// clients publish and get messages that each of them has put its version into. Nobody
// loses the connection or a message, or gets one twice, and for each client versions
// only go up.
func TestPluginSwaps(t *testing.T) {
	built := plugins(t)
	clients, interval := 1000, 100*time.Millisecond
	if raceEnabled || testing.Short() {
		clients, interval = 400, 200*time.Millisecond
	}
	s := &swapping{file: map[pluginhost.Runtime]string{}}
	b := startWithPlugins(t, swapConfig(1, ""), func(folder string) {
		s.folder = folder
		s.file[pluginhost.Process], s.file[pluginhost.WASM] = filepath.Join(folder, "p"), filepath.Join(folder, "w.wasm")
		manifest := command{}.must(t, built.program, "manifest")
		putFile(t, filepath.Join(folder, "p.manifest.json"), []byte(manifest), 0o640)
		for _, name := range []string{"p", "w"} {
			s.settings(t, name, 1, "")
		}
		putFile(t, s.file[pluginhost.Process], built.version(built.program, 0), 0o750)
		putFile(t, s.file[pluginhost.WASM], built.version(built.module, 0), 0o640)
	})
	b.state("p", "serving")
	b.state("w", "serving")
	accepted := b.metrics()["patchbay_connections_accepted_total"]
	tr := newTraffic(t, b, clients, 20, interval, "b", "p", "w")

	t.Run("swaps", func(t *testing.T) {
		for _, r := range runtimes {
			t.Run(string(r.runtime), func(t *testing.T) {
				t.Parallel()
				w := &swapper{swapping: s, b: b.in(t), t: t, built: built, runtime: r.runtime, name: r.letter, config: 1}
				w.run(*pluginSwaps)
			})
		}
	})
	if t.Failed() {
		return
	}
	sent, delivered, slowest := tr.finish(t)
	t.Logf("%d swaps in each runtime, %d clients: %d messages acknowledged, %d delivered, none lost and none twice; the slowest acknowledgement took %v",
		*pluginSwaps, clients, sent, delivered, slowest)
	for _, c := range tr.subscribers {
		for name, version := range s.final() {
			if c.versions[name] != version {
				t.Fatalf("a subscriber has seen %s=%s last, want %s", name, c.versions[name], version)
			}
		}
	}
	m := b.metrics()
	// One probe for each runtime has come and gone.
	if n := m["patchbay_connections_accepted_total"] - accepted; n != float64(clients+len(runtimes)) {
		t.Errorf("%v connections were made, want %d", n, clients+len(runtimes))
	}
	if n := m["patchbay_connections"]; n != float64(clients) {
		t.Errorf("%v clients are connected, want %d", n, clients)
	}
	for name, n := range m {
		if strings.HasPrefix(name, "patchbay_messages_dropped_total") && n > 0 {
			t.Errorf("%s is %v", name, n)
		}
		if strings.HasPrefix(name, "patchbay_plugins_policy_total") && strings.Contains(name, "intercept_publish") && n > 0 {
			t.Errorf("%s is %v: a plugin has not been asked", name, n)
		}
	}
	if status, _ := b.get("/readyz"); status != 200 {
		t.Errorf("/readyz: %d", status)
	}
}

// swapConfig is the configuration with the builtin plugin.
func swapConfig(version int, more string) string {
	return oneListener + fmt.Sprintf("plugins:\n  - {name: b, plugin: test, hooks: {authenticate: off}, config: {version: \"%d\"%s}}\n", version, more)
}

// swapping is what the swappers share.
type swapping struct {
	folder string
	file   map[pluginhost.Runtime]string

	last [3]string // by runtime: NAME=VERSION
}

// settings writes the settings of a plugin of the folder.
func (s *swapping) settings(t testing.TB, name string, version int, more string) {
	t.Helper()
	putFile(t, filepath.Join(s.folder, name+".yaml"),
		fmt.Appendf(nil, "dev: true\nhooks: {authenticate: off}\nconfig: {version: \"%d\"%s}\n", version, more), 0o640)
}

func (s *swapping) final() map[string]string {
	all := map[string]string{}
	for _, l := range s.last {
		name, version, _ := strings.Cut(l, "=")
		all[name] = version
	}
	return all
}

// swapper swaps the plugin of one runtime.
type swapper struct {
	*swapping
	b             *broker
	t             *testing.T
	built         *builtPlugins
	runtime       pluginhost.Runtime
	name          string
	code, config  int // the versions of the file, and in the config
	probe         *client5
	got           chan message
	files, broken int
}

func (w *swapper) run(n int) {
	w.got = make(chan message, 16)
	w.probe = mustConnect5(w.t, w.b.target("tcp", nil), "probe-"+w.name)
	if err := w.probe.subscribe("edit/probe-"+w.name+"/stamp", func(m message) { w.got <- m }); err != nil {
		w.t.Fatal(err)
	}
	w.serves()
	began := time.Now()
	for i := range n {
		if i == n/2 {
			w.tryBroken()
		}
		before := w.info()
		switch {
		case w.runtime == pluginhost.Builtin && i%3 == 1:
			w.configure(i%2 == 0)
		case w.runtime != pluginhost.Builtin && i%5 == 1 && (w.runtime != pluginhost.WASM || !raceEnabled):
			w.replaceFile() // which is compiled: with the race detector that takes minutes
		case w.runtime != pluginhost.Builtin && i%5 == 3:
			w.changeSettings()
		default:
			if r := w.b.operator("plugin", "reload", w.name); r.code != 0 {
				w.t.Fatalf("plugin reload %s: %s", w.name, r.stderr)
			}
		}
		// The very next message is the new one's.
		w.serves()
		if after := w.info(); after.State != "serving" || after.Error != "" || after.Restarts != 0 || after.Reloads < before.Reloads {
			w.t.Fatalf("swap %d: %+v", i, after)
		}
	}
	for i, r := range runtimes {
		if r.runtime == w.runtime {
			w.last[i] = w.stamp()
		}
	}
	w.probe.close()
	w.t.Logf("%d swaps in %v, %d of them by another file, and %d broken versions refused", n, time.Since(began).Round(time.Millisecond), w.files, w.broken)
}

func (w *swapper) stamp() string {
	return fmt.Sprintf("%s=%s.%d", w.name, versionName(w.code), w.config)
}

// serves demands that the present version decides about a message that is published now.
func (w *swapper) serves() {
	w.t.Helper()
	topic := "edit/probe-" + w.name + "/stamp"
	if err := w.probe.publish(topic, 1, "x"); err != nil {
		w.t.Fatal(err)
	}
	select {
	case m := <-w.got:
		if !strings.Contains(" "+m.Payload+" ", " "+w.stamp()+" ") {
			w.t.Fatalf("got %q, want %s", m.Payload, w.stamp())
		}
	case <-time.After(patience):
		w.t.Fatal("the message has not come back")
	}
}

func (w *swapper) info() pluginhost.Info {
	w.t.Helper()
	i, ok := w.b.plugin(w.name)
	if !ok {
		w.t.Fatalf("plugin %s is not there", w.name)
	}
	return i
}

func (w *swapper) await(what string, wanted func(pluginhost.Info) bool) {
	w.t.Helper()
	w.b.awaitPlugin(w.name, what, wanted)
}

// configure changes the config of the builtin plugin, which takes it over or is started
// anew with it.
func (w *swapper) configure(restart bool) {
	w.config++
	more := ""
	if restart {
		more = ", restart: true"
	}
	w.b.configure(swapConfig(w.config, more))
	w.b.hangUp(w.t)
}

// replaceFile puts the next version into the plugin folder.
func (w *swapper) replaceFile() {
	w.code++
	w.files++
	w.putVersion()
	w.await("the new file is in force", func(i pluginhost.Info) bool { return i.Version == versionName(w.code) })
}

func (w *swapper) putVersion() {
	if w.runtime == pluginhost.Process {
		putFile(w.t, w.file[w.runtime], w.built.version(w.built.program, w.code), 0o750)
	} else {
		putFile(w.t, w.file[w.runtime], w.built.version(w.built.module, w.code), 0o640)
	}
}

// changeSettings changes the config of a plugin of the folder.
func (w *swapper) changeSettings() {
	w.config++
	more := ""
	if w.config%2 == 0 {
		more = ", restart: true"
	}
	w.settings(w.t, w.name, w.config, more)
	want := fmt.Sprintf(`"version":"%d"`, w.config)
	eventually(w.t, patience, func() bool {
		return strings.Contains(strings.ReplaceAll(w.b.operator("plugin", "info", w.name, "--json").stdout, " ", ""), want)
	}, "the new settings are in force")
}

// tryBroken offers versions that cannot work: the one that runs goes on.
func (w *swapper) tryBroken() {
	if w.runtime == pluginhost.Builtin {
		w.b.configure(swapConfig(w.config+1, ", refuse: true"))
		if r := w.b.operator("reload"); r.code != 2 || !strings.Contains(r.stderr, "/refuse: must be false") {
			w.t.Errorf("a config that the plugin refuses: %d %s", r.code, r.stderr)
		}
		w.b.configure(swapConfig(w.config, ""))
		w.serves()
		w.broken++
		return
	}
	refused := func(i pluginhost.Info) bool { return i.Error != "" && i.State == "serving" }
	good := func(i pluginhost.Info) bool { return i.Error == "" && i.State == "serving" }
	content, mode := []byte("no module"), os.FileMode(0o640)
	if w.runtime == pluginhost.Process {
		content, mode = []byte("#!/bin/sh\nexit 3\n"), 0o750
	}
	putFile(w.t, w.file[w.runtime], content, mode)
	w.await("a broken file is refused", refused)
	w.serves()
	if r := w.b.operator("plugin", "reload", w.name); r.code == 0 {
		w.t.Errorf("plugin reload of a broken file: %s", r.stdout)
	}
	w.serves()
	w.putVersion()
	w.await("the good file is back", good)
	w.serves()
	w.broken++
	if *pluginSwaps < 20 {
		return // the rest takes seconds
	}
	w.settings(w.t, w.name, w.config+1, ", refuse: true")
	w.await("a refused config is shown", func(i pluginhost.Info) bool { return refused(i) && strings.Contains(i.Error, "/refuse: must be false") })
	w.serves()
	w.settings(w.t, w.name, w.config, "")
	w.await("the good config is back", good)
	w.serves()
	w.broken++
}
