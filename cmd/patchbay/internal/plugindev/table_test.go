package plugindev_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/trial"
)

// With -table, TestTable makes the table of the README: how long the plugins of the
// templates take, by language. On a machine that has nothing else to do:
//
//	go test ./cmd/patchbay/internal/plugindev -run '^TestTable$' -v -args -table 3s
var tableTime = flag.Duration("table", 0, "make the table over languages, measuring each for `TIME`")

// TestTable: `plugin bench` measures the same plugin in each language whose toolchain is here.
func TestTable(t *testing.T) {
	each := *tableTime
	list := languages
	if each == 0 {
		t.Parallel()
		each, list = 10*time.Millisecond, languages[:1] // that it works at all
	}
	rows := []string{
		"| language | module | memory | authenticate, 1 | fuel | intercept_publish, 1 | fuel | intercept_publish, 64 | fuel |",
		"|---|---:|---:|---:|---:|---:|---:|---:|---:|",
	}
	for _, l := range list {
		dirs := map[string]string{}
		there := true
		for _, kind := range []string{"auth", "filter"} {
			dirs[kind] = filepath.Join(t.TempDir(), kind)
			create(t, l.name, kind, dirs[kind])
			there = there && build(t, dirs[kind])
		}
		if !there {
			continue
		}
		rows = append(rows, tableRow(t, l.name, dirs["auth"], dirs["filter"], each, ""))
		if l.name == "go" {
			for _, kind := range []string{"auth", "filter"} {
				goBuild(t, dirs[kind], filepath.Join(dirs[kind], "program"))
			}
			rows = append(rows, tableRow(t, "go, as a process", dirs["auth"], dirs["filter"], each, "program"))
		}
	}
	t.Logf("nanoseconds of an event, in batches of so many:\n%s", strings.Join(rows, "\n"))
}

// tableRow measures a project of kind auth and one of kind filter; program is the name of
// their programs, "" for the modules.
func tableRow(t *testing.T, name, auth, filter string, each time.Duration, program string) string {
	t.Helper()
	row, size, memory := "", int64(0), uint64(0)
	for _, m := range []struct {
		dir, hook string
		batches   []int
	}{{auth, "authenticate", []int{1}}, {filter, "intercept_publish", []int{1, 64}}} {
		file := filepath.Join(m.dir, program)
		args := []string{"plugin", "bench", file, "--json", "--time", each.String()}
		if program != "" {
			args = append(args, "--config", "@"+filepath.Join(m.dir, "testdata", "config.json"), "--replay", filepath.Join(m.dir, "testdata", "events.jsonl"))
		} else {
			file = filepath.Join(m.dir, filepath.Base(m.dir)+".wasm")
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		figures := map[int]trial.Figures{}
		s := bufio.NewScanner(strings.NewReader(must(t, work, args...)))
		for s.Scan() {
			var f trial.Figures
			if err := json.Unmarshal(s.Bytes(), &f); err != nil {
				t.Fatal(err)
			}
			if f.Hook == m.hook {
				figures[f.Batch] = f
			}
		}
		for _, n := range m.batches {
			f, ok := figures[n]
			if !ok || f.NsPerEvent <= 0 {
				t.Fatalf("%s: no figures of %s in batches of %d", name, m.hook, n)
			}
			row += fmt.Sprintf(" %s | %s |", thousands(f.NsPerEvent), thousands(f.FuelPerEvent))
			size, memory = max(size, info.Size()), max(memory, f.MemoryBytes)
		}
	}
	return fmt.Sprintf("| %s | %s KiB | %s KiB |%s", name, thousands(float64(size)/1024), thousands(float64(memory)/1024), row)
}

// thousands is 12,345, or "-" for nothing.
func thousands(f float64) string {
	s := fmt.Sprintf("%.0f", f)
	if s == "0" {
		return "-"
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
