package serve

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

// memoryLimit is what the process may use, in bytes: GOMEMLIMIT, else the
// container's limit, else the machine's memory, else 0.
func memoryLimit() int64 {
	if limitedByOperator() {
		return debug.SetMemoryLimit(-1)
	}
	if n := containerLimit(); n > 0 {
		return n
	}
	return machineMemory()
}

// limitedByOperator reports whether GOMEMLIMIT sets a limit. Only then the limit
// of the Go runtime is not one of tuneCollector's.
func limitedByOperator() bool {
	v := os.Getenv("GOMEMLIMIT")
	return v != "" && v != "off"
}

// containerLimit reads the limit of the control group, version 2 or 1; 0 if
// there is none.
func containerLimit() int64 {
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		// Without a limit version 1 says nearly 2^63.
		if err == nil && n < 1<<60 {
			return n
		}
	}
	return 0
}

func machineMemory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// tuneCollector sets the garbage collector up for a broker, as far as the
// operator has not. Collecting half as often as Go's default costs memory in
// proportion to what lives, which for a broker is little. Near the watermark it
// has to work harder: garbage must not be what holds publishers back, and when
// the queues that filled the memory are gone, it must not take long to show. 85%
// is below the 90% of the watermark at which the broker reads from them again.
func tuneCollector(c *config.Config) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := int64(math.MaxInt64)
	if n := containerLimit(); n > 0 {
		limit = n / 10 * 9
	}
	if watermark := c.Limits.Memory.Of(memoryLimit()); watermark > 0 {
		limit = min(limit, watermark/100*85)
	}
	debug.SetMemoryLimit(limit)
}
