//go:build linux

package main

import (
	"context"
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// profiles takes CPU profiles of saturated brokers: which share of their time is the
// kernel's.
func (m *measurer) profiles(ctx context.Context) error {
	for _, c := range some(m, 1, []load{{scenario: "pair"}, {scenario: "pair", qos: 1}, {scenario: "pair", qos: 2}, {scenario: "fan-out"}, {scenario: "fan-out", qos: 1}, {scenario: "fan-in"}}) {
		l := pairs()
		l.scenario, l.qos, l.longer = c.scenario, c.qos, 2
		if err := m.profileOf(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (m *measurer) profileOf(ctx context.Context, l load) error {
	r, err := m.start(ctx, plain)
	if err != nil {
		return err
	}
	defer r.stop()
	ln := &line{Series: "profile", Case: fmt.Sprintf("%s QoS %d", l.scenario, l.qos), Cores: 1}
	loaded := make(chan error, 1)
	go func() { loaded <- m.put(ctx, r, ln, l) }()
	// A profile has whole seconds; it lies within the run, which has a warm-up before.
	seconds := max(1, int(m.duration.Seconds()))
	profile, err := r.get(fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if failed := <-loaded; failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if ln.Functions, err = r.flat(ctx, profile); err != nil {
		return err
	}
	return m.note(ln)
}

// kernel is the name under which the functions go that call the kernel.
const kernel = "system calls"

var (
	topLine = regexp.MustCompile(`^\s*\S+\s+([\d.]+)%\s+\S+\s+\S+\s+\S+\s+(.+)$`)
	inCall  = regexp.MustCompile(`^(internal/runtime/)?syscall[./]|^runtime\.(futex|usleep)$`)
)

// flat are the shares of the functions' own samples, those of 0.5 % and more.
func (r *running) flat(ctx context.Context, profile []byte) (map[string]float64, error) {
	file := filepath.Join(r.dir, "cpu.pprof")
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=400", "-nodefraction=0", r.m.binary, file)
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+r.dir)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return ownShares(string(out)), nil
}

// ownShares reads what pprof -top prints.
func ownShares(top string) map[string]float64 {
	shares := map[string]float64{kernel: 0}
	for text := range strings.Lines(top) {
		f := topLine.FindStringSubmatch(strings.TrimRight(text, "\n"))
		if f == nil {
			continue
		}
		percent, err := strconv.ParseFloat(f[1], 64)
		switch function := strings.TrimSuffix(f[2], " (inline)"); {
		case err != nil:
		case inCall.MatchString(function):
			shares[kernel] += percent / 100
		case percent >= 0.5:
			shares[function] = percent / 100
		}
	}
	return shares
}

const module = "github.com/patchbay-mq/patchbay/"

// parts are the structs that a connection consists of.
var parts = []string{
	"core/transport.Conn", "core/transport.sock", "core/transport.loopSock", "core/broker.conn", "core/session.Session",
	"core/hook.Client", "core/broker.link", "core/router.Target", "core/router.node",
}

// budget takes apart what an idle connection costs: the structs' sizes from the program's
// debugging information, and who has allocated what, from a heap profile that misses nothing.
func (m *measurer) budget(ctx context.Context) error {
	sizes, err := m.structs()
	if err != nil {
		return err
	}
	if err := m.note(&line{Series: "budget", Case: "structs, in bytes", Metrics: sizes}); err != nil {
		return err
	}
	for _, transport := range some(m, 1, []string{"tcp", "tls", "ws"}) {
		if err := m.budgetOf(ctx, transport); err != nil {
			return err
		}
	}
	return nil
}

// structs finds the sizes of the structs of this module's core.
func (m *measurer) structs() (map[string]float64, error) {
	file, err := elf.Open(m.binary)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := file.DWARF()
	if err != nil {
		return nil, fmt.Errorf("debugging information: %w", err)
	}
	sizes := map[string]float64{}
	for r := data.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("debugging information: %w", err)
		}
		if e == nil {
			return sizes, nil
		}
		if e.Tag != dwarf.TagStructType {
			continue
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		size, _ := e.Val(dwarf.AttrByteSize).(int64)
		for _, p := range parts {
			if name == module+p {
				sizes[p] = float64(size)
			}
		}
	}
}

// allocator is a function that still holds memory: bytes for each connection.
var allocator = regexp.MustCompile(`^\s*(-?[\d.]+)B\s+\S+\s+\S+\s+\S+\s+\S+\s+(.+)$`)

func (m *measurer) budgetOf(ctx context.Context, transport string) error {
	n := 10_000
	if m.quick {
		n = 200
	}
	r, err := m.start(ctx, settings{cores: 1, store: "memory", everyAllocation: true})
	if err != nil {
		return err
	}
	defer r.stop()
	if err := m.first(ctx, r, transport); err != nil {
		return err
	}
	var rss [2]int64
	var heaps [2]string
	var figures [2]map[string]float64
	take := func(i int) error {
		rss[i] = r.settled()
		heap, err := r.get("/debug/pprof/heap?gc=1")
		if err != nil {
			return err
		}
		heaps[i] = filepath.Join(r.dir, fmt.Sprintf("heap%d.pprof", i))
		if err := os.WriteFile(heaps[i], heap, 0o600); err != nil {
			return err
		}
		figures[i], err = r.values("go_")
		return err
	}
	if err := take(0); err != nil {
		return err
	}
	end, err := m.idle(ctx, r, transport, n)
	if err != nil {
		return err
	}
	defer end()
	if err := take(1); err != nil {
		return err
	}
	ln := &line{Series: "budget", Case: fmt.Sprintf("%d by %s", n, transport), Cores: 1, Connections: n, Transport: transport, RSS: rss[1], PerItem: float64(rss[1]-rss[0]) / float64(n)}
	ln.Metrics = map[string]float64{}
	for _, name := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "go_memstats_heap_inuse_bytes", "go_memstats_heap_idle_bytes", "go_memstats_heap_released_bytes", "go_memstats_stack_inuse_bytes", "go_memstats_mspan_inuse_bytes", "go_memstats_gc_sys_bytes", "go_memstats_other_sys_bytes", "go_memstats_buck_hash_sys_bytes"} {
		ln.Metrics[name] = (figures[1][name] - figures[0][name]) / float64(n)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-unit=B", "-sample_index=inuse_space", "-nodecount=200", "-diff_base="+heaps[0], r.m.binary, heaps[1])
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+r.dir)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	for text := range strings.Lines(string(out)) {
		if f := allocator.FindStringSubmatch(strings.TrimRight(text, "\n")); f != nil {
			if bytes, err := strconv.ParseFloat(f[1], 64); err == nil && bytes/float64(n) >= 1 {
				ln.Metrics["heap "+strings.TrimSuffix(f[2], " (inline)")] = bytes / float64(n)
			}
		}
	}
	return m.note(ln)
}
