package wasm

import (
	"runtime"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// pageSize is that of WebAssembly.
const pageSize = 64 << 10

// Options bound what a plugin may use. The zero value of each is its default.
type Options struct {
	// MemoryLimit is the most linear memory that an instance may have, in bytes, rounded down
	// to 64 KiB: 16 MiB. A Go guest needs 4 MiB. Growth beyond fails in the guest.
	MemoryLimit int

	// FuelPerCall and FuelPerEvent are what a decision or gate may use: so much, and so much
	// more for each event of its batch. 1,000,000 (1 to 3 ms) and 20,000.
	FuelPerCall, FuelPerEvent int64
	// FuelWorker is what any other call may use: 20,000,000, up to 60 ms. Go code of
	// the broker that waits for a garbage collection to begin waits as long.
	FuelWorker int64

	// Preemptible makes all calls interruptible anywhere, so that they may take as long as their
	// deadline, at 4 to 40 times the cost. Nothing runs inline then. A manifest
	// that asks for it gets it without this option.
	Preemptible bool
	// Deadline is for calls of preemptible plugins that bring no nearer one: 10 s.
	Deadline time.Duration

	// Instances is 0 for what the manifest says, or 1 for exactly one instance.
	Instances int
	// Inline is how many instances for decisions and gates are made at the start: GOMAXPROCS. As
	// many again are made when they turn out to be busy all at once.
	Inline int

	// HostCalls is how many calls of the host one inline call may make: 1,024; others may make 16 times
	// as many. More fail with HOST_ERROR_CODE_LIMIT.
	HostCalls int
	// MaxOutput is the largest answer in bytes: 1 MiB.
	MaxOutput int

	// Log gets the lines that a guest logs, or writes to stdout and stderr; text is UTF-8, without line
	// breaks at its end, up to 4 KiB. It must not block, and be safe for concurrent use. With nil they go to
	// Log of the Service that Open was called with.
	Log func(level pluginv1.LogLevel, text string)
	// LogRate is how many lines per second go to Log, with a burst of four times as many: 100.
	// The rest is dropped, and a line says how many they were.
	LogRate int

	// CacheDir is a folder for compiled code, made with mode 0700 if it is not there. Empty:
	// nothing is kept. It holds native code; a folder that others can write to is not used.
	CacheDir string

	// Compiler is a program with its first arguments that compiles modules in a process of its own, after all others on the
	// machine: its work, a second for a Go guest, is not felt by the broker's clients, and a module that makes
	// the compiler crash, or take all memory, does not end the broker. Its last arguments and its input are for
	// Compile, which it is to call. Empty, or where it cannot be run: modules are compiled by this process.
	Compiler []string

	// Now is the clock of the guest: time.Now. A coarse one will do.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	or(&o.MemoryLimit, 16<<20)
	or(&o.FuelPerCall, 1_000_000)
	or(&o.FuelPerEvent, 20_000)
	or(&o.FuelWorker, 20_000_000)
	or(&o.Deadline, 10*time.Second)
	or(&o.Inline, runtime.GOMAXPROCS(0))
	or(&o.HostCalls, 1024)
	or(&o.MaxOutput, 1<<20)
	or(&o.LogRate, 100)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func or[T int | int64 | time.Duration](v *T, fallback T) {
	if *v <= 0 {
		*v = fallback
	}
}

// pages is the memory limit in pages; memory cannot have more than 65,536.
func (o Options) pages() uint32 { return uint32(min(max(o.MemoryLimit/pageSize, 1), 1<<16)) }

// workerHostCalls is HostCalls for calls that are not inline.
const workerHostCalls = 16

// fuelPerMillisecond is more than any code can use in a millisecond. A call that can be interrupted gets so much
// for its deadline: what cannot be interrupted (one huge memory.fill after the other) is
// bounded by it.
const fuelPerMillisecond = 4_000_000
