//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// measurer has what the series share.
type measurer struct {
	root    string // of this module
	dir     string // temporary
	binary  string // patchbay
	name    string // of the broker
	foreign string // command of another broker, "" ours
	cores   []int
	files   int // limit of open files
	quick   bool

	// How much is done in each measurement.
	duration, warmup, pause time.Duration
	fan, offline            int

	out      io.Writer
	progress io.Writer
	pinning  sync.Mutex
}

// series are the parts of a run, by name.
var series = []struct {
	name    string
	foreign bool // can be measured with another broker
	run     func(*measurer, context.Context) error
}{
	{"size", true, (*measurer).sizes},
	{"qos", true, (*measurer).levels},
	{"cores", true, (*measurer).twoCores},
	{"subscriptions", true, (*measurer).subscriptions},
	{"connections", false, (*measurer).connections},
	{"retained", true, (*measurer).retained},
	{"latency", true, (*measurer).latency},
	{"durable", true, (*measurer).durable},
	{"profile", false, (*measurer).profiles},
	{"budget", false, (*measurer).budget},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, progress io.Writer) error {
	m := &measurer{progress: progress, name: "patchbay", duration: 3 * time.Second, warmup: time.Second, pause: 2 * time.Second, fan: 1000, offline: 1000}
	f := flag.NewFlagSet("measure", flag.ContinueOnError)
	f.SetOutput(progress)
	out := f.String("out", "performance.jsonl", "`FILE` to which the figures are appended")
	broker := f.String("broker", "", "measure another broker: `NAME=COMMAND`, with {port} for the port of 127.0.0.1 that it is to listen on")
	only := f.String("only", "", "only these series, as in size,qos")
	f.StringVar(&m.binary, "patchbay", "", "`PROGRAM` to measure, and to measure with (default: is built)")
	f.BoolVar(&m.quick, "quick", false, "few and short measurements, to see that all works; no figures to believe")
	if err := f.Parse(args); err != nil {
		return err
	}
	if name, command, ok := strings.Cut(*broker, "="); ok {
		m.name, m.foreign = name, command
	} else if *broker != "" {
		return fmt.Errorf("-broker %s: want NAME=COMMAND", *broker)
	}
	if m.quick {
		m.duration, m.warmup, m.pause, m.fan, m.offline = 100*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond, 20, 10
	}
	wanted, err := m.wanted(*only)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(*out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	m.out = file
	if err := m.prepare(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(m.dir)
	if err := (&line{Series: "run", Broker: m.name, Machine: machine()}).write(m.out); err != nil {
		return err
	}
	for _, s := range series {
		if !slices.Contains(wanted, s.name) {
			continue
		}
		began := time.Now()
		if err := s.run(m, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(m.progress, "%s took %.0f s\n", s.name, time.Since(began).Seconds())
	}
	return file.Close()
}

// wanted resolves -only.
func (m *measurer) wanted(only string) ([]string, error) {
	var all []string
	for _, s := range series {
		if m.foreign == "" || s.foreign {
			all = append(all, s.name)
		}
	}
	if only == "" {
		return all, nil
	}
	list := strings.Split(only, ",")
	for _, name := range list {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("-only %s: no such series for this broker; there are %s", name, strings.Join(all, ", "))
		}
	}
	return list, nil
}

// prepare finds the module, builds the broker and sees what the machine allows.
func (m *measurer) prepare(ctx context.Context) (err error) {
	if m.files, err = manyFiles(); err != nil {
		return err
	}
	if m.cores, err = coresAllowed(); err != nil {
		return err
	}
	if len(m.cores) < 2 && !m.quick {
		return errors.New("the broker and the load generator need a core each")
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	m.root = filepath.Dir(strings.TrimSpace(string(out)))
	if m.dir, err = os.MkdirTemp("", "measure"); err != nil {
		return err
	}
	if m.binary != "" {
		m.binary, err = filepath.Abs(m.binary)
		return err
	}
	m.binary = filepath.Join(m.dir, "patchbay")
	build := exec.CommandContext(ctx, "go", "build", "-o", m.binary, "./cmd/patchbay")
	build.Dir, build.Stderr = m.root, m.progress
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}

// brokerCores are the broker's: one, or all.
func (m *measurer) brokerCores(n int) []int {
	if n == 1 {
		return m.cores[:1]
	}
	return m.cores
}

// generatorCores are the load generator's, beside a broker of n cores. With -quick, where
// figures mean nothing, both may have to share one.
func (m *measurer) generatorCores(n int) []int {
	if n == 1 && len(m.cores) > 1 {
		return m.cores[1:]
	}
	return m.cores
}

// pinned calls start, of a process, on a thread that is confined to cores: a process
// begins where the thread is that starts it.
func (m *measurer) pinned(cores []int, start func() error) error {
	m.pinning.Lock()
	defer m.pinning.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setAffinity(cores); err != nil {
		return err
	}
	err := start()
	return errors.Join(err, setAffinity(m.cores))
}

func setAffinity(cores []int) error {
	var set unix.CPUSet
	for _, c := range cores {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("cores %v: %w", cores, err)
	}
	return nil
}

// note writes a measurement down and shows it.
func (m *measurer) note(l *line) error {
	l.Broker = m.name
	fmt.Fprintf(m.progress, "%-14s %-34s %9.0f/s %8.2f µs CPU %6.0f MiB", l.Series, l.Case, max(l.DeliveredPerSecond, l.PublishedPerSecond), l.CPU, float64(l.RSS)/(1<<20))
	if l.PerItem != 0 {
		fmt.Fprintf(m.progress, " %7.0f B each", l.PerItem)
	}
	if l.P99 != 0 {
		fmt.Fprintf(m.progress, "  p50 %.0f p99 %.0f p99.9 %.0f µs", l.P50, l.P99, l.P999)
	}
	if l.Lost != 0 {
		fmt.Fprintf(m.progress, "  LOST %d", l.Lost)
	}
	fmt.Fprintln(m.progress)
	return l.write(m.out)
}

// machine describes what it runs on.
func machine() string {
	model, kernel := "unknown CPU", ""
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for text := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(text, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s", model, runtime.NumCPU(), kernel, runtime.Version())
}
