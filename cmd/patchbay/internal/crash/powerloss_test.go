package crash

import (
	"fmt"
	"math/rand/v2"
	"path"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// TestPowerLoss: with sync: always nothing that was acknowledged is lost when the
// power fails.
func TestPowerLoss(t *testing.T) {
	before := runtime.NumGoroutine()
	seed, n := chooseSeed(), kills(12)
	m := newMachine(t, disk.SyncAlways, seed)
	r := newRun(m, seed)
	demand(t, r, r.execute(n), fmt.Sprintf("-crash.kills %d -crash.seed %d", n, seed))
	sound(t, m)
	m.close()
	nothingLeft(t, before)
}

// sound fails the test if a broker has logged an error: of a damaged file, say.
func sound(t *testing.T, m *machine) {
	t.Helper()
	if bad := m.log.errors(); len(bad) > 0 {
		t.Errorf("errors were logged, the first:\n%s", strings.Join(bad, "\n"))
	}
}

// nothingLeft fails the test if brokers have left goroutines behind.
func nothingLeft(t *testing.T, before int) {
	t.Helper()
	for until := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			var b strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
			t.Fatalf("%d goroutines, and there were %d:\n%s", runtime.NumGoroutine(), before, b.String())
		}
	}
}

// TestPowerLossCatchesLies: a disk that does not sync what it says it has is
// seen through.
func TestPowerLossCatchesLies(t *testing.T) {
	lies := []struct {
		name    string
		forgets func(name string) bool
	}{
		{"logs now and then", func(name string) bool { return path.Ext(name) == ".log" && rand.IntN(4) != 0 }},
		{"all", func(string) bool { return true }},
	}
	for _, lie := range lies {
		t.Run(lie.name, func(t *testing.T) {
			seed := chooseSeed()
			m := newMachine(t, disk.SyncAlways, seed)
			m.forgets, m.percent = lie.forgets, new(int)
			r := newRun(m, seed)
			caught(t, r, r.execute(60), seed)
		})
	}
}
