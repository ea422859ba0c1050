package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sample = `{"series":"run","broker":"patchbay","machine":"x"}
{"series":"size","broker":"patchbay","qos":0,"size_bytes":24,"cpu_us":0.3}
{"series":"size","broker":"patchbay","qos":0,"size_bytes":24,"cpu_us":0.1}
{"series":"size","broker":"patchbay","qos":0,"size_bytes":24,"cpu_us":0.2}
{"series":"size","broker":"patchbay","qos":0,"size_bytes":1048576,"cpu_us":1400}
{"series":"size","broker":"a & b","qos":0,"size_bytes":24,"cpu_us":0}
{"series":"size","broker":"a & b","qos":0,"size_bytes":128,"cpu_us":9}
{"series":"latency","broker":"patchbay","case":"1,000/s","cores":1,"qos":1,"rate_per_s":1000,"p50_us":50,"p99_us":100,"p99_9_us":900}
{"series":"latency","broker":"patchbay","case":"saturated","cores":1,"qos":1,"p50_us":50,"p99_us":100,"p99_9_us":900}
`

// Of several measurements the median is drawn; what is 0 is not.
func TestCurves(t *testing.T) {
	lines, err := read(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	got := figures[0].curves(lines)
	if len(got) != 2 || got[0].name != "QoS 0" || got[1].name != "a & b QoS 0" {
		t.Fatalf("%+v", got)
	}
	if p := got[0].points; len(p) != 2 || p[0] != (point{24, 0.2}) || p[1] != (point{1 << 20, 1400}) {
		t.Errorf("%v", p)
	}
	if p := got[1].points; len(p) != 1 || p[0] != (point{128, 9}) {
		t.Errorf("%v", p)
	}
}

// The files are XML, small, and those of which there are no figures are not written.
func TestFiles(t *testing.T) {
	folder := t.TempDir()
	raw := filepath.Join(folder, "raw.jsonl")
	if err := os.WriteFile(raw, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(folder, "", []string{raw}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.svg"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 15<<10 {
			t.Errorf("%s: %d bytes", file, len(content))
		}
		d := xml.NewDecoder(strings.NewReader(string(content)))
		for err == nil {
			_, err = d.Token()
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", file, err)
		}
		if strings.Contains(string(content), "NaN") || strings.Contains(string(content), "Inf") {
			t.Errorf("%s has a place that is no number", file)
		}
	}
	if err := os.WriteFile(raw, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(folder, "", []string{raw}); err == nil || !strings.Contains(err.Error(), "raw.jsonl: line 1") {
		t.Errorf("a broken file: %v", err)
	}
}

// Names of curves that end at one place do not cover each other, and stay in the plot.
func TestPlaces(t *testing.T) {
	var curves []curve
	for range 5 {
		curves = append(curves, curve{points: []point{{1, 1}}})
	}
	at := places(curves, axisFor([]float64{1, 100}, bottom, top, true))
	for i, a := range at {
		if a > bottom || a < top {
			t.Errorf("name %d stands at %v", i, a)
		}
		for j := range i {
			if d := a - at[j]; d < between && d > -between {
				t.Errorf("names %d and %d are %v apart", j, i, d)
			}
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0.1: "0.1", 20: "20", 5000: "5k", 1e6: "1M", 1048576: "1.05M"} {
		if got := short(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}

// rawFiles are the committed raw figures.
func rawFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	return files
}

// The document says that our own broker has lost nothing but messages of QoS 0 for receivers that were behind, on a schedule
// at the edge of what the machine can do.
func TestNothingIsLost(t *testing.T) {
	for _, name := range rawFiles(t) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := read(strings.NewReader(string(content)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, l := range lines {
			if edge := strings.HasPrefix(l.Case, "80 %, QoS 0"); l.Broker == "patchbay" && l.Lost != 0 && !edge {
				t.Errorf("%s, %s: lost %d", l.Series, l.Case, l.Lost)
			}
		}
	}
}

// docs/performance.md has a place for each table, and what is committed is what the
// committed raw figures give.
func TestDocument(t *testing.T) {
	const doc = "../../performance.md"
	files := rawFiles(t)
	want, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	copied := filepath.Join(folder, "performance.md")
	if err := os.WriteFile(copied, want, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(folder, copied, files); err != nil {
		t.Fatal(err)
	}
	const again = "run go run ./docs/performance/plot -out docs/performance -doc docs/performance.md docs/performance/*.jsonl"
	if got, err := os.ReadFile(copied); err != nil || string(got) != string(want) {
		t.Errorf("docs/performance.md is out of date (%v): %s", err, again)
	}
	for _, f := range figures {
		got, err := os.ReadFile(filepath.Join(folder, f.file+".svg"))
		if err != nil {
			t.Errorf("no raw figures: %v", err)
			continue
		}
		if want, err := os.ReadFile(filepath.Join("..", f.file+".svg")); err != nil || string(got) != string(want) {
			t.Errorf("%s.svg is out of date (%v): %s", f.file, err, again)
		}
		if !strings.Contains(string(want), "performance/"+f.file+".svg") {
			t.Errorf("docs/performance.md does not show %s.svg", f.file)
		}
	}
}

func TestWhole(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.6: "1,234,568", -4321: "-4,321"} {
		if got := whole(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}

// Rows are of the run with the median CPU time; one core and two are put together.
func TestTables(t *testing.T) {
	all, err := read(strings.NewReader(`{"series":"cores","broker":"b","case":"pair QoS 0, 1 cores","delivered_per_s":100,"cpu_us":2}
{"series":"cores","broker":"b","case":"pair QoS 0, 1 cores","delivered_per_s":1000,"cpu_us":1}
{"series":"cores","broker":"b","case":"pair QoS 0, 1 cores","delivered_per_s":7,"cpu_us":3}
{"series":"cores","broker":"b","case":"pair QoS 0, 2 cores","delivered_per_s":150,"cpu_us":4}
{"series":"cores","broker":"b","case":"pair QoS 1, 1 cores","share":0.5,"delivered_per_s":10,"cpu_us":1}
{"series":"cores","broker":"b","case":"pair QoS 1, 2 cores","share":0.5,"delivered_per_s":20,"cpu_us":1}
{"series":"budget","broker":"b","connections":10,"transport":"tcp","rss_bytes_each":1000,"metrics":{"heap x.New":300,"heap y":1,"go_memstats_heap_alloc_bytes":400,"go_memstats_heap_inuse_bytes":500,"go_memstats_heap_idle_bytes":80,"go_memstats_heap_released_bytes":50,"go_memstats_stack_inuse_bytes":70}}
{"series":"durable","broker":"b","case":"offline","published_per_s":10,"delivered_per_s":20,"metrics":{"patchbay_store_commits_total":4,"patchbay_store_commit_messages_sum":10,"patchbay_store_commit_seconds_sum":0.002}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"cores":   {"b | pair QoS 0 | 100 % | 100 | 150 | 1.50 | 2.00 | 4.00", "b | pair QoS 1 | 50 % | 10 | 20 | 2.00 | 1.00 | 1.00"},
		"durable": {"b | offline | 10 stored, 20 fetched | 0.00 |  |  | 4 | 2.50 | 0.50 | 0 | 0"},
		"budget": {
			"`x.New` | 300 |  | ", "**objects on the heap** | 400 |  | ", "room in spans that is not used | 100 |  | ",
			"garbage whose pages the runtime keeps | 30 |  | ", "stacks of goroutines | 70 |  | ", "not accounted for | 400 |  | ", "**resident memory** | 1,000 |  | ",
		},
	} {
		var got []string
		for _, tab := range tables {
			if tab.name == name {
				for _, row := range tab.rows(all) {
					got = append(got, strings.Join(row, " | "))
				}
			}
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no row %q in\n%s", name, w, strings.Join(got, "\n"))
			}
		}
	}
	if _, err := fill("no places", all); err == nil {
		t.Error("a text without places for the tables was filled")
	}
}
