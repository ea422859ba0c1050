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

// program is a broker that lives several times on what its last life has left.
type program interface {
	// start begins a life and waits until the broker listens.
	start() error
	// launch begins a life that is going to be killed while the broker starts, at
	// the latest after startup.
	launch() error
	startup() time.Duration
	// kill ends a life without warning. When it returns, nothing that the broker
	// does from now on can make anything safe; its connections end soon after.
	kill()
	// stop ends a life in order.
	stop() error
	// ended is closed when the present life is over, and ending says how it ended,
	// for people.
	ended() <-chan struct{}
	ending() string
	address() string
	// remains puts what there is for people to look at into a folder.
	remains() string
	// close ends whatever is running.
	close()
}

// process is the real program, in one data folder.
type process struct {
	binary string
	dir    string   // with the configuration, the data folder and the log
	env    []string // beside that of the test
	log    *os.File

	cmd   *exec.Cmd
	ready chan map[string]string // what listens where, once the broker does
	addrs map[string]string      // by the listener's name, once ready
	gone  chan struct{}          // closed after the process has ended
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

// newProcess prepares a folder. settings are lines of the configuration.
func newProcess(binary, dir, settings string, env ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, "broker.log"))
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(configuration, filepath.Join(dir, "data"), settings)
	if err := os.WriteFile(filepath.Join(dir, "broker.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	return &process{binary: binary, dir: dir, env: env, log: log}, nil
}

func (p *process) start() error {
	if err := p.launch(); err != nil {
		return err
	}
	select {
	case p.addrs = <-p.ready:
		return nil
	case <-p.gone:
		return fmt.Errorf("the broker did not start (%v):\n%s", p.cmd.ProcessState, p.tail())
	case <-time.After(patience):
		p.kill()
		return fmt.Errorf("the broker does not say that it has started:\n%s", p.tail())
	}
}

func (p *process) launch() error {
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
	p.ready, p.gone = make(chan map[string]string, 1), make(chan struct{})
	go func(cmd *exec.Cmd, ready chan<- map[string]string, gone chan struct{}) {
		p.follow(stderr, ready)
		_ = cmd.Wait() // its outcome is in ProcessState
		close(gone)
	}(p.cmd, p.ready, p.gone)
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

// follow copies the log and looks for the addresses in it.
func (p *process) follow(stderr io.Reader, ready chan<- map[string]string) {
	lines := bufio.NewReader(stderr)
	addresses := map[string]string{}
	for {
		line, err := lines.ReadString('\n')
		_, _ = p.log.WriteString(line) // the log is for people, the run goes on without
		var r struct{ Msg, Name, Address string }
		// Not JSON: a panic, a report of the race detector.
		_ = json.Unmarshal([]byte(line), &r)
		switch {
		case r.Msg == "listening":
			addresses[r.Name] = r.Address
		case r.Msg == "started":
			ready <- addresses
		}
		if err != nil {
			return
		}
	}
}

// kill is SIGKILL; it waits until the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.gone
}

func (p *process) startup() time.Duration { return 60 * time.Millisecond }
func (p *process) ended() <-chan struct{} { return p.gone }
func (p *process) address() string        { return p.addrs["mqtt"] }
func (p *process) remains() string        { return p.dir }
func (p *process) ending() string         { return fmt.Sprintf("%v\n%s", p.cmd.ProcessState, p.tail()) }

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.gone:
	case <-time.After(patience):
		p.kill()
		return errors.New("the broker does not end after SIGTERM")
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("the broker ended after SIGTERM with %v:\n%s", p.cmd.ProcessState, p.tail())
	}
	return nil
}

func (p *process) close() {
	if p.gone != nil {
		p.kill()
	}
	p.log.Close()
}

func (p *process) tail() string { return tail(p.log.Name()) }

// tail is the end of a log.
func tail(name string) string {
	const most = 4 << 10
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}
