package plugindev_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// languages are those that there are templates for, each with the line of its auth
// template that TestLanguages edits.
var languages = []struct {
	name, source, old, new string
	// kind is the one that is built where not all are.
	kind string
}{
	{"go", "main.go", "wrong user name or password", "go away", "consumer"},
	{"rust", "src/lib.rs", "wrong user name or password", "go away", "filter"},
	{"assemblyscript", "src/plugin.ts", "wrong user name or password", "go away", "acl"},
	{"c", "src/plugin.c", "wrong user name or password", "go away", "consumer"},
	{"zig", "src/plugin.zig", "wrong user name or password", "go away", "filter"},
}

// TestLanguages: in each language whose toolchain is here a new project builds and passes
// its tests at once; a line that is edited shows. All kinds are built where all tools
// have to be there.
func TestLanguages(t *testing.T) {
	all := os.Getenv("TEST_TOOLS") == "required"
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []string{"auth", "acl", "filter", "consumer"} {
				if kind == "auth" || kind == l.kind || all {
					makeProject(t, l.name, kind)
				}
			}
			dir := filepath.Join(t.TempDir(), "edited")
			create(t, l.name, "auth", dir)
			edit(t, filepath.Join(dir, l.source), l.old, l.new)
			if build(t, dir) {
				refused(t, 1, dir, []string{"plugin", "test"},
					"testdata/events.jsonl:4: authenticate, client c2, user bob", `event 0: reason: want "wrong user name or password", got "go away"`,
					"3 batches, 2 with another answer")
				must(t, dir, "plugin", "test", "--update")
				must(t, dir, "plugin", "test")
			}
		})
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

func makeProject(t *testing.T, language, kind string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), language+"-"+kind)
	create(t, language, kind, dir)
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
	if !build(t, dir) {
		return
	}
	contains(t, must(t, dir, "plugin", "test"), "all answered as expected", language+"-"+kind+" 0.1.0 (wasm) starts, and is healthy")
	// From elsewhere too, and again with the same answer.
	must(t, work, "plugin", "test", dir, "--quiet")
}

// TestMissingTools: what is not installed is said, with what to install.
func TestMissingTools(t *testing.T) {
	path := os.Getenv("PATH")
	defer os.Setenv("PATH", path)
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
