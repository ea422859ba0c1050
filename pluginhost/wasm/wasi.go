package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Errors of WASI preview 1.
const (
	wasiOK     = 0
	wasiBadFD  = 8
	wasiFault  = 21
	wasiInval  = 28
	wasiNoSys  = 52
	wasiStdout = 1
	wasiStderr = 2
)

// wasi are all functions of WASI preview 1. What a guest gets is clocks, random numbers, and stdout and stderr that go
// to the log; there are no arguments, no environment, no files and no sockets.
func wasi() map[string]function {
	const badFD, noSys = wasiBadFD, wasiNoSys
	f := map[string]function{
		"args_get":          {"ii", "i", answer(wasiOK)},
		"args_sizes_get":    {"ii", "i", (*guest).wasiNothing},
		"environ_get":       {"ii", "i", answer(wasiOK)},
		"environ_sizes_get": {"ii", "i", (*guest).wasiNothing},
		"clock_res_get":     {"ii", "i", (*guest).wasiClockResolution},
		"clock_time_get":    {"iIi", "i", (*guest).wasiClock},
		"fd_write":          {"iiii", "i", (*guest).wasiWrite},
		"fd_fdstat_get":     {"ii", "i", (*guest).wasiStat},
		"poll_oneoff":       {"iiii", "i", (*guest).wasiPoll},
		"proc_exit":         {"i", "", (*guest).wasiExit},
		"random_get":        {"ii", "i", (*guest).wasiRandom},
		"sched_yield":       {"", "i", answer(wasiOK)},
	}
	for name, params := range map[string]string{
		"fd_advise": "iIIi", "fd_allocate": "iII", "fd_close": "i", "fd_datasync": "i", "fd_fdstat_set_flags": "ii",
		"fd_fdstat_set_rights": "iII", "fd_filestat_get": "ii", "fd_filestat_set_size": "iI", "fd_filestat_set_times": "iIIi",
		"fd_pread": "iiiIi", "fd_prestat_get": "ii", "fd_prestat_dir_name": "iii", "fd_pwrite": "iiiIi", "fd_read": "iiii",
		"fd_readdir": "iiiIi", "fd_renumber": "ii", "fd_seek": "iIii", "fd_sync": "i", "fd_tell": "ii",
		"path_create_directory": "iii", "path_filestat_get": "iiiii", "path_filestat_set_times": "iiiiIIi",
		"path_link": "iiiiiii", "path_open": "iiiiiIIii", "path_readlink": "iiiiii", "path_remove_directory": "iii",
		"path_rename": "iiiiii", "path_symlink": "iiiii", "path_unlink_file": "iii",
		"sock_accept": "iii", "sock_recv": "iiiiii", "sock_send": "iiiii", "sock_shutdown": "ii",
	} {
		f[name] = function{params, "i", answer(badFD)}
	}
	f["proc_raise"] = function{"i", "i", answer(noSys)}
	return f
}

func answer(errno uint64) func(*guest, []uint64) {
	return func(g *guest, stack []uint64) {
		g.charge(fuelOfClock)
		stack[0] = errno
	}
}

// wasiNothing answers that there are no arguments, or no variables, of no length.
func (g *guest) wasiNothing(stack []uint64) {
	g.charge(fuelOfClock)
	ok := g.memory.WriteUint32Le(uint32(stack[0]), 0) && g.memory.WriteUint32Le(uint32(stack[1]), 0)
	stack[0] = fault(ok)
}

func fault(ok bool) uint64 {
	if ok {
		return wasiOK
	}
	return wasiFault
}

func (g *guest) wasiClockResolution(stack []uint64) {
	g.charge(fuelOfClock)
	if stack[0] > 1 {
		stack[0] = wasiInval
		return
	}
	stack[0] = fault(g.memory.WriteUint64Le(uint32(stack[1]), 1000))
}

// wasiClock knows time of day (0) and a monotonic clock (1).
func (g *guest) wasiClock(stack []uint64) {
	g.charge(fuelOfClock)
	now := g.code.o.Now()
	nanos := now.UnixNano()
	switch stack[0] {
	case 0:
	case 1:
		nanos = int64(g.monotonic(now))
	default:
		stack[0] = wasiInval
		return
	}
	stack[0] = fault(g.memory.WriteUint64Le(uint32(stack[2]), uint64(nanos)))
}

// monotonic is never 0, which Go's runtime takes for a broken clock.
func (g *guest) monotonic(now time.Time) time.Duration {
	return now.Sub(g.code.began) + time.Millisecond
}

// wasiRandom fills memory, at a price: 4 bytes for a unit of fuel.
func (g *guest) wasiRandom(stack []uint64) {
	b, ok := g.view(stack[0], stack[1])
	if !ok {
		stack[0] = wasiFault
		return
	}
	g.charge(fuelOfClock + int64(len(b)/4))
	rand.Read(b)
	stack[0] = wasiOK
}

