//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of the times in /proc/PID/stat, 1/100 s on every Linux.
const tick = 10 * time.Millisecond

// usage is what a process group has used so far, and holds now.
type usage struct {
	user, system time.Duration // in ticks
	total        time.Duration // the same, to the nanosecond
	rss          int64         // bytes
	at           time.Time
}

// since is the CPU time from before until u, in µs for each of n things, and how much of
// it was not the kernel's.
func (u usage) since(before usage, n int64) (cpu, user float64) {
	if n == 0 {
		return 0, 0
	}
	cpu = micros(u.total-before.total) / float64(n)
	if ticks := u.user - before.user + u.system - before.system; ticks > 0 {
		user = cpu * float64(u.user-before.user) / float64(ticks)
	}
	return cpu, user
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// cpuTime reads a process' CPU clock.
func cpuTime(pid int) time.Duration {
	var t unix.Timespec
	const scheduler = 2 // CPUCLOCK_SCHED, of the whole process: see clock_getcpuclockid(3)
	if unix.ClockGettime(int32(^pid<<3|scheduler), &t) != nil {
		return 0 // it has ended
	}
	return time.Duration(t.Nano())
}

// used sums over the processes of a group: a broker may be a script and its child.
func used(group int) usage {
	u := usage{at: time.Now()}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may have spaces.
		s := string(b)
		f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
		if len(f) < 22 || f[2] != strconv.Itoa(group) {
			continue
		}
		number := func(i int) int64 { n, _ := strconv.ParseInt(f[i-3], 10, 64); return n } // proc(5) counts from 1
		u.user += time.Duration(number(14)+number(16)) * tick
		u.system += time.Duration(number(15)+number(17)) * tick
		u.rss += residentOf(filepath.Dir(file))
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			u.total += cpuTime(pid) + time.Duration(number(16)+number(17))*tick // and of children that have ended
		}
	}
	return u
}

func residentOf(dir string) int64 {
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// coresAllowed are those that this process may use.
func coresAllowed() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("cores: %w", err)
	}
	var all []int
	for c := range len(set) * 64 {
		if set.IsSet(c) {
			all = append(all, c)
		}
	}
	return all, nil
}

// manyFiles raises the limit of open files, which children inherit, as far as allowed,
// and returns it.
func manyFiles() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	const most = 1 << 18
	raised := syscall.Rlimit{Cur: max(l.Max, most), Max: max(l.Max, most)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil { // root may
		return int(min(raised.Cur, most)), nil
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return int(min(l.Cur, most)), nil
}
