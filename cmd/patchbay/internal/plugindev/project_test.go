package plugindev_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// languages are those that there are templates for.
var languages = []struct {
	name, source string
	// kind is the one that is built where not all are.
	kind string
	// trap is a statement that ends the instance, in a place where --debug knows the line.
	trap string
}{
	{"go", "main.go", "consumer", ""},
	{"rust", "src/lib.rs", "filter", `panic!("no way");`},
	{"assemblyscript", "src/plugin.ts", "acl", `throw new Error("no way");`},
	{"c", "src/plugin.c", "consumer", "__builtin_trap();"},
	{"zig", "src/plugin.zig", "filter", `@panic("no way");`},
}

// What TestLanguages makes of the auth template: another reason for a refusal.
const reason, edited = "wrong user name or password", "go away"

// TestLanguages: in each language whose toolchain is here a new project builds and passes
// its tests at once; a line that is edited shows, in the tests and to the clients of a broker
// that runs. All kinds are built where all tools have to be there. With -v it says how
// long each step took.
func TestLanguages(t *testing.T) {
	t.Parallel()
	all := os.Getenv("TEST_TOOLS") == "required"
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			var steps lap
			dir, there := makeProject(t, l.name, "auth", &steps)
			if !there {
				return
			}
			for _, kind := range []string{"acl", "filter", "consumer"} {
				if all || kind == l.kind {
					makeProject(t, l.name, kind, new(lap))
				}
			}
			edit(t, filepath.Join(dir, l.source), reason, edited)
			steps.time("edited, build", func() { build(t, dir) })
			refused(t, 1, dir, []string{"plugin", "test"},
				"testdata/events.jsonl:4: authenticate, client c2, user bob", `event 0: reason: want "wrong user name or password", got "go away"`,
				"3 batches, 2 with another answer")
			must(t, dir, "plugin", "test", "--update")
			must(t, dir, "plugin", "test")
			meetClients(t, filepath.Join(dir, filepath.Base(dir)+".wasm"), &steps)
			t.Logf("%s: %s", l.name, &steps)
			if l.trap != "" {
				trapped(t, dir, l.source, l.trap)
			}
		})
	}
}

// trapped puts a trap into the line with the edited reason: with --debug the tests say where
// it is.
func trapped(t *testing.T, dir, source, trap string) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(source))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	at := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, edited) })
	lines[at] = trap
	write(t, file, strings.Join(lines, "\n"))
	must(t, dir, "plugin", "build", "--debug")
	refused(t, 1, dir, []string{"plugin", "test"}, "it failed: wasm plugin: PROCESS: trapped", fmt.Sprintf("%s:%d", source, at+1))
}

// lap is how long the steps of something took.
type lap []string

func (l *lap) time(step string, do func()) {
	began := time.Now()
	do()
	*l = append(*l, fmt.Sprintf("%s %.1f s", step, time.Since(began).Seconds()))
}

func (l *lap) String() string { return strings.Join(*l, ", ") }

// meetClients copies a module of the edited auth template into the plugin folder of a broker that
// runs and lets everybody in, and has real clients refused and accepted.
func meetClients(t *testing.T, module string, steps *lap) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "patchbay.yaml"), "listeners: [{tcp: \"127.0.0.1:0\"}]\nstore: memory\nadmin: {listen: off}\nlog: {format: text}\nplugin_dir: plugins\n")
	folder := filepath.Join(dir, "plugins")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	b := begin(t, dir, "serve")
	b.says(b.stderr, "  tcp ")
	port := tcpAddress.FindStringSubmatch(b.stderr.String())[1]
	if r := connect(t, port, "guess"); r.code != 0 {
		t.Fatalf("without the plugin: %s", r.stderr)
	}
	content, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	var r result
	steps.time("copied, a client is refused", func() {
		write(t, filepath.Join(folder, "auth.yaml"), "config: {password: hush}\n")
		write(t, filepath.Join(folder, "auth.wasm"), string(content))
		eventually(t, "a client is refused", func() bool { r = connect(t, port, "guess"); return r.code == 1 })
	})
	contains(t, r.stderr, edited)
	steps.time("another accepted", func() {
		if r := connect(t, port, "hush"); r.code != 0 {
			t.Errorf("with the right password: %s\n%s", r.stderr, b.stderr)
		}
	})
	if strings.Contains(b.stderr.String(), "level=ERROR") {
		t.Error(b.stderr)
	}
}

func create(t *testing.T, language, kind, dir string) {
	t.Helper()
	args := []string{"plugin", "new", "--lang", language, "--kind", kind, dir}
	if language == "go" {
		args = append(args, "--sdk-path", checkout)
	}
	contains(t, must(t, work, args...), "a new "+kind+" plugin", "patchbay plugin build")
}