// wasiWrite sends what goes to stdout and stderr to the log, line by line.
func (g *guest) wasiWrite(stack []uint64) {
	fd, vectors, written := stack[0], stack[1], uint64(0)
	if fd != wasiStdout && fd != wasiStderr {
		g.charge(fuelOfClock)
		stack[0] = wasiBadFD
		return
	}
	for i := range stack[2] {
		v, ok := g.view(vectors+8*i, 8)
		if !ok {
			stack[0] = wasiFault
			return
		}
		b, ok := g.view(uint64(binary.LittleEndian.Uint32(v)), uint64(binary.LittleEndian.Uint32(v[4:])))
		if !ok {
			stack[0] = wasiFault
			return
		}
		g.charge(fuelOfClock + int64(len(b)>>fuelPerBytesLog))
		g.print(fd, b)
		written += uint64(len(b))
	}
	stack[0] = fault(g.memory.WriteUint32Le(uint32(stack[3]), uint32(written)))
}

// print collects what is written until a line is full. What went to stderr in a call is kept, for the
// error in which a guest may end.
func (g *guest) print(fd uint64, b []byte) {
	level := pluginv1.LogLevelInfo
	if fd == wasiStderr {
		level = pluginv1.LogLevelWarn
		g.lastWords = append(g.lastWords, b[:min(len(b), maxText-len(g.lastWords))]...)
	}
	line := &g.line[fd-wasiStdout]
	for len(b) > 0 {
		part, rest, full := bytes.Cut(b, []byte{'\n'})
		*line = append(*line, part[:min(len(part), maxText-len(*line))]...)
		if full {
			if len(*line) > 0 {
				g.charge(fuelOfLine)
				g.plugin.log.line(g.ctx, level, text(*line, maxText))
			}
			*line = (*line)[:0]
		}
		b = rest
	}
}

// wasiStat says that stdin, stdout and stderr are there, as terminals that can be written to.
func (g *guest) wasiStat(stack []uint64) {
	g.charge(fuelOfClock)
	if stack[0] > wasiStderr {
		stack[0] = wasiBadFD
		return
	}
	b, ok := g.view(stack[1], 24)
	if ok {
		clear(b)
		b[0] = 2    // character device
		b[8] = 0x40 // right to write
	}
	stack[0] = fault(ok)
}

func (g *guest) wasiExit(stack []uint64) {
	panic(&trap{Exited, fmt.Sprintf("exited with code %d", uint32(stack[0]))})
}

// Layout of WASI's subscriptions and events.
const (
	subscriptionSize = 48
	eventSize        = 32
	maxSubscriptions = 64
)

// wasiPoll waits for the nearest of the clocks, on the worker; elsewhere there is no waiting. Nothing can be read or
// written, so other subscriptions are answered at once.
func (g *guest) wasiPoll(stack []uint64) {
	n := stack[2]
	g.charge(fuelOfClock * int64(1+n))
	in, ok := g.view(stack[0], n*subscriptionSize)
	out, okOut := g.view(stack[1], n*eventSize)
	if n == 0 || n > maxSubscriptions || !ok || !okOut {
		stack[0] = wasiInval
		return
	}
	wait := time.Duration(-1)
	for i := range n {
		if s := in[i*subscriptionSize:]; s[8] == 0 {
			if d := g.until(s[16:]); wait < 0 || d < wait {
				wait = d
			}
		} else {
			wait = 0
		}
	}
	g.sleep(wait)
	events := uint32(0)
	for i := range n {
		s := in[i*subscriptionSize:]
		if s[8] == 0 && g.until(s[16:]) > wait {
			continue
		}
		e := out[events*eventSize:][:eventSize]
		clear(e)
		copy(e, s[:8]) // user data
		e[10] = s[8]
		if s[8] != 0 {
			e[8] = wasiBadFD
		}
		events++
	}
	stack[0] = fault(g.memory.WriteUint32Le(uint32(stack[3]), events))
}

// until is how long it is until a clock subscription: id, timeout, precision, and a flag for absolute times.
func (g *guest) until(s []byte) time.Duration {
	timeout := time.Duration(min(binary.LittleEndian.Uint64(s[8:]), 1<<62))
	if s[24]&1 != 0 {
		now := g.code.o.Now()
		if s[0] == 0 {
			timeout -= time.Duration(now.UnixNano())
		} else {
			timeout -= g.monotonic(now)
		}
	}
	return max(timeout, 0)
}

// fuelOfSleep is the price of not sleeping where there is no waiting.
const fuelOfSleep = 2000

// sleep waits, if the call may, until the context of the call ends. Where it may not it returns at once: Go's runtime
// sleeps for a moment before it reports a panic, and who waits for the time to come runs out of fuel.
func (g *guest) sleep(d time.Duration) {
	if d == 0 {
		return
	}
	if !g.mayWait {
		g.slept = true
		g.charge(fuelOfSleep)
		return
	}
	ctx, cancel := context.WithTimeout(g.ctx, d)
	defer cancel()
	<-ctx.Done()
	if err := g.ctx.Err(); err != nil {
		panic(&trap{Interrupted, "interrupted while it slept: " + err.Error()})
	}
}

// utf16text reads UTF-16, little endian.
func utf16text(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}
