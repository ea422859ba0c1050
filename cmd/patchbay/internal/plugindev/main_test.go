package plugindev_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Set by TestMain: a folder for all tests, the program in it, and the checkout.
var work, program, checkout string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if work, err = os.MkdirTemp("", "plugindev-test-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(work)
	if checkout, err = filepath.Abs("../../../.."); err != nil {
		panic(err)
	}
	program = filepath.Join(work, "patchbay")
	build := exec.Command("go", "build", "-o", program, "./cmd/patchbay")
	build.Dir = checkout
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// result is what has become of a command.
type result struct {
	stdout, stderr string
	code           int
}

// commandTime bounds a command, a build with a cold cache on a busy machine included.
const commandTime = 5 * time.Minute

// patchbay runs the program.
func patchbay(t testing.TB, dir string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environ(), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("patchbay %v: %v", args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// environ is without what configures brokers.
func environ() (list []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PATCHBAY_") {
			list = append(list, e)
		}
	}
	return list
}

// must runs a command that has to succeed.
func must(t testing.TB, dir string, args ...string) string {
	t.Helper()
	r := patchbay(t, dir, args...)
	if r.code != 0 {
		t.Fatalf("patchbay %v: exit status %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// refused runs a command that has to fail, with an exit status and in these words.
func refused(t testing.TB, code int, dir string, args []string, words ...string) {
	t.Helper()
	r := patchbay(t, dir, args...)
	if r.code != code {
		t.Errorf("patchbay %v: exit status %d, want %d\n%s%s", args, r.code, code, r.stdout, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stdout+r.stderr, w) {
			t.Errorf("patchbay %v: no %q in\n%s%s", args, w, r.stdout, r.stderr)
		}
	}
}

// contains fails the test for each word that a text has not.
func contains(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
}

// edit replaces a text in a file, which has to have it.
func edit(t testing.TB, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s: no %q", file, old)
	}
	write(t, file, strings.ReplaceAll(string(text), old, new))
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The project that most tests use: a plugin in Go, which is always here.
var sample struct {
	once sync.Once
	dir  string
	err  error
}

// project returns the folder of a plugin in Go that was built: gate-keeper, which decides
// who may connect. Tests must not change it.
func project(t testing.TB) string {
	t.Helper()
	sample.once.Do(func() {
		dir := filepath.Join(work, "gate-keeper")
		must(t, work, "plugin", "new", "--lang", "go", "--kind", "auth", "--sdk-path", checkout, "gate-keeper")
		edit(t, filepath.Join(dir, "main.go"), `Config: sdk.ConfigOf`, `Grants: []sdk.Grant{{Name: "kv", Reason: "remembers who was here"}}, Config: sdk.ConfigOf`)
		must(t, dir, "plugin", "build")
		sample.dir = dir
	})
	if sample.dir == "" {
		t.Fatal("the sample project could not be made")
	}
	return sample.dir
}

// patience is for machines that have ten other things to do: a Go module is compiled within
// a second or two on one that has not.
const patience = 3 * time.Minute

// eventually waits until something holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// process is a command that goes on until it is told to end.
type process struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan struct{}
}

// output is what a process has written until now.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// begin starts the program. It is interrupted at the end of the test, if not before.
func begin(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, environ()
	return beginCommand(t, cmd)
}

func beginCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stdout: &output{}, stderr: &output{}, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its state says the same
		close(p.ended)
	}()
	t.Cleanup(func() { p.end() })
	return p
}

// end interrupts the process, and returns its exit status.
func (p *process) end() int {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Errorf("%v does not end:\n%s%s", p.cmd.Args, p.stdout, p.stderr)
	}
	return p.cmd.ProcessState.ExitCode()
}

// says waits until the process has written something.
func (p *process) says(o *output, words string) {
	p.t.Helper()
	eventually(p.t, words, func() bool {
		select {
		case <-p.ended:
			if !strings.Contains(o.String(), words) {
				p.t.Fatalf("%v has ended, exit status %d:\n%s%s", p.cmd.Args, p.cmd.ProcessState.ExitCode(), p.stdout, p.stderr)
			}
		default:
		}
		return strings.Contains(o.String(), words)
	})
}
