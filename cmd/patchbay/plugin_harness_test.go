package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// pluginSwaps is how often each plugin is swapped under traffic:
//
//	go test ./cmd/patchbay -run TestPluginSwaps -args -plugin.swaps 50
var pluginSwaps = flag.Int("plugin.swaps", 6, "how often TestPluginSwaps swaps each plugin")

// pluginLong adds tests that take minutes.
var pluginLong = flag.Bool("plugin.long", false, "run tests of plugins that take minutes")

// The plugin of these tests, and where it is compiled in by pluginFiles.
const (
	testPlugin    = "../../pluginhost/internal/testplugin"
	testPluginIn  = "internal/testplugin"
	testPluginPkg = "github.com/patchbay-mq/patchbay/cmd/patchbay/internal/testplugin"
)

// firstVersion is the version of the test plugin as it is built. Other versions are the
// same file with another number in it, which takes no compiler.
const firstVersion = "built-00000"

func versionName(n int) string { return fmt.Sprintf("built-%05d", n) }

// builtPlugins are the files that tests of plugins need.
type builtPlugins struct {
	// broker is the program under test with the test plugin compiled in, under the name
	// test: for the builtin runtime, which is of what is compiled in.
	broker                      string
	program, module             string // the test plugin
	garbageProgram, garbageWASM string
	content                     map[string][]byte // of program and module
}

// version is a file as it would have been built with another version.
func (p *builtPlugins) version(file string, n int) []byte {
	return bytes.ReplaceAll(p.content[file], []byte(firstVersion), []byte(versionName(n)))
}

var buildPlugins = sync.OnceValues(func() (*builtPlugins, error) {
	dir := filepath.Dir(patchbay) // that TestMain removes
	p := &builtPlugins{
		broker: filepath.Join(dir, "patchbay-with-test-plugin"), program: filepath.Join(dir, "test"), module: filepath.Join(dir, "test.wasm"),
		garbageProgram: filepath.Join(dir, "garbage"), garbageWASM: filepath.Join(dir, "garbage.wasm"), content: map[string][]byte{},
	}
	overlay, err := pluginOverlay(dir)
	if err != nil {
		return nil, err
	}
	broker := []string{"-overlay", overlay, "-ldflags=-s -w", "-o", p.broker}
	if raceEnabled {
		broker = append(broker, "-race")
	}
	version := "-ldflags=-s -w -X main.version=" + firstVersion
	// Two at once, for machines with two processors; the linker uses one.
	var builds, links sync.WaitGroup
	failed := make([]error, 5)
	builds.Go(func() { failed[0] = build(nil, append(broker, ".")...) })
	links.Go(func() {
		wasm := []string{"GOOS=wasip1", "GOARCH=wasm"}
		failed[1] = build(nil, version, "-o", p.program, testPlugin+"/cmd")
		failed[2] = build(wasm, version, "-buildmode=c-shared", "-o", p.module, testPlugin+"/cmd")
		failed[3] = build(nil, "-ldflags=-s -w", "-o", p.garbageProgram, testPlugin+"/raw")
		failed[4] = build(wasm, "-ldflags=-s -w", "-buildmode=c-shared", "-o", p.garbageWASM, testPlugin+"/raw")
	})
	builds.Wait()
	links.Wait()
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	for _, file := range []string{p.program, p.module} {
		if p.content[file], err = os.ReadFile(file); err != nil {
			return nil, err
		}
		if !bytes.Contains(p.content[file], []byte(firstVersion)) {
			return nil, fmt.Errorf("%s: there is no %s in it", file, firstVersion)
		}
	}
	return p, nil
})

func build(env []string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %q: %w\n%s", args, err, out)
	}
	return nil
}

