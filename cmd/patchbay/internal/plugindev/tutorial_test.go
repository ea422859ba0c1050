package plugindev_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// block is what stands between two fences of a page: a kind, as "sh", and for which
// terminal it is, "" for the first; "figures" if its numbers are those of another machine.
type block struct{ kind, terminal, text string }

func blocks(t *testing.T, page string) (list []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+) ?([^\n]*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		list = append(list, block{m[1], m[2], m[3]})
	}
	return list
}

// reader does what a page says.
type reader struct {
	t    *testing.T
	home string
	// env and dir are those of the first terminal, port is what is free in place of 1883.
	env       []string
	dir, port string
	others    map[string]*process // terminals
}

func newReader(t *testing.T) *reader {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	home := t.TempDir()
	r := &reader{t: t, home: home, dir: home, others: map[string]*process{}}
	_, r.port, _ = net.SplitHostPort(l.Addr().String())
	if err := os.Symlink(checkout, filepath.Join(home, "patchbay")); err != nil {
		t.Fatal(err)
	}
	// What the page builds first, TestMain has built.
	if err := os.MkdirAll(filepath.Join(home, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(home, "bin", "patchbay")); err != nil {
		t.Fatal(err)
	}
	// With a home of its own, Go would fetch and build everything anew.
	caches, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(caches))
	r.env = append(environ(), "HOME="+home, "GOCACHE="+dirs[0], "GOMODCACHE="+dirs[1],
		"PATH="+filepath.Join(home, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	return r
}

// bash is a command of the page for this machine.
func (r *reader) bash(ctx context.Context, text string) *exec.Cmd {
	text = strings.ReplaceAll(text, "127.0.0.1:1883", "127.0.0.1:"+r.port)
	text = regexp.MustCompile(`(?m)^patchbay (pub|sub) `).ReplaceAllString(text, "patchbay $1 -p "+r.port+" ")
	cmd := exec.CommandContext(ctx, "bash", "-e", "-c", text)
	cmd.Dir, cmd.Env = r.dir, r.env
	return cmd
}

// run runs a block in the first terminal, and returns what it has written.
func (r *reader) run(text string) (out string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	where := filepath.Join(r.home, "where")
	b, err := r.bash(ctx, text+"\npwd > "+where).CombinedOutput()
	if dir, err := os.ReadFile(where); err == nil {
		r.dir = strings.TrimSpace(string(dir))
	}
	return string(b), err
}

// open runs a block in another terminal, where its last command goes on.
func (r *reader) open(b block) {
	lines := strings.Split(strings.TrimSpace(b.text), "\n")
	lines[len(lines)-1] = "exec " + lines[len(lines)-1]
	text := r.bash(context.Background(), strings.Join(lines, "\n")).Args[3]
	text = strings.ReplaceAll(text, "exec patchbay sub ", "exec patchbay sub -p "+r.port+" ")
	cmd := exec.Command("bash", "-e", "-c", text)
	cmd.Dir, cmd.Env = r.home, r.env
	r.others[b.terminal] = beginCommand(r.t, cmd)
}

const figure = `\d[\d,.]*`

var number = regexp.MustCompile("^" + figure + "$")

// shows reports whether a text has all lines of a block, however much space is between words.
func shows(text string, want block) bool {
	for line := range strings.Lines(want.text) {
		words := strings.Fields(line)
		for i := range words {
			if want.terminal == "figures" && number.MatchString(words[i]) {
				words[i] = figure
				continue
			}
			words[i] = regexp.QuoteMeta(words[i])
		}
		if !regexp.MustCompile(strings.Join(words, `\s+`)).MatchString(text) {
			return false
		}
	}
	return true
}

// edit changes main.go as a diff says.
func (r *reader) edit(diff string) {
	var before, after strings.Builder
	for line := range strings.Lines(diff) {
		if line[0] != '+' {
			before.WriteString(line[1:])
		}
		if line[0] != '-' {
			after.WriteString(line[1:])
		}
	}
	edit(r.t, filepath.Join(r.home, "first", "door", "main.go"), before.String(), after.String())
}

// asks reports whether a block only asks a broker, which may be not ready yet.
func asks(text string) bool {
	return strings.HasPrefix(text, "patchbay pub ") || strings.HasPrefix(text, "patchbay plugin list")
}

// TestFirstPlugin does what docs/first-plugin.md says, and sees what it shows.
func TestFirstPlugin(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not there: install it")
	}
	r := newReader(t)
	all := blocks(t, "first-plugin.md")
	began := time.Now()
	commands := 0
	for i, b := range all {
		expected := block{}
		if i+1 < len(all) && all[i+1].kind == "text" {
			expected = all[i+1]
		}
		switch {
		case b.terminal == "setup":
			if b.text != "cd ~/patchbay && go build -o ~/bin/patchbay ./cmd/patchbay\n" {
				t.Errorf("the page builds the program otherwise than this test: %s", b.text)
			}
		case b.kind == "diff":
			r.edit(b.text)
		case b.kind == "go":
			text, err := os.ReadFile(filepath.Join(r.home, "first", "door", "main.go"))
			if err != nil || !strings.Contains(string(text), b.text) {
				t.Errorf("the source is another:\n%s\n%s, %v", b.text, text, err)
			}
		case b.kind == "sh" && strings.HasSuffix(b.terminal, "terminal"):
			r.open(b)
		case b.kind == "sh":
			commands++
			r.step(b, expected)
		}
	}
	if commands < 12 {
		t.Errorf("only %d blocks were run", commands)
	}
	t.Logf("%d blocks of commands in %.0f s", commands, time.Since(began).Seconds())
}

// step runs a block until it shows what it has to show: once, if it does not only ask.
func (r *reader) step(b, expected block) {
	r.t.Helper()
	out, err := r.run(b.text)
	seen := func() bool {
		if other := r.others[expected.terminal]; other != nil {
			return shows(other.stdout.String(), expected)
		}
		return shows(out, expected)
	}
	if asks(b.text) {
		eventually(r.t, fmt.Sprintf("%sshows\n%s", b.text, expected.text), func() bool {
			if !seen() {
				out, _ = r.run(b.text)
			}
			return seen()
		})
		return
	}
	if err != nil || !seen() {
		r.t.Fatalf("%s%v\n%s\nwant\n%s", b.text, err, out, expected.text)
	}
}
