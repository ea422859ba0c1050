package crash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// hosting is the real program with the recorder as its plugin.
type hosting struct {
	*process
	door *door
	// orphans are plugin processes that have outlived their broker.
	orphans int
}

const hostingConfiguration = `
listeners: [{name: mqtt, tcp: "127.0.0.1:0"}]
admin: {listen: "127.0.0.1:0", socket: %q}
data_dir: %q
store: disk
plugin_dir: "off"
plugins:
  - name: recorder
    path: %q
    dev: true
    env: ["CRASH_DOOR=%s"]
    config: {dir: %q, fault: %q}
session: {max_queued_messages: 0, max_queued_bytes: 0, max_inflight: 40}
limits: {memory: "off"}
sys: {interval: 0s}
log: {format: json}
`

// newHosting prepares a folder. fault is what the recorder does wrong.
func newHosting(binary, plugin, dir, fault string, env ...string) (*hosting, error) {
	p, err := newProcess(binary, dir, "", env...)
	if err != nil {
		return nil, err
	}
	d, err := newDoor()
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(hostingConfiguration, filepath.Join(dir, "admin.sock"), filepath.Join(dir, "data"), plugin, d.listener.Addr(), dir, fault)
	if err := os.WriteFile(filepath.Join(dir, "broker.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	return &hosting{process: p, door: d}, nil
}

// startup is longer with a plugin.
func (h *hosting) startup() time.Duration { return 500 * time.Millisecond }

func (h *hosting) kill() {
	h.process.kill()
	h.orphans += h.door.left()
}

func (h *hosting) stop() error {
	err := h.process.stop()
	h.orphans += h.door.left()
	return err
}

func (h *hosting) close() {
	h.process.close()
	h.door.close()
}

// pluginList is what `patchbay plugin list --json` says of the recorder.
type pluginList struct {
	State, Error string
	Consumers    []struct{ Backlog int }
}

func (h *hosting) list() (l pluginList, err error) {
	cmd := exec.Command(h.binary, "plugin", "list", "--json", "--config", "broker.yaml")
	cmd.Dir, cmd.Env = h.dir, cleanEnvironment()
	out, err := cmd.Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			err = fmt.Errorf("%w: %s", err, e.Stderr)
		}
		return l, fmt.Errorf("patchbay plugin list: %w", err)
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), &l); err != nil || len(l.Consumers) > 1 {
		return l, fmt.Errorf("patchbay plugin list: %v: %s", err, out)
	}
	return l, nil
}

// metric reads one figure of the recorder from /metrics.
func (h *hosting) metric(name string) (float64, error) {
	resp, err := http.Get("http://" + h.addrs["admin"] + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(series, name+"{") && strings.Contains(series, `plugin="recorder"`) {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s of the recorder", name)
}

// door is where each process of the recorder says that it is there.
type door struct {
	listener net.Listener
	mu       sync.Mutex
	guests   []*guest // all that have come; the last one is the present one
	came     chan struct{}
}

// guest is one process of the recorder.
type guest struct {
	process *os.Process
	conn    net.Conn
	gone    chan struct{} // closed when it has ended
}

func newDoor() (*door, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{listener: l, came: make(chan struct{}, 1)}
	go d.serve()
	return d, nil
}

func (d *door) serve() {
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.admit(c)
	}
}

// admit takes hold of a process while it waits, so that its id is its own.
func (d *door) admit(c net.Conn) {
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil {
		c.Close()
		return
	}
	id, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		c.Close()
		return
	}
	process, err := os.FindProcess(id)
	if err != nil {
		c.Close()
		return
	}
	g := &guest{process: process, conn: c, gone: make(chan struct{})}
	d.mu.Lock()
	d.guests = append(d.guests, g)
	d.mu.Unlock()
	select {
	case d.came <- struct{}{}:
	default:
	}
	go func() {
		_, _ = c.Write([]byte("\n"))
		_, _ = io.Copy(io.Discard, in) // until the process has ended, however that was
		close(g.gone)
		c.Close()
	}()
}

// present is the process that has come last, nil if it is gone.
func (d *door) present() *guest {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.guests); n > 0 && !closed(d.guests[n-1].gone) {
		return d.guests[n-1]
	}
	return nil
}

// await waits for a process that is alive, until stop is closed.
func (d *door) await(stop <-chan struct{}) *guest {
	late := time.After(patience)
	for {
		if g := d.present(); g != nil {
			return g
		}
		select {
		case <-d.came:
		case <-stop:
			return nil
		case <-late:
			return nil
		}
	}
}

// count is how many processes have come.
func (d *door) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.guests)
}

// kill is kill -9.
func (g *guest) kill() {
	_ = g.process.Signal(syscall.SIGKILL) // it may have ended by itself
	<-g.gone
}

// left waits for the end of all processes, and returns how many had to be killed.
func (d *door) left() (n int) {
	d.mu.Lock()
	guests := d.guests
	d.mu.Unlock()
	late := time.After(orphanTime)
	for i := len(guests) - 1; i >= 0 && i >= len(guests)-maxAlive; i-- {
		select {
		case <-guests[i].gone:
		case <-late:
			guests[i].kill()
			n++
		}
	}
	return n
}

const (
	// orphanTime is how long a plugin may outlive its broker.
	orphanTime = 5 * time.Second
	// maxAlive is more processes than there can be at one time.
	maxAlive = 3
)

func (d *door) close() {
	d.listener.Close()
	d.left()
}
