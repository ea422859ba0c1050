//go:build unix

package process

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// roleEnv makes this test program something else: a plugin, or a broker. See guest_test.go.
const roleEnv = "PROCESS_TEST_ROLE"

// limit bounds everything that a test waits for.
const limit = 15 * time.Second

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		play(role)
		return
	}
	dir, err := os.MkdirTemp("", "pbp")
	if err != nil {
		panic(err)
	}
	socketDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// socketDir is where sockets are made. Those of t.TempDir have names that are too long.
var socketDir string

// self are options that run this program in a role.
func self(role string) Options {
	return Options{Self: true, Env: []string{roleEnv + "=" + role}, SocketDir: socketDir, Dev: true}
}

func load(t testing.TB, o Options) *Program {
	t.Helper()
	p, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// open starts a plugin, and closes it at the end of the test.
func open(t testing.TB, o Options) *Plugin {
	t.Helper()
	opened, err := load(t, o).Open(context.Background(), plugintest.NewHost())
	if err != nil {
		t.Fatal(err)
	}
	p := opened.(*Plugin)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if alive(p.PID()) && o.Reattach == nil {
			t.Errorf("process %d runs after Close", p.PID())
		}
	})
	return p
}

// records are the lines of a log.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) log(level pluginv1.LogLevel, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimPrefix(level.String(), "LOG_LEVEL_")+" "+text)
}

func (r *records) get() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

// batch is a decision about one message.
func batch(topic string) *pluginv1.Batch {
	return &pluginv1.Batch{
		Point: pluginv1.PointInterceptPublish, Clients: []pluginv1.Client{{ClientID: "c", Connection: 1}},
		Events: []pluginv1.Event{{ID: 1, Client: 1, Message: &pluginv1.Message{Topic: topic}}},
	}
}

// asked is a batch that was given to a plugin.
type asked struct {
	answer pluginv1.Answer
	end    chan error
}

func ask(p *Plugin, b *pluginv1.Batch) *asked {
	c := &asked{end: make(chan error, 1)}
	if answered, err := p.Process(b, &c.answer, func(err error) { c.end <- err }); answered {
		c.end <- err
	}
	return c
}

// wait returns what done was called with.
func (c *asked) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-c.end:
		return err
	case <-time.After(limit):
		t.Fatal("there is no answer")
		return nil
	}
}

// says checks that the answer is the one about a topic.
func (c *asked) says(t testing.TB, topic string) {
	t.Helper()
	if err := c.wait(t); err != nil {
		t.Fatalf("%s: %v", topic, err)
	}
	if len(c.answer.Verdicts) != 1 || c.answer.Verdicts[0].Reason != topic {
		t.Fatalf("%s: answered with %+v", topic, c.answer.Verdicts)
	}
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// alive reports whether a process runs. One that has ended, and that nobody has asked for yet, does not.
func alive(pid int) bool {
	if !runs(pid) {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return runtime.GOOS != "linux"
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}
