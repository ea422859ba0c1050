package crash

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// program runs the broker on one data folder, one life after the other.
type program struct {
	binary string
	dir    string   // with the configuration, the data folder and the log
	env    []string // beside that of the test
	log    *os.File

	cmd   *exec.Cmd
	ready chan string // the address, once the broker listens
	addr  string
	ended chan struct{} // closed after the process has
}

// configuration is that of a broker which bounds no queue, as what it drops by
// policy would look like a loss, and keeps few messages in flight, so that others
// wait behind them.
const configuration = `
listeners: [{name: mqtt, tcp: "127.0.0.1:0"}]
admin: {listen: "off", socket: "off"}
data_dir: %q
%s
session: {max_queued_messages: 0, max_queued_bytes: 0, max_inflight: 40}
limits: {memory: "off"}
sys: {interval: 0s}
log: {format: json}
`

// newProgram prepares a folder. settings are lines of the configuration.
func newProgram(binary, dir, settings string, env ...string) (*program, error) {
	log, err := os.Create(filepath.Join(dir, "broker.log"))
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(configuration, filepath.Join(dir, "data"), settings)
	if err := os.WriteFile(filepath.Join(dir, "broker.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	return &program{binary: binary, dir: dir, env: env, log: log}, nil
}

// start begins a life and waits until the broker listens.
func (p *program) start() error {
	if err := p.launch(); err != nil {
		return err
	}
	select {
	case p.addr = <-p.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("the broker did not start (%v):\n%s", p.cmd.ProcessState, p.tail())
	case <-time.After(patience):
		p.kill()
		return fmt.Errorf("the broker does not say that it has started:\n%s", p.tail())
	}
}

// launch begins a life.
func (p *program) launch() error {
	p.cmd = exec.Command(p.binary, "serve", "--config", "broker.yaml")
	p.cmd.Dir, p.cmd.SysProcAttr = p.dir, ownGroup()
	// A program with the race detector would wait for a second before it ends.
	p.cmd.Env = append(cleanEnvironment(), "GORACE=atexit_sleep_ms=0")
	p.cmd.Env = append(p.cmd.Env, p.env...)
	stderr, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return err
	}
	p.ready, p.ended = make(chan string, 1), make(chan struct{})
	go func(cmd *exec.Cmd, ready chan<- string, ended chan struct{}) {
		p.follow(stderr, ready)
		_ = cmd.Wait() // its outcome is in ProcessState
		close(ended)
	}(p.cmd, p.ready, p.ended)
	return nil
}

// cleanEnvironment has nothing that could configure the broker.
func cleanEnvironment() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PATCHBAY_") && !strings.HasPrefix(v, "GOMEMLIMIT=") {
			env = append(env, v)
		}
	}
	return env
}

// follow copies the log and looks for the address in it.
func (p *program) follow(stderr io.Reader, ready chan<- string) {
	lines := bufio.NewReader(stderr)
	address := ""
	for {
		line, err := lines.ReadString('\n')
		_, _ = p.log.WriteString(line) // the log is for people, the run goes on without
		var r struct{ Msg, Name, Address string }
		// Not JSON: a panic, a report of the race detector.
		_ = json.Unmarshal([]byte(line), &r)
		switch {
		case r.Msg == "listening" && r.Name == "mqtt":
			address = r.Address
		case r.Msg == "started":
			ready <- address
		}
		if err != nil {
			return
		}
	}
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
}

// alive reports whether the process has not ended by itself.
func (p *program) alive() bool { return !closed(p.ended) }

// stop ends the process in order.
func (p *program) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.kill()
		return errors.New("the broker does not end after SIGTERM")
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("the broker ended after SIGTERM with %v:\n%s", p.cmd.ProcessState, p.tail())
	}
	return nil
}

// close ends whatever is running.
func (p *program) close() {
	if p.ended != nil {
		p.kill()
	}
	p.log.Close()
}

// tail is the end of the log.
func (p *program) tail() string {
	const most = 4 << 10
	b, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}