// build reports whether the toolchain is there.
func build(t *testing.T, dir string) bool {
	t.Helper()
	r := patchbay(t, dir, "plugin", "build")
	if strings.Contains(r.stderr, "is not installed") {
		if os.Getenv("TEST_TOOLS") == "required" {
			t.Fatal(r.stderr)
		}
		t.Log(r.stderr)
		return false
	}
	if r.code != 0 {
		t.Fatalf("build: exit status %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	return true
}

// makeProject makes a project, and reports whether its toolchain is there; then it is
// built, and has passed its tests.
func makeProject(t *testing.T, language, kind string, steps *lap) (dir string, there bool) {
	t.Helper()
	name := language + "-" + kind
	dir = filepath.Join(t.TempDir(), name)
	steps.time("new", func() { create(t, language, kind, dir) })
	for _, file := range []string{"README.md", ".gitignore", "testdata/config.json", "testdata/events.jsonl", "testdata/verdicts.jsonl"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(string(text), "__") {
			t.Errorf("%s: %s", file, text)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "patchbay", "README.md")); err != nil && language != "go" {
		t.Error(err)
	}
	if steps.time("build", func() { there = build(t, dir) }); !there {
		return dir, false
	}
	steps.time("test", func() {
		contains(t, must(t, dir, "plugin", "test"), "all answered as expected", name+" 0.1.0 (wasm) starts, and is healthy")
	})
	// From elsewhere too, and again with the same answer.
	must(t, work, "plugin", "test", dir, "--quiet")
	return dir, true
}

// TestMissingTools: what is not installed is said, with what to install.
func TestMissingTools(t *testing.T) {
	empty := t.TempDir()
	dirs := map[string]string{}
	for _, l := range languages {
		dirs[l.name] = filepath.Join(t.TempDir(), "p")
		create(t, l.name, "auth", dirs[l.name])
	}
	t.Setenv("PATH", empty)
	for language, words := range map[string][]string{
		"go": {"go is not installed", "go.dev"}, "rust": {"cargo is not installed", "rustup.rs", "libstd-rust-dev-wasm32"},
		"assemblyscript": {"asc is not installed", "npm install"}, "c": {"clang is not installed", "Debian's packages clang and lld"},
		"zig": {"zig is not installed", "pip install ziglang"},
	} {
		refused(t, 1, dirs[language], []string{"plugin", "build"}, words...)
	}
}

// TestNewRefuses: nothing is written where a project cannot be made.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "mine"), "kept")
	for _, c := range []struct {
		args  []string
		words string
	}{
		{[]string{"--kind", "auth", "x"}, "--lang is missing"},
		{[]string{"--lang", "go", "x"}, "--kind is missing"},
		{[]string{"--lang", "cobol", "--kind", "auth", "x"}, `there is no SDK for "cobol"; there are: go, rust`},
		{[]string{"--lang", "c", "--kind", "oracle", "x"}, `"oracle" is no kind of plugin; there are: auth`},
		{[]string{"--lang", "c", "--kind", "auth", "My_Plugin"}, `"My_Plugin" cannot be the name of a plugin`},
		{[]string{"--lang", "c", "--kind", "auth", "--dir", ".", "x"}, "the folder is not empty"},
		{[]string{"--lang", "go", "--kind", "auth", "x"}, "--sdk-path"},
		{[]string{"--lang", "go", "--kind", "auth", "--sdk-path", ".", "x"}, "go.mod: no such file"},
		{[]string{"--lang", "c", "--kind", "auth", "--sdk-path", ".", "x"}, "--sdk-path is for Go projects"},
		{nil, "accepts 1 arg"},
	} {
		refused(t, 2, dir, append([]string{"plugin", "new"}, c.args...), c.words)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.IndexFunc(list, func(e os.DirEntry) bool { return e.Name() != "mine" }); names >= 0 {
		t.Errorf("it has left %v behind", list)
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refused(t, 1, dir, []string{"plugin", "build"}, "go.mod, Cargo.toml", "patchbay plugin new makes a project")
	refused(t, 1, dir, []string{"plugin", "build", "absent"}, "no such file")
	if _, err := exec.LookPath("go"); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	create(t, "go", "auth", broken)
	edit(t, filepath.Join(broken, "main.go"), "p.config = c", "p.config = d")
	write(t, filepath.Join(broken, "broken.wasm"), "the one before")
	refused(t, 1, broken, []string{"plugin", "build"}, "main.go", "undefined: d", "patchbay: Go: go build")
	if text, err := os.ReadFile(filepath.Join(broken, "broken.wasm")); err != nil || string(text) != "the one before" {
		t.Errorf("a build that fails has touched the module: %q, %v", text, err)
	}
}
