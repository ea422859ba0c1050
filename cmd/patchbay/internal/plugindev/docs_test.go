package plugindev_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs: each command of docs/plugin-development.md is there, with the flags that the
// page gives it.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(checkout, "docs", "plugin-development.md"))
	if err != nil {
		t.Fatal(err)
	}
	helps := map[string]string{}
	inShell, seen := false, 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			inShell = strings.TrimSpace(line) == "```sh"
			continue
		}
		if !inShell || !strings.HasPrefix(line, "patchbay plugin ") {
			continue
		}
		line, _, _ = strings.Cut(line, " #")
		seen++
		name := strings.Fields(line)[2]
		if helps[name] == "" {
			helps[name] = must(t, work, "plugin", name, "--help")
		}
		if !strings.Contains(helps[name], "patchbay plugin "+name) {
			t.Errorf("%q: there is no such command", line)
		}
		for _, flag := range regexp.MustCompile(` (--?[a-z-]+)`).FindAllStringSubmatch(line, -1) {
			if !regexp.MustCompile(`(?m)^ .*` + regexp.QuoteMeta(flag[1]) + `[ ,]`).MatchString(helps[name]) {
				t.Errorf("%q: there is no flag %s", line, flag[1])
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d commands were found", seen)
	}
	// What all commands of this package have in common.
	for _, name := range []string{"new", "build", "test", "bench", "inspect", "run", "keygen", "pack", "install"} {
		if help := must(t, work, "plugin", name, "--help"); strings.Contains(help, "--socket") {
			t.Errorf("%s has flags of those that speak to a broker:\n%s", name, help)
		}
	}
}
