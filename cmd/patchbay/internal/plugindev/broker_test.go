package plugindev_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func goBuild(t *testing.T, dir, out string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-mod=mod", "-o", out, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

var (
	tcpAddress = regexp.MustCompile(`(?m)^  tcp +127\.0\.0\.1:(\d+) `)
	socketPath = regexp.MustCompile(`(?m)^  socket +(\S+)$`)
)

// connect has a client publish, and returns its exit status.
func connect(t *testing.T, port, password string) result {
	t.Helper()
	return patchbay(t, work, "pub", "-p", port, "-h", "127.0.0.1", "-i", "c1", "-u", "ann", "-P", password, "-t", "users/ann/x", "-m", "hi", "-q", "1")
}

// TestRun: a plugin alone in a broker, seen at work, and exchanged while it runs; what the
// broker asks is recorded, and replayed.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keeper")
	create(t, "go", "auth", dir)
	if !build(t, dir) {
		t.Fatal("Go is not there")
	}
	p := begin(t, dir, "plugin", "run", "--listen", "tcp://127.0.0.1:0", "--log-level", "info")
	p.says(p.stderr, "Ctrl-C ends")
	port := tcpAddress.FindStringSubmatch(p.stderr.String())[1]
	socket := socketPath.FindStringSubmatch(p.stderr.String())[1]

	events := filepath.Join(dir, "recorded.jsonl")
	record := begin(t, dir, "plugin", "record", "--socket", socket, "--with-passwords", "--points", "authenticate,intercept_publish", "-o", events, "--count", "3")
	p.says(p.stderr, "recording for an operator")
	if r := connect(t, port, "correct horse"); r.code != 0 {
		t.Fatalf("not let in: %s", r.stderr)
	}
	p.says(p.stdout, "authenticate, client c1, user ann  → ALLOW, 1 permission +ps:users/ann/#")
	if r := connect(t, port, "guess"); r.code != 1 || !strings.Contains(r.stderr, "wrong user name or password") {
		t.Errorf("let in with a wrong password: %+v", r)
	}
	p.says(p.stdout, "authenticate, client c1, user ann  → DENY 0x86 wrong user name or password")

	eventually(t, "three lines are recorded", func() bool {
		select {
		case <-record.ended:
			return true
		default:
			return false
		}
	})
	if info, err := os.Stat(events); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a recording with passwords: %v, %v", info.Mode(), err)
	}
	contains(t, must(t, dir, "plugin", "test", "--replay", events), "client c1, user ann: event 0: action=ACTION_ALLOW",
		"action=ACTION_DENY event 0: reason=\"wrong user name or password\"", "3 batches, 1 of them not for this plugin")

	// A new version takes the place of the old one.
	edit(t, filepath.Join(dir, "main.go"), "wrong user name or password", "go away")
	if !build(t, dir) {
		t.Fatal("Go is not there")
	}
	p.says(p.stderr, "keeper.wasm is in force")
	if r := connect(t, port, "guess"); r.code != 1 || !strings.Contains(r.stderr, "go away") {
		t.Errorf("not the new version: %+v", r)
	}
	write(t, filepath.Join(dir, "keeper.wasm"), "not a module")
	p.says(p.stderr, "is refused, the one before goes on")
	if r := connect(t, port, "correct horse"); r.code != 0 {
		t.Errorf("the version before is gone: %s", r.stderr)
	}
	if code := p.end(); code != 0 {
		t.Errorf("exit status %d\n%s", code, p.stderr)
	}
	if _, err := os.Stat(filepath.Dir(socket)); !os.IsNotExist(err) {
		t.Errorf("it has left its folder behind: %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	dir := project(t)
	refused(t, 2, dir, []string{"plugin", "run", "--listen", "tcp://127.0.0.1:0", "--config", `{"password":7}`}, "plugins[0]", "config: /password")
	refused(t, 2, dir, []string{"plugin", "run", "--listen", "tcp://127.0.0.1:0", "--deny", "kv"}, "it needs grants that it has not got", "grants: [kv]")
	refused(t, 2, dir, []string{"plugin", "run", "--config", `{`}, "config: it is not JSON")
	refused(t, 1, dir, []string{"plugin", "run", "main.go"}, "main.go")
}

func TestRecordRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "patchbay.yaml"), "listeners: [{tcp: \"127.0.0.1:0\"}]\nstore: memory\nadmin: {listen: off}\nlog: {format: text}\n")
	refused(t, 1, dir, []string{"plugin", "record"}, "no running broker at")
	b := begin(t, dir, "serve")
	b.says(b.stderr, "  tcp ")
	eventually(t, "the socket is there", func() bool {
		_, err := os.Stat(filepath.Join(dir, "patchbay-data", "admin.sock"))
		return err == nil
	})
	refused(t, 2, dir, []string{"plugin", "record", "--points", "authentikate"}, `"authentikate" cannot be recorded; these can: authenticate,`)
	refused(t, 2, dir, []string{"plugin", "record", "--points", "gate_publish"}, `"gate_publish" cannot be recorded`)
	refused(t, 2, dir, []string{"plugin", "record", "--topics", "a#"}, `"a#" is not a Topic Filter`)
	first := begin(t, dir, "plugin", "record", "-o", "first")
	b.says(b.stderr, "recording for an operator")
	refused(t, 1, dir, []string{"plugin", "record"}, "a recording is under way already")
	if code := first.end(); code != 0 {
		t.Errorf("exit status %d\n%s", code, first.stderr)
	}
	b.says(b.stderr, "recording ended")
	must(t, dir, "plugin", "record", "--for", "50ms", "-o", "second")
}
