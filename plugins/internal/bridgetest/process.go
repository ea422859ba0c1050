package bridgetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait for something that is bound to happen. It is long because
// machines of CI are slow, and costs nothing when all is well.
const Patience = time.Minute

// Victim is what can be killed and started again. Kill returns when it is dead, Start
// when it has been started; it need not serve yet.
type Victim interface {
	Kill()
	Start()
}

// ProcessOptions say what a Process is.
type ProcessOptions struct {
	// Name is for messages.
	Name string
	// Command makes the command for each start. What it writes goes to a log, which is
	// shown if the test fails. It may have SysProcAttr, for another user.
	Command func() *exec.Cmd
	// Ready is asked again and again until it returns nil: then the process serves. nil
	// is that it does when it has been started.
	Ready func() error
	// Again starts it again if it ends by itself, as who watches over services does: databases end
	// that find what their predecessor has left behind, and a broker whose plugin is killed
	// while it starts. Without it that fails the test. A panic of Go always does.
	Again bool
}

// Process is a program that can be killed (kill -9) and started again, as the other side
// of a bridge. Its methods are for one goroutine.
type Process struct {
	t   testing.TB
	o   ProcessOptions
	log string

	mu     sync.Mutex // guards what follows against the one that waits for the end
	cmd    *exec.Cmd
	killed bool
	ended  chan struct{}
	again  int // how often it has ended by itself
	memory memory
}

// StartProcess starts a process, waits until it serves, and kills it at the end of the test.
func StartProcess(t testing.TB, o ProcessOptions) *Process {
	t.Helper()
	p := &Process{t: t, o: o, log: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("end of the log of %s:\n%s", o.Name, p.tail())
		}
	})
	p.Start()
	p.AwaitReady()
	return p
}

// Start starts it, and does not wait until it serves.
func (p *Process) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed, p.ended = false, make(chan struct{})
	if err := p.start(); err != nil {
		p.t.Fatal(err)
	}
}

// start is called with mu held.
func (p *Process) start() error {
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := p.o.Command()
	cmd.Stdout, cmd.Stderr = f, f
	// A role ends when this is closed, also if this process dies.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.o.Name, err)
	}
	p.cmd = cmd
	ended := p.ended
	go func() {
		err := cmd.Wait()
		stdin.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.killed && p.o.Again && !p.panicked() {
			time.Sleep(100 * time.Millisecond) // or it would be all that this machine does
			p.again++
			if err = p.start(); err == nil {
				return
			}
		}
		if !p.killed {
			p.t.Errorf("%s has ended by itself: %v", p.o.Name, err)
		}
		close(ended)
	}()
	return nil
}

// Kill kills it, if it runs, and returns when it is dead.
func (p *Process) Kill() {
	p.measure()
	p.mu.Lock()
	p.killed = true
	if p.cmd == nil {
		p.mu.Unlock()
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	ended := p.ended
	p.mu.Unlock()
	<-ended
}

// panicked reports whether the log has what a program in Go writes that ends by a fault.
func (p *Process) panicked() bool {
	text := p.Log()
	return strings.Contains(text, "\npanic: ") || strings.Contains(text, "\nfatal error: ") || strings.Contains(text, "DATA RACE")
}

// Again is how often it has ended by itself, and was started again.
func (p *Process) Again() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.again
}

// AwaitReady waits until it serves.
func (p *Process) AwaitReady() {
	p.t.Helper()
	if p.o.Ready == nil {
		return
	}
	Eventually(p.t, p.o.Name+" serves", func() error { return p.o.Ready() })
}

// PID is the process id of what was started at last.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Children are the ids of the processes that it has started; on Linux only.
func (p *Process) Children() (list []int) {
	pid := strconv.Itoa(p.PID())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, _ := os.ReadFile(file) // it may be gone
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == pid && f[0] != "Z" {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			list = append(list, child)
		}
	}
	return list
}

// KillChildren kills the processes that it has started, and returns how many there were.
func (p *Process) KillChildren() int {
	p.measure()
	list := p.Children()
	for _, pid := range list {
		kill(pid)
	}
	return len(list)
}

func kill(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill() // it may have ended
	}
}

// Log is what it has written, all its lives together.
func (p *Process) Log() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

func (p *Process) tail() string {
	text := p.Log()
	return text[max(0, len(text)-6000):]
}

// memory is the most that was seen, in KiB of resident memory.
type memory struct{ own, children int }

// measure notes how much memory it and its children have had, on Linux.
func (p *Process) measure() {
	p.mu.Lock()
	running := p.cmd != nil && !p.killed
	p.mu.Unlock()
	if !running {
		return
	}
	own, children := PeakMemory(p.PID()), 0
	for _, pid := range p.Children() {
		children += PeakMemory(pid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory.own = max(p.memory.own, own)
	p.memory.children = max(p.memory.children, children)
}

// PeakMemory is the most resident memory in KiB that a process has had; 0 if that cannot
// be known.
func PeakMemory(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, ok := strings.Cut(string(text), "VmHWM:")
	if !ok {
		return 0
	}
	kib, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kib
}

// FreeAddr is an address of this machine, as 127.0.0.1:PORT, on which nobody listens, for
// servers that have to be told their port and are started again on it. The port is not one
// of those that systems give to connections.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("there is no free port from 20000 to 31999")
	return ""
}

// Listens is a Ready of ProcessOptions: somebody listens at the address.
func Listens(addr string) func() error {
	return func() error {
		c, err := net.DialTimeout(network(addr), addr, Patience)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// Eventually asks again and again until fn returns nil, for Patience at the most.
func Eventually(t testing.TB, what string, fn func() error) {
	t.Helper()
	for until := time.Now().Add(Patience); ; time.Sleep(10 * time.Millisecond) {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: not within %s: %v", what, Patience, err)
		}
	}
}

// Tool finds a program that is not of this module, in PATH and where Debian has servers. Without
// it the test is skipped, or fails if TEST_TOOLS is required.
func Tool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	for _, file := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	if os.Getenv("TEST_TOOLS") == "required" {
		t.Fatalf("%s is not there: install the package %s", name, debianPackage)
	}
	t.Skipf("%s is not there: install the package %s", name, debianPackage)
	return ""
}
