package process

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"
)

const (
	// maxHandshake bounds the line of the handshake. With a certificate it has about 1 KiB.
	maxHandshake = 16 << 10
	// drainTime is how long output is awaited from a process that has ended: one that it has left
	// behind may hold the pipe open.
	drainTime = 500 * time.Millisecond
	// killTime is how long a process that was killed may take. One that waits for a device cannot even be killed.
	killTime = 2*time.Second + drainTime
)

// child is a process that this broker has started. go-plugin sees it as a runner.Runner.
type child struct {
	cmd      *exec.Cmd
	lifeline *os.File // the broker's end of its stdin
	pipes    []*os.File
	stdout   *output
	stderr   *output
	last     *tail

	// What go-plugin reads: the line of the handshake, and nothing.
	line, none   *io.PipeReader
	lineW, noneW *io.PipeWriter

	mu        sync.Mutex
	alive     bool   // it runs, or has not been reaped yet: its id is its own
	unwanted  bool   // it was killed, or must not start any more
	handshake []byte // the first line of stdout, nil before that

	exited chan struct{} // closed when it has ended, and what follows is set
	failed error         // it could not be started
	exit   string
	byself bool // it ended before anybody wanted it to
}

var _ runner.Runner = (*child)(nil)

func newChild(cmd *exec.Cmd, log *logger, last *tail) *child {
	c := &child{cmd: cmd, last: last, exited: make(chan struct{})}
	c.line, c.lineW = io.Pipe()
	c.none, c.noneW = io.Pipe()
	c.stdout, c.stderr = newOutput(log, nil), newOutput(log, last)
	return c
}

// Start implements runner.Runner.
func (c *child) Start(context.Context) error {
	started := make(chan error, 1)
	go c.run(started)
	return <-started
}

// run starts the process, and waits for its end. The kernel kills the child when the thread that has started it
// ends, so that must be one that lives as long.
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var drained sync.WaitGroup
	err := c.start(&drained)
	started <- err
	if err == nil {
		c.await()
		c.lifeline.Close()
		c.drain(&drained)
	} else {
		c.failed = err
	}
	c.lineW.Close()
	c.noneW.Close()
	close(c.exited)
}

func (c *child) start(drained *sync.WaitGroup) error {
	var files [3][2]*os.File // stdin, stdout, stderr: reader and writer
	closeAll := func(which ...*os.File) {
		for _, f := range which {
			if f != nil {
				f.Close()
			}
		}
	}
	for i := range files {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range files {
				closeAll(f[:]...)
			}
			return err
		}
		files[i] = [2]*os.File{r, w}
	}
	c.lifeline, c.pipes = files[0][1], []*os.File{files[1][0], files[2][0]}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = files[0][0], files[1][1], files[2][1]
	c.cmd.SysProcAttr = attributes()

	c.mu.Lock()
	defer c.mu.Unlock()
	err := errors.New("it was not wanted any more")
	if !c.unwanted {
		err = c.cmd.Start()
	}
	closeAll(files[0][0], files[1][1], files[2][1])
	if err != nil {
		closeAll(c.pipes...)
		closeAll(c.lifeline)
		return err
	}
	c.alive = true
	drained.Go(func() { c.readStdout(files[1][0]) })
	drained.Go(func() { c.stderr.readAll(files[2][0]) })
	return nil
}

// await waits for the end of the process, kills what it has left behind in its group, and reaps it.
func (c *child) await() {
	// The errors of Wait are that of the state, and that there are no goroutines to wait for.
	if reapsLater {
		awaitExit(c.cmd.Process.Pid)
	} else {
		_ = c.cmd.Wait()
	}
	c.mu.Lock()
	c.alive = false
	c.byself = !c.unwanted
	if reapsLater {
		killGroup(c.cmd.Process.Pid)
		_ = c.cmd.Wait()
	}
	c.mu.Unlock()
	c.exit = c.cmd.ProcessState.String()
}

// drain waits until everything that was written has been read.
func (c *child) drain(drained *sync.WaitGroup) {
	stop := time.AfterFunc(drainTime, func() {
		for _, f := range c.pipes {
			f.Close()
		}
	})
	defer stop.Stop()
	c.stdout.hurry()
	c.stderr.hurry()
	drained.Wait()
	for _, f := range c.pipes {
		f.Close()
	}
}

// readStdout gives go-plugin the first line and the log all others. go-plugin would stop to read at a line
// that is too long for it, and the process at its next write. That there is no line it hears when the process has ended.
func (c *child) readStdout(f io.Reader) {
	r := bufio.NewReaderSize(f, maxHandshake)
	line, err := r.ReadSlice('\n')
	if len(line) > 0 || err == nil {
		c.mu.Lock()
		c.handshake = append([]byte{}, line...)
		c.mu.Unlock()
		if _, err := c.lineW.Write(append(line[:len(line):len(line)], '\n')); err != nil {
			return
		}
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	if err == nil {
		c.stdout.readAll(r)
	}
}

// signal sends a signal to the process and its group, unless it has ended.
func (c *child) signal(send func(pid int)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unwanted = true
	if c.alive {
		send(c.cmd.Process.Pid)
	}
}

// Kill implements runner.Runner.
func (c *child) Kill(context.Context) error {
	c.signal(killGroup)
	return nil
}

// Wait implements runner.Runner.
func (c *child) Wait(context.Context) error {
	<-c.exited
	return nil
}

// end ends the process in order, or else by force, and reports whether it has ended.
func (c *child) end(grace time.Duration) bool {
	c.signal(terminateGroup)
	if !terminates {
		c.lifeline.Close()
	}
	if c.endsWithin(grace) {
		return true
	}
	c.signal(killGroup)
	return c.endsWithin(killTime)
}

func (c *child) endsWithin(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.exited:
		return true
	case <-t.C:
		return false
	}
}

// startError is why it could not be started, nil if it was.
func (c *child) startError() error {
	<-c.exited
	return c.failed
}

// firstLine returns what stood in the place of the handshake, false if there was nothing.
func (c *child) firstLine() (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.handshake), c.handshake != nil
}

// crash is the error of a process that has ended. Call it after exited.
func (c *child) crash(reason string) *Error {
	return &Error{Cause: Crashed, Reason: reason, Exit: c.exit, Stderr: c.last.get()}
}

// Stdout, Stderr, Name, ID, Diagnose and the translation of addresses are the rest of runner.Runner.

// Stdout implements runner.Runner.
func (c *child) Stdout() io.ReadCloser { return c.line }

// Stderr implements runner.Runner.
func (c *child) Stderr() io.ReadCloser { return c.none }

// Name implements runner.Runner.
func (c *child) Name() string { return c.cmd.Path }

// ID implements runner.Runner. It is never empty, or go-plugin would not clean up.
func (c *child) ID() string { return strconv.Itoa(c.pid()) }

// Diagnose implements runner.Runner.
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner.
func (c *child) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (c *child) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// pid is 0 if the process was never started.
func (c *child) pid() int {
	if c.cmd.Process == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// cause takes the path off an error, where the message has it already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
