package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// line is what is drawn of a line of raw figures; the program measure says what the
// names mean.
type line struct {
	Series        string  `json:"series"`
	Broker        string  `json:"broker"`
	Case          string  `json:"case"`
	Cores         int     `json:"cores"`
	Share         float64 `json:"share"`
	Scenario      string  `json:"scenario"`
	QoS           int     `json:"qos"`
	Size          int     `json:"size_bytes"`
	Subscriptions int     `json:"subscriptions"`
	Connections   int     `json:"connections"`
	Transport     string  `json:"transport"`
	Retained      int     `json:"retained"`
	Rate          float64 `json:"rate_per_s"`
	Published     float64 `json:"published_per_s"`
	Delivered     float64 `json:"delivered_per_s"`
	Lost          int64   `json:"lost"`
	CPU           float64 `json:"cpu_us"`
	User          float64 `json:"cpu_user_us"`
	Busy          float64 `json:"busy_cores"`
	RSS           int64   `json:"rss_bytes"`
	PerItem       float64 `json:"rss_bytes_each"`
	P50           float64 `json:"p50_us"`
	P99           float64 `json:"p99_us"`
	P999          float64 `json:"p99_9_us"`
	Max           float64 `json:"max_us"`
	Seconds       float64 `json:"seconds"`
	Reloads       int     `json:"reloads"`
	Machine       string  `json:"machine"`

	Metrics   map[string]float64 `json:"metrics"`
	Functions map[string]float64 `json:"functions"`
}

// put draws a point on the curve of a name.
type put func(name string, x, y float64)

// figure is a chart, and what of a line of raw figures is in it.
type figure struct {
	file, title, x, y string
	read              func(l *line, put put)
}

var figures = []figure{
	{"size", "Broker CPU per message by payload (pair, one core)", "payload, bytes", "µs", func(l *line, put put) {
		if l.Series == "size" {
			put(l.name(fmt.Sprintf("QoS %d", l.QoS)), float64(l.Size), l.CPU)
		}
	}},
	{"subscriptions", "Broker CPU per message beside idle subscriptions", "subscriptions", "µs", func(l *line, put put) {
		if l.Series == "subscriptions" {
			put(l.name("QoS 0"), float64(l.Subscriptions), l.CPU)
		}
	}},
	{"subscriptions-memory", "Memory of each subscription", "subscriptions", "bytes", func(l *line, put put) {
		if l.Series == "subscriptions" {
			put(l.name(""), float64(l.Subscriptions), l.PerItem)
		}
	}},
	{"connections", "Broker CPU per message beside idle connections", "connections", "µs", func(l *line, put put) {
		if l.Series == "connections" {
			put(l.name(l.Transport), float64(l.Connections), l.CPU)
		}
	}},
	{"connections-memory", "Memory of each idle connection", "connections", "bytes", func(l *line, put put) {
		if l.Series == "connections" {
			put(l.name(l.Transport), float64(l.Connections), l.PerItem)
		}
	}},
	{"retained", "Broker CPU per retained message", "retained messages", "µs", func(l *line, put put) {
		if l.Series == "retained" {
			put(l.name(map[string]string{"": "store", "exact": "fetch one", "+": "fetch 100 by +", "#": "fetch all by #"}[l.Scenario]), float64(l.Retained), l.CPU)
		}
	}},
	{"latency", "Latency by rate (10 pairs, QoS 1, one core)", "messages/s", "µs", func(l *line, put put) {
		if l.Series != "latency" || l.Rate == 0 || l.QoS != 1 || l.Cores != 1 {
			return
		}
		switch {
		case strings.HasSuffix(l.Case, "reloaded each second"):
			put(l.name("p99, reloads"), l.Rate, l.P99)
		case strings.HasSuffix(l.Case, "with a plugin"):
			put(l.name("p99, plugin"), l.Rate, l.P99)
		default:
			put(l.name("p50"), l.Rate, l.P50)
			put(l.name("p99"), l.Rate, l.P99)
			put(l.name("p99.9"), l.Rate, l.P999)
		}
	}},
}

// name is a curve's; our own broker need not be named.
func (l *line) name(what string) string {
	if l.Broker == "patchbay" && what != "" {
		return what
	}
	return strings.TrimSpace(l.Broker + " " + what)
}

func main() {
	out := flag.String("out", ".", "`FOLDER` for the SVG files")
	doc := flag.String("doc", "", "`FILE` in which tables are to be renewed (default none)")
	flag.Parse()
	if err := run(*out, *doc, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(folder, doc string, files []string) error {
	var all []line
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		lines, err := read(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, lines...)
	}
	for _, fig := range figures {
		curves := fig.curves(all)
		if len(curves) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, fig.file+".svg"), chart(fig.title, fig.x, fig.y, curves), 0o644); err != nil {
			return err
		}
	}
	if doc == "" {
		return nil
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	filled, err := fill(string(text), all)
	if err != nil {
		return fmt.Errorf("%s: %w", doc, err)
	}
	return os.WriteFile(doc, []byte(filled), 0o644)
}

// maxLine bounds a line of raw figures; those of profiles are the longest, some KiB.
const maxLine = 1 << 20

func read(r io.Reader) ([]line, error) {
	var all []line
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(all)+1, err)
		}
		all = append(all, l)
	}
	return all, s.Err()
}

// curves collects the points, those without a value left out, in the order of the lines.
func (f *figure) curves(all []line) []curve {
	type at struct {
		name string
		x    float64
	}
	values := map[at][]float64{}
	var names []string
	for i := range all {
		f.read(&all[i], func(name string, x, y float64) {
			if x <= 0 || y <= 0 { // there is no place for them on a logarithmic axis
				return
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			values[at{name, x}] = append(values[at{name, x}], y)
		})
	}
	var curves []curve
	for _, name := range names {
		c := curve{name: name}
		for k, list := range values {
			if k.name == name {
				slices.Sort(list)
				c.points = append(c.points, point{k.x, list[len(list)/2]})
			}
		}
		slices.SortFunc(c.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
		curves = append(curves, c)
	}
	return curves
}
