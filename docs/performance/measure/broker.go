//go:build linux

package main

import (
	"bytes"
	"context"
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
	"syscall"
	"time"
)

// settings are what differs between the brokers of the measurements.
type settings struct {
	cores  int
	share  float64 // of each core that the broker may use; 0: all
	store  string  // memory, never, interval(100ms), always
	plugin bool
	// everyAllocation makes the heap profile complete.
	everyAllocation bool
}

// running is a broker.
type running struct {
	m                      *measurer
	cmd                    *exec.Cmd
	dir                    string
	port, tls, ws, metrics int
	log                    bytes.Buffer
	share                  *share // nil: no limit
	ended                  chan struct{}
}

// config is the configuration of our own broker.
func (r *running) config(s settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners:\n  - tcp: \"127.0.0.1:%d\"\n  - ws: \"127.0.0.1:%d\"\n  - tls: \"127.0.0.1:%d\"\n    cert: cert.pem\n    key: key.pem\n", r.port, r.ws, r.tls)
	fmt.Fprintf(&b, "admin: {listen: \"127.0.0.1:%d\", pprof: true, socket: admin.sock}\nlog: {level: error, format: text}\n", r.metrics)
	b.WriteString("session: {max_queued_messages: 0, max_queued_bytes: 0}\n")
	if s.store == "memory" {
		b.WriteString("store: memory\n")
	} else {
		fmt.Fprintf(&b, "store: disk\nsync: %q\ndata_dir: data\n", s.store)
	}
	if s.plugin { // it looks at all messages of the pairs and lets them pass
		fmt.Fprintf(&b, "plugins:\n  - name: filter\n    path: %q\n    config: {rules: [{topic: +/pair/+, min: 0, unreadable: clamp}]}\n",
			r.module())
	}
	return b.String()
}

// start starts a broker and waits until it takes connections.
func (m *measurer) start(ctx context.Context, s settings) (*running, error) {
	r := &running{m: m, ended: make(chan struct{})}
	var err error
	if r.dir, err = os.MkdirTemp(m.dir, "broker"); err != nil {
		return nil, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	r.port, r.tls, r.ws, r.metrics = ports[0], ports[1], ports[2], ports[3]
	var args []string
	if m.foreign != "" {
		// exec: the shell must not stay as a process of its own.
		args = []string{"sh", "-c", "exec " + strings.ReplaceAll(m.foreign, "{port}", strconv.Itoa(r.port))}
	} else {
		args = []string{m.binary, "serve", "--config", "patchbay.yaml"}
		if err := r.files(s); err != nil {
			return nil, err
		}
	}
	r.cmd = exec.Command(args[0], args[1:]...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = r.dir, &r.log, &r.log
	if s.everyAllocation {
		r.cmd.Env = append(os.Environ(), "GODEBUG=memprofilerate=1")
	}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.share > 0 {
		if r.share, err = newShare(s.share * float64(s.cores)); err != nil {
			return nil, err
		}
	}
	if err := m.pinned(m.brokerCores(s.cores), r.cmd.Start); err != nil {
		r.giveUp()
		return nil, err
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.ended)
	}()
	err = r.ready(ctx)
	if err == nil && r.share != nil {
		err = r.share.take(r.cmd.Process.Pid)
	}
	if err != nil {
		r.stop()
		return nil, fmt.Errorf("%w; the broker said: %s", err, r.log.Bytes())
	}
	return r, nil
}

// files writes what our own broker reads.
func (r *running) files(s settings) error {
	cert, key, err := selfSigned()
	if err != nil {
		return err
	}
	if s.plugin {
		if err := r.putModule(0); err != nil {
			return err
		}
	}
	for name, content := range map[string][]byte{"cert.pem": cert, "key.pem": key, "patchbay.yaml": []byte(r.config(s))} {
		if err := os.WriteFile(filepath.Join(r.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// module is the plugin of the broker.
func (r *running) module() string { return filepath.Join(r.dir, "filter.wasm") }

// putModule puts a version of the plugin into its place: each is another module to the broker, which has to compile it.
func (r *running) putModule(version int) error {
	module, err := os.ReadFile(filepath.Join(r.m.root, "examples/filter-zig/filter-zig.wasm"))
	if err != nil {
		return err
	}
	name, text := "measured", strconv.Itoa(version)
	// A custom section, which is for nobody: its id, its size, its name, and what it has.
	module = append(module, 0, byte(1+len(name)+len(text)), byte(len(name)))
	module = append(append(module, name...), text...)
	return os.WriteFile(r.module(), module, 0o600)
}

// startLimit is how long a broker may take to begin; one in Java takes seconds.
const startLimit = 30 * time.Second

func (r *running) ready(ctx context.Context) error {
	deadline := time.Now().Add(startLimit)
	for time.Now().Before(deadline) {
		select {
		case <-r.ended:
			return errors.New("the broker has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if r.m.foreign == "" { // its HTTP may come up after its listeners
			if _, err := r.get("/healthz"); err != nil {
				continue
			}
		}
		c, err := dial(r.port, "ready")
		if err == nil {
			return c.Close()
		}
	}
	return errors.New("the broker does not answer")
}

// stop ends the broker with its process group and removes its folder.
func (r *running) stop() {
	group := -r.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-r.ended
	}
	r.giveUp()
}

// giveUp removes what the broker had.
func (r *running) giveUp() {
	if r.share != nil {
		r.share.remove()
	}
	_ = os.RemoveAll(r.dir)
}

func (r *running) used() usage { return used(r.cmd.Process.Pid) }

// settleSteps bounds how long settled waits.
const settleSteps = 8

// settled is the resident memory once what can be given back has been: the broker is
// asked for a heap profile, before which it collects garbage, and the runtime gives the
// pages back in the background, which takes seconds after many connections.
func (r *running) settled() int64 {
	for range settleSteps {
		if r.m.foreign == "" {
			_, _ = r.get("/debug/pprof/heap?gc=1")
		}
		time.Sleep(r.m.pause)
		if v, err := r.values("go_memstats_heap_"); err != nil || v["go_memstats_heap_idle_bytes"]-v["go_memstats_heap_released_bytes"] < 1<<20 {
			break
		}
	}
	return r.used().rss
}

// get fetches a page of the admin listener.
func (r *running) get(path string) ([]byte, error) {
	client := http.Client{Timeout: time.Minute}
	answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", r.metrics, path))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, answer.Status)
	}
	return b, err
}

// values are the samples of /metrics that begin with prefix.
func (r *running) values(prefix string) (map[string]float64, error) {
	page, err := r.get("/metrics")
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(page)) {
		name, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(name, prefix) {
			continue
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			all[name] = v
		}
	}
	return all, nil
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are known: they have to differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
