package crash

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	flagKills = flag.Int("crash.kills", 0, "how often the broker is killed, all modes of -crash.sync together; 0 for a few times")
	flagSeed  = flag.Uint64("crash.seed", 0, "seed of what clients do and when the broker is killed; 0 for another one each time")
	flagSync  = flag.String("crash.sync", "always,interval,never", "values of the configuration key sync")
	builds    = builder{done: map[string]func() (string, error){}}
)

// builder makes the programs under test, each once.
type builder struct {
	mu   sync.Mutex
	dir  string
	done map[string]func() (string, error)
}

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "patchbay-crash-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	builds.dir = dir
	return m.Run()
}

// binary returns the path of the program, built with the given tags.
func (b *builder) binary(t testing.TB, tags string) string {
	t.Helper()
	return b.build(t, "patchbay-"+tags, "github.com/patchbay-mq/patchbay/cmd/patchbay", tags)
}

// recorder returns the path of the plugin.
func (b *builder) recorder(t testing.TB) string {
	t.Helper()
	return b.build(t, "recorder", "./testdata/recorder", "")
}

func (b *builder) build(t testing.TB, name, from, tags string) string {
	t.Helper()
	b.mu.Lock()
	build := b.done[name]
	if build == nil {
		path := filepath.Join(b.dir, name)
		build = sync.OnceValues(func() (string, error) { return path, goBuild(path, from, tags) })
		b.done[name] = build
	}
	b.mu.Unlock()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func goBuild(path, from, tags string) error {
	args := []string{"build", "-o", path, "-tags", tags}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, from)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// chooseSeed returns the seed of a run.
func chooseSeed() uint64 {
	if *flagSeed != 0 {
		return *flagSeed
	}
	return uint64(time.Now().UnixNano() % 1e6)
}

// kills returns the number of kills that was asked for, or else few.
func kills(few int) int {
	if *flagKills != 0 {
		return *flagKills
	}
	return few
}

// folder is a new one that stays if the test fails.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "patchbay-crash")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
		}
	})
	return dir
}

// prepare makes a run of a broker with the given settings.
func prepare(t testing.TB, binary, settings string, seed uint64, env ...string) *run {
	t.Helper()
	p, err := newProcess(binary, folder(t), settings, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return newRun(p, seed)
}

// TestCrash: nothing that was acknowledged is lost when the process dies, in any
// mode of sync.
func TestCrash(t *testing.T) {
	modes := strings.Split(*flagSync, ",")
	for i, mode := range modes {
		share := kills(6) / len(modes)
		if i < kills(6)%len(modes) {
			share++
		}
		t.Run(mode, func(t *testing.T) {
			seed := chooseSeed()
			r := prepare(t, builds.binary(t, ""), "store: disk\nsync: "+mode, seed)
			demand(t, r, r.execute(share), fmt.Sprintf("-crash.kills %d -crash.seed %d -crash.sync %s", share, seed, mode))
		})
	}
}

// demand fails the test unless the run was without violations and has seen
// something. again is how to repeat it.
func demand(t *testing.T, r *run, err error, again string) {
	t.Helper()
	c := r.ledger.summary()
	t.Logf("%d kills, %.1f s: %+v", r.kills, time.Since(r.ledger.start).Seconds(), c)
	switch {
	case errors.Is(err, errViolated):
		t.Errorf("violations after %d kills (%s); data folder and log are in %s\n%s", r.kills, again, r.program.remains(), r.ledger.report(maxViolations))
	case err != nil:
		t.Errorf("after %d kills (%s), in %s: %v", r.kills, again, r.program.remains(), err)
	case c.Acknowledged == 0 || c.Delivered < c.Acknowledged || c.Retained == 0 || c.Subscribed == 0:
		t.Errorf("the run has seen too little to show anything")
	case r.kills >= 20 && (c.Republished == 0 || c.PubrelResent == 0 || c.Redelivered == 0 || c.PubrelRedelivered == 0 || c.Unsubscribed == 0 || c.Renewed == 0):
		t.Errorf("in %d kills, something that has to happen never did", r.kills)
	}
}
