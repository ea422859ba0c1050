package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that is bound to happen. It is long
// because machines of CI are slow, and costs nothing when all is well.
const patience = time.Minute

// environment of a process: nothing of ours that could configure it.
func environment(extra ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PATCHBAY_") && !strings.HasPrefix(v, "GOMEMLIMIT=") {
			env = append(env, v)
		}
	}
	// A program with the race detector would wait for a second before it ends.
	return append(append(env, "GORACE=atexit_sleep_ms=0"), extra...)
}

// result is what became of a command.
type result struct {
	stdout, stderr string
	code           int
}

// command is a run of some program to its end.
type command struct {
	dir   string
	env   []string
	stdin string
}

func (c command) run(t testing.TB, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = c.dir, environment(c.env...)
	if c.stdin != "" {
		cmd.Stdin = strings.NewReader(c.stdin)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.Bytes())
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed and returns what it wrote.
func (c command) must(t testing.TB, name string, args ...string) string {
	t.Helper()
	r := c.run(t, name, args...)
	if r.code != 0 {
		t.Fatalf("%s %q: exit status %d\n%s%s", name, args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// broker is a running `patchbay serve`.
type broker struct {
	t         testing.TB
	program   string // what is run
	dir, file string // working directory, and the configuration in it
	cmd       *exec.Cmd
	log       *log
	addr      map[string]string // by listener name; "admin" is the one for operators
	ended     chan struct{}     // closed after the process has
}

// start runs a broker with the given configuration file and waits until it
// listens. Listeners should be on port 0 and have a name. It is stopped, and has
// to stop in order, at the end of the test.
func start(t testing.TB, yaml string, env ...string) *broker {
	t.Helper()
	b := newBroker(t, yaml)
	b.begin(env, "serve", "--config", b.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	b.ready()
	return b
}

// newBroker makes the folder of a broker; its name is short enough for sockets.
func newBroker(t testing.TB, yaml string) *broker {
	t.Helper()
	dir, err := os.MkdirTemp("", "pb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &broker{t: t, program: patchbay, dir: dir, file: filepath.Join(dir, "broker.yaml"), addr: map[string]string{}}
	b.configure(yaml)
	return b
}

// configure writes the configuration file.
func (b *broker) configure(yaml string) {
	b.t.Helper()
	if err := os.WriteFile(b.file, []byte(strings.ReplaceAll(yaml, "\t", "  ")), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// begin starts the process with any arguments.
func (b *broker) begin(env []string, args ...string) {
	b.t.Helper()
	b.cmd = exec.Command(b.program, args...)
	b.cmd.Dir, b.cmd.Env = b.dir, environment(env...)
	stderr, err := b.cmd.StderrPipe()
	if err == nil {
		err = b.cmd.Start()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.log, b.ended = newLog(), make(chan struct{})
	go func() {
		b.log.read(stderr)
		_ = b.cmd.Wait() // its outcome is in ProcessState
		close(b.ended)
	}()
	b.t.Cleanup(func() {
		b.stop()
		if b.t.Failed() {
			b.t.Logf("log of the broker:\n%s", b.log.tail(200))
		}
	})
}

// ready waits for the log to say that all is open, and notes where.
func (b *broker) ready() {
	b.t.Helper()
	b.await("started", nil)
	for _, r := range b.log.find("listening") {
		b.addr[r.text("name")] = r.text("address")
	}
}

// await waits for a log record with this message that matches (nil: any).
func (b *broker) await(message string, matches func(record) bool) record {
	b.t.Helper()
	r, ok := b.log.await(message, matches)
	if !ok {
		b.t.Fatalf("the broker did not log %q", message)
	}
	return r
}

func (b *broker) signal(s syscall.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		b.t.Fatal(err)
	}
}

// exit waits for the process to end and returns its exit status.
func (b *broker) exit() int {
	b.t.Helper()
	select {
	case <-b.ended:
	case <-time.After(patience):
		b.t.Error("the broker does not end")
		_ = b.cmd.Process.Kill()
		<-b.ended
	}
	return b.cmd.ProcessState.ExitCode()
}

// stop ends the broker, unless it has ended, and demands that it do so in order.
func (b *broker) stop() {
	b.t.Helper()
	select {
	case <-b.ended:
		return
	default:
	}
	// It may be ending at this moment: then there is nobody to signal.
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	if code := b.exit(); code != 0 {
		b.t.Errorf("the broker ended with exit status %d", code)
	}
}

// operator runs a command that speaks to the broker through its socket.
func (b *broker) operator(args ...string) result {
	b.t.Helper()
	return command{dir: b.dir}.run(b.t, patchbay, append(args, "--socket", filepath.Join(b.dir, "patchbay-data", "admin.sock"))...)
}

// client describes a session as operators see it.
func (b *broker) client(id string) (info struct {
	Remote, Username, Listener, Version string
	Inflight, Queued                    int
}) {
	b.t.Helper()
	r := b.operator("clients", "show", id, "--json")
	if r.code != 0 {
		b.t.Fatalf("clients show %s: %s", id, r.stderr)
	}
	if err := json.Unmarshal([]byte(r.stdout), &info); err != nil {
		b.t.Fatal(err)
	}
	return info
}

// get reads a page of the listener for operators.
func (b *broker) get(path string) (status int, body string) {
	b.t.Helper()
	c := http.Client{Timeout: patience}
	defer c.CloseIdleConnections()
	r, err := c.Get("http://" + b.addr["admin"] + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// metrics returns the samples of /metrics by name, labels included.
func (b *broker) metrics() map[string]float64 {
	b.t.Helper()
	status, text := b.get("/metrics")
	if status != http.StatusOK {
		b.t.Fatalf("/metrics: %d %s", status, text)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(text) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			// What is no number is not of ours.
			samples[line[:i]], _ = strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		}
	}
	return samples
}

// metric waits until a sample is as wanted.
func (b *broker) metric(name string, wanted func(float64) bool) float64 {
	b.t.Helper()
	var v float64
	eventually(b.t, patience, func() bool {
		v = b.metrics()[name]
		return wanted(v)
	}, "metric %s", name)
	return v
}

func is(n float64) func(float64) bool      { return func(v float64) bool { return v == n } }
func atLeast(n float64) func(float64) bool { return func(v float64) bool { return v >= n } }

// eventually polls another process, which has no channel to wait on.
func eventually(t testing.TB, limit time.Duration, done func() bool, what string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: "+what, append([]any{limit}, args...)...)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
