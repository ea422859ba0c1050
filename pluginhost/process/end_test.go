//go:build unix

package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// TestStubborn closes a plugin that ignores SIGTERM and has started another process.
func TestStubborn(t *testing.T) {
	for _, role := range []string{"stubborn", "parent"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			o := self(role)
			o.Grace = 300 * time.Millisecond
			p := open(t, o)
			var other int
			m, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Sscan(m.Description, &other)
			if !alive(other) {
				t.Fatal("it has not started another process")
			}
			began := time.Now()
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			waited := time.Since(began) >= o.Grace
			if waited != (role == "stubborn") {
				t.Errorf("it took %v to end", time.Since(began))
			}
			how := map[string]string{"stubborn": "signal: killed", "parent": "signal: terminated"}[role]
			if err := p.Err(); err == nil || !strings.Contains(err.Error(), how) {
				t.Error(err)
			}
			until(t, "the end of the other process", func() bool { return !alive(other) })
		})
	}
}

// TestLeft has a plugin end by itself while something that it has started runs on: in its group, where that is killed, or as a
// daemon, which is not the broker's to kill but holds the output open.
func TestLeft(t *testing.T) {
	for _, role := range []string{"leaves another", "leaves a daemon"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			p := open(t, self(role))
			var other int
			m, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscan(m.Description, &other); err != nil || !alive(other) {
				t.Fatalf("it has not started another process: %q", m.Description)
			}
			began := time.Now()
			ended := ask(p, batch("bad"))
			select {
			case <-p.Exited():
			case <-time.After(limit):
				t.Fatal("its end was not noticed")
			}
			if d := time.Since(began); d > drainTime+2*time.Second {
				t.Errorf("its end was noticed after %v", d)
			}
			if err := p.Err(); err == nil || !strings.Contains(err.Error(), "exit status 5") || ended.wait(t) == nil {
				t.Errorf("%v", err)
			}
			if role == "leaves another" {
				if runtime.GOOS == "linux" {
					until(t, "the end of the other process", func() bool { return !alive(other) })
				}
				return
			}
			if !alive(other) {
				t.Error("the daemon was killed")
			}
			_ = syscall.Kill(other, syscall.SIGKILL)
		})
	}
}

// TestGroup sees that a plugin is in a process group of its own, which a terminal's ^C does not reach.
func TestGroup(t *testing.T) {
	p := open(t, self("well"))
	group, err := syscall.Getpgid(p.PID())
	if err != nil || group != p.PID() {
		t.Errorf("group %d, %v", group, err)
	}
}

// TestBrokerKilled kills a broker with a signal that it cannot see. The plugin, which ignores what it can, ends; so does what the plugin
// has started, which nothing but the lifeline reaches.
func TestBrokerKilled(t *testing.T) {
	for _, role := range []string{"stubborn", "parent"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			broker := exec.Command(os.Args[0])
			dir, err := os.MkdirTemp("", "pbp") // a broker that is killed leaves its folders behind
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			broker.Env = []string{roleEnv + "=broker:" + role, "PROCESS_TEST_SOCKETS=" + dir}
			out, err := broker.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			broker.Stderr = os.Stderr
			if err := broker.Start(); err != nil {
				t.Fatal(err)
			}
			var child, other int
			if _, err := fmt.Sscan(firstLine(out), &child, &other); err != nil || !alive(child) || !alive(other) {
				t.Errorf("%d, %d: %v", child, other, err)
			}
			if err := broker.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = broker.Wait()
			until(t, "the end of the plugin", func() bool { return !alive(child) })
			until(t, "the end of what it has started", func() bool { return !alive(other) })
		})
	}
}

// TestReattach uses a plugin that the test has started, as somebody with a debugger would.
func TestReattach(t *testing.T) {
	dir, err := os.MkdirTemp("", "pbp") // a plugin that is killed leaves its socket behind
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{roleEnv + "=caller", instance.CookieKey + "=" + instance.CookieValue, "TMPDIR=" + dir}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	fields := strings.Split(firstLine(out), "|")
	if len(fields) < 5 {
		t.Fatalf("it printed %q", fields)
	}
	value := fmt.Sprintf(`{"auth":{"protocol":"grpc","pid":%d,"addr":{"network":%q,"string":%q}}}`, cmd.Process.Pid, fields[2], fields[3])
	plugins, err := ParseReattach(value)
	if err != nil {
		t.Fatal(err)
	}
	r := plugins["auth"]
	p := open(t, Options{Reattach: &r})
	if s, err := p.Start(t.Context(), &pluginv1.StartRequest{}); err != nil || len(s.Problems) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	ask(p, batch("t")).says(t, "t")
	if p.PID() != cmd.Process.Pid || p.Err() != nil {
		t.Errorf("%d, %v", p.PID(), p.Err())
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if !alive(cmd.Process.Pid) {
		t.Error("Close has ended a process that somebody else has started")
	}
	again := open(t, Options{Reattach: &r})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	select {
	case <-again.Exited():
	case <-time.After(limit):
		t.Error("its end was not noticed")
	}
	if _, err := load(t, Options{Reattach: &r}).Open(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "reattaching to process") {
		t.Error(err)
	}
}

func TestParseReattach(t *testing.T) {
	for value, says := range map[string]string{
		``:     "",
		`{}`:   "",
		`{} {`: "more after",
		`[]`:   "cannot unmarshal",
		`{"a":{"protocol":"netrpc","pid":1,"addr":{"network":"unix","string":"/x"}}}`: `a: protocol is "netrpc"`,
		`{"a":{"pid":1,"addr":{"network":"udp","string":"/x"}}}`:                      `addr.network is "udp"`,
		`{"a":{"pid":1,"addr":{"network":"unix"}}}`:                                   "addr.string",
		`{"a":{"pid":0,"addr":{"network":"unix","string":"/x"}}}`:                     "pid is missing",
		`{"a":{"pid":1,"address":"x"}}`:                                               "unknown field",
	} {
		_, err := ParseReattach(value)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", value, err)
		}
	}
}