// pluginOverlay makes a file for go build -overlay that adds the test plugin to what is
// compiled into the program, which stays as it is otherwise.
func pluginOverlay(dir string) (string, error) {
	link := filepath.Join(dir, "link.go")
	err := os.WriteFile(link, fmt.Appendf(nil, "package builtin\n\nimport (\n\t%q\n\t\"github.com/patchbay-mq/patchbay/sdk\"\n)\n\n"+
		"func init() { sdk.Register(testplugin.Built(%q)) }\n", testPluginPkg, firstVersion), 0o600)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	add := func(name, file string) {
		from, _ := filepath.Abs(name)
		to, _ := filepath.Abs(file)
		replace[from] = to
	}
	add("internal/builtin/link.go", link)
	sources, err := filepath.Glob(testPlugin + "/*.go")
	if err != nil {
		return "", err
	}
	for _, file := range sources {
		if !strings.HasSuffix(file, "_test.go") {
			add(filepath.Join(testPluginIn, filepath.Base(file)), file)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}

func plugins(t testing.TB) *builtPlugins {
	t.Helper()
	p, err := buildPlugins()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// runtimes are the three, with the letter that stands for each in names of plugins.
var runtimes = []struct {
	runtime pluginhost.Runtime
	letter  string
}{{pluginhost.Builtin, "b"}, {pluginhost.Process, "p"}, {pluginhost.WASM, "w"}}

// entry is an entry of plugins: the test plugin in a runtime, and what else is said of
// it, in YAML.
func (p *builtPlugins) entry(name string, rt pluginhost.Runtime, rest string) string {
	what := map[pluginhost.Runtime]string{
		pluginhost.Builtin: "plugin: test", pluginhost.Process: "dev: true, path: " + p.program, pluginhost.WASM: "path: " + p.module,
	}[rt]
	return fmt.Sprintf("  - {name: %s, %s, %s}\n", name, what, rest)
}

// startWithPlugins starts a broker that has the test plugin compiled in. prepare may put
// files into the plugin folder.
func startWithPlugins(t testing.TB, yaml string, prepare func(folder string)) *broker {
	t.Helper()
	b := newBroker(t, yaml)
	b.program = plugins(t).broker
	folder := filepath.Join(b.dir, "patchbay-data", "plugins")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	shareCompiled(t, filepath.Join(filepath.Dir(folder), "plugin-cache"))
	if prepare != nil {
		prepare(folder)
	}
	b.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	b.ready()
	return b
}

// compiled guards the folder of compiled modules that the first broker leaves behind.
var compiled sync.Mutex

// shareCompiled gives a broker the modules that another one has compiled, which takes
// seconds each.
func shareCompiled(t testing.TB, cache string) {
	shared := filepath.Join(filepath.Dir(patchbay), "plugin-cache")
	compiled.Lock()
	defer compiled.Unlock()
	if _, err := os.Stat(shared); err != nil && raceEnabled {
		compileModules(t, shared)
	}
	if _, err := os.Stat(shared); err == nil {
		if err := errors.Join(os.CopyFS(cache, os.DirFS(shared)), os.Chmod(cache, 0o700)); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Cleanup(func() {
		compiled.Lock()
		defer compiled.Unlock()
		if _, err := os.Stat(shared); err != nil && !t.Failed() {
			if err := os.CopyFS(shared, os.DirFS(cache)); err != nil {
				t.Error(err)
			}
		}
	})
}

// compileModules has a broker without the race detector, under which it takes minutes,
// compile the modules.
func compileModules(t testing.TB, shared string) {
	p, b := plugins(t), newBroker(t, "")
	b.program = filepath.Join(filepath.Dir(patchbay), "patchbay-without-race")
	if err := build(nil, "-ldflags=-s -w", "-o", b.program, "."); err != nil {
		t.Fatal(err)
	}
	b.configure(oneListener + "plugins:\n  - {name: garbage, path: " + p.garbageWASM + "}\n" + p.entry("test", pluginhost.WASM, "optional: false"))
	b.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	b.ready()
	b.stop()
	if err := os.CopyFS(shared, os.DirFS(filepath.Join(b.dir, "patchbay-data", "plugin-cache"))); err != nil {
		t.Fatal(err)
	}
}

// putFile puts a file in the place of another, at once.
func putFile(t testing.TB, name string, content []byte, mode os.FileMode) {
	t.Helper()
	temp := name + ".tmp"
	if err := errors.Join(os.WriteFile(temp, content, mode), os.Rename(temp, name)); err != nil {
		t.Fatal(err)
	}
}

// in is the broker for a test of its own: what fails there ends that test.
func (b *broker) in(t testing.TB) *broker {
	own := *b
	own.t = t
	return &own
}

// pluginNow is plugin without starting a process: for those who look again and again.
func (b *broker) pluginNow(name string) (found pluginhost.Info, ok bool) {
	b.t.Helper()
	socket := filepath.Join(b.dir, "patchbay-data", "admin.sock")
	c := http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.DialTimeout("unix", socket, patience)
		},
	}}
	defer c.CloseIdleConnections()
	r, err := c.Get("http://patchbay/v1/plugins") // what `patchbay plugin list` asks
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	for d := json.NewDecoder(r.Body); ; {
		var i pluginhost.Info
		switch err := d.Decode(&i); {
		case errors.Is(err, io.EOF):
			return pluginhost.Info{}, false
		case err != nil:
			b.t.Fatal(err)
		case i.Name == name:
			return i, true
		}
	}
}

// awaitPlugin waits until a plugin is as wanted.
func (b *broker) awaitPlugin(name, what string, wanted func(pluginhost.Info) bool) (i pluginhost.Info) {
	b.t.Helper()
	eventually(b.t, patience, func() bool {
		i, _ = b.pluginNow(name)
		return wanted(i)
	}, "%s: %s: %s", name, what, b.show(name))
	return i
}

// pluginMetric is the name of a sample that the host keeps of a plugin: of the family that
// ends with suffix.
func pluginMetric(t testing.TB, suffix, labels string) string {
	t.Helper()
	for _, f := range pluginhost.MetricFamilies {
		if strings.HasSuffix(f[0], "_"+suffix) {
			return f[0] + "{" + labels + "}"
		}
	}
	t.Fatalf("there is no metric …_%s", suffix)
	return ""
}

// lazily is text that is made when it is printed.
type lazily func() string

func (f lazily) String() string { return f() }

// show is what a plugin is when it is printed.
func (b *broker) show(name string) lazily {
	return func() string {
		i, _ := b.pluginNow(name)
		return fmt.Sprintf("%+v", i)
	}
}
