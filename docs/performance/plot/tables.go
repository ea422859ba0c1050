package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// table is a Markdown table of docs/performance.md, between <!-- name --> and
// <!-- /name -->.
type table struct {
	name   string
	header []string
	rows   func([]line) [][]string
}

var tables = []table{
	{"machine", []string{"broker", "measured on"}, func(all []line) (rows [][]string) {
		for _, l := range of(all, "run") {
			rows = append(rows, []string{l.Broker, l.Machine})
		}
		return rows
	}},
	{"size", []string{"broker", "payload", "messages/s", "CPU, µs", "of it in the kernel", "MiB/s", "RSS, MiB"}, func(all []line) (rows [][]string) {
		for _, l := range of(all, "size") {
			rows = append(rows, []string{l.Broker, l.Case, whole(l.rate()), precise(l.CPU), l.kernel(), whole(l.rate() * float64(l.Size) / (1 << 20)), whole(float64(l.RSS) / (1 << 20))})
		}
		return rows
	}},
	{"qos", []string{"broker", "load", "deliveries/s", "CPU, µs", "of it in the kernel", "cores busy"}, func(all []line) (rows [][]string) {
		for _, l := range of(all, "qos") {
			rows = append(rows, []string{l.Broker, l.Case, whole(l.rate()), precise(l.CPU), l.kernel(), precise(l.Busy)})
		}
		return rows
	}},
	{"cores", []string{"broker", "load", "of each core", "1 core, /s", "2 cores, /s", "ratio", "CPU, µs: 1 core", "2 cores"}, coresRows},
	{"subscriptions", []string{"broker", "subscriptions", "subscribed within", "CPU per message, µs", "bytes each"}, func(all []line) (rows [][]string) {
		for _, l := range of(all, "subscriptions") {
			rows = append(rows, []string{l.Broker, whole(float64(l.Subscriptions)), precise(l.Seconds) + " s", precise(l.CPU), whole(l.PerItem)})
		}
		return rows
	}},
	{"connections", []string{"transport", "connections", "connected within", "RSS of each, bytes", "CPU per message, µs"}, func(all []line) (rows [][]string) {
		for _, l := range of(all, "connections") {
			rows = append(rows, []string{l.Transport, whole(float64(l.Connections)), precise(l.Seconds) + " s", whole(l.PerItem), precise(l.CPU)})
		}
		return rows
	}},
	{"retained", []string{"broker", "step", "messages/s", "CPU per message, µs", "bytes each"}, func(all []line) (rows [][]string) {
		for _, l := range of(all, "retained") {
			each := ""
			if l.PerItem != 0 {
				each = whole(l.PerItem)
			}
			rows = append(rows, []string{l.Broker, l.Case, whole(l.rate()), precise(l.CPU), each})
		}
		return rows
	}},
	{"latency", []string{"broker", "load", "messages/s", "p50, µs", "p99", "p99.9", "longest", "reloads"}, func(all []line) (rows [][]string) {
		for _, l := range of(all, "latency") {
			reloads := ""
			if l.Reloads > 0 {
				reloads = fmt.Sprint(l.Reloads)
			}
			rows = append(rows, []string{l.Broker, strings.TrimSpace(l.Case), whole(l.rate()), whole(l.P50), whole(l.P99), whole(l.P999), whole(l.Max), reloads})
		}
		return rows
	}},
	{"durable", []string{"broker", "sessions, store", "messages/s", "CPU, µs", "p50, µs", "p99", "commits", "messages each", "until safe, ms", "written", "skipped"}, durableRows},
	{"profile", []string{"load", "system calls", "then"}, profileRows},
	{"structs", []string{"struct", "bytes"}, func(all []line) (rows [][]string) {
		for _, l := range of(all, "budget") {
			if l.Connections == 0 {
				for _, name := range slices.Sorted(maps.Keys(l.Metrics)) {
					rows = append(rows, []string{"`" + name + "`", whole(l.Metrics[name])})
				}
			}
		}
		return rows
	}},
	{"budget", []string{"bytes for each connection", "tcp", "tls", "ws"}, budgetRows},
}

// of returns the measurements of a series in their order; of several of one kind that
// with the median CPU time.
func of(all []line, series string) (list []line) {
	type kind struct{ broker, name string }
	several := map[kind][]line{}
	var order []kind
	for _, l := range all {
		if l.Series != series {
			continue
		}
		k := kind{l.Broker, l.Case}
		if several[k] == nil {
			order = append(order, k)
		}
		several[k] = append(several[k], l)
	}
	for _, k := range order {
		lines := several[k]
		slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.CPU, b.CPU) })
		list = append(list, lines[len(lines)/2])
	}
	return list
}

func (l *line) rate() float64 { return max(l.Delivered, l.Published) }

func (l *line) kernel() string {
	if l.CPU == 0 {
		return ""
	}
	return percent(1 - l.User/l.CPU)
}

func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

// whole writes 1234567 as 1,234,567.
func whole(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	digits := strings.TrimPrefix(s, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return s[:len(s)-len(strings.TrimPrefix(s, "-"))] + digits
}

// precise keeps small numbers apart.
func precise(v float64) string {
	if v >= 100 {
		return whole(v)
	}
	return fmt.Sprintf("%.2f", v)
}

func coresRows(all []line) (rows [][]string) {
	list := of(all, "cores")
	for _, one := range list {
		load, single := strings.CutSuffix(one.Case, ", 1 cores")
		if !single {
			continue
		}
		for _, two := range list {
			if two.Broker == one.Broker && two.Case == load+", 2 cores" && two.Share == one.Share && one.rate() > 0 {
				share := one.Share
				if share == 0 {
					share = 1
				}
				rows = append(rows, []string{one.Broker, load, fmt.Sprintf("%.0f %%", 100*share), whole(one.rate()), whole(two.rate()), precise(two.rate() / one.rate()), precise(one.CPU), precise(two.CPU)})
			}
		}
	}
	return rows
}

func durableRows(all []line) (rows [][]string) {
	for _, l := range of(all, "durable") {
		row := []string{l.Broker, l.Case, whole(l.rate()), precise(l.CPU), whole(l.P50), whole(l.P99), "", "", "", "", ""}
		if strings.HasPrefix(l.Case, "offline") {
			row[2], row[4], row[5] = whole(l.Published)+" stored, "+whole(l.Delivered)+" fetched", "", ""
		}
		if commits := l.Metrics["patchbay_store_commits_total"]; commits > 0 {
			copy(row[6:], []string{
				whole(commits), precise(l.Metrics["patchbay_store_commit_messages_sum"] / commits), precise(1000 * l.Metrics["patchbay_store_commit_seconds_sum"] / commits),
				whole(l.Metrics["patchbay_store_written_messages_total"]), whole(l.Metrics["patchbay_store_skipped_messages_total"]),
			})
		}
		rows = append(rows, row)
	}
	return rows
}

// kernel is what the program measure calls the functions that call the kernel.
const kernel = "system calls"

func profileRows(all []line) (rows [][]string) {
	for _, l := range of(all, "profile") {
		names := slices.SortedFunc(maps.Keys(l.Functions), func(a, b string) int {
			return cmp.Or(cmp.Compare(l.Functions[b], l.Functions[a]), cmp.Compare(a, b))
		})
		var then []string
		for _, n := range names {
			if n != kernel && len(then) < 5 {
				then = append(then, "`"+brief(n)+"` "+percent(l.Functions[n]))
			}
		}
		rows = append(rows, []string{l.Case, percent(l.Functions[kernel]), strings.Join(then, ", ")})
	}
	return rows
}

// brief leaves out what the functions of this module have in common.
func brief(function string) string {
	return strings.TrimPrefix(strings.TrimPrefix(function, "github.com/patchbay-mq/patchbay/"), "core/")
}

// leastBytes keeps what a connection has only by chance out of the budget.
const leastBytes = 8

func budgetRows(all []line) (rows [][]string) {
	columns := map[string]line{}
	names := map[string]float64{}
	for _, l := range of(all, "budget") {
		if l.Connections == 0 {
			continue
		}
		columns[l.Transport] = l
		for name, bytes := range l.Metrics {
			if function, ok := strings.CutPrefix(name, "heap "); ok && bytes >= leastBytes {
				names[function] = max(names[function], bytes)
			}
		}
	}
	row := func(title string, value func(l *line) float64) {
		cells := []string{title}
		for _, transport := range []string{"tcp", "tls", "ws"} {
			l, ok := columns[transport]
			cell := ""
			if ok {
				if v := value(&l); v != 0 {
					cell = whole(v)
				}
			}
			cells = append(cells, cell)
		}
		rows = append(rows, cells)
	}
	metric := func(name string) func(*line) float64 {
		return func(l *line) float64 { return l.Metrics[name] }
	}
	for _, function := range slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(cmp.Compare(names[b], names[a]), cmp.Compare(a, b))
	}) {
		row("`"+brief(function)+"`", metric("heap "+function))
	}
	alloc, inuse := metric("go_memstats_heap_alloc_bytes"), metric("go_memstats_heap_inuse_bytes")
	idle := func(l *line) float64 {
		return l.Metrics["go_memstats_heap_idle_bytes"] - l.Metrics["go_memstats_heap_released_bytes"]
	}
	stack, span := metric("go_memstats_stack_inuse_bytes"), metric("go_memstats_mspan_inuse_bytes")
	collector := func(l *line) float64 {
		return l.Metrics["go_memstats_gc_sys_bytes"] + l.Metrics["go_memstats_other_sys_bytes"] + l.Metrics["go_memstats_buck_hash_sys_bytes"]
	}
	row("**objects on the heap**", alloc)
	row("room in spans that is not used", func(l *line) float64 { return inuse(l) - alloc(l) })
	row("garbage whose pages the runtime keeps", idle)
	row("stacks of goroutines", stack)
	row("the runtime's records of spans", span)
	row("the runtime's records for the garbage collector and the heap profile", collector)
	row("not accounted for", func(l *line) float64 { return l.PerItem - inuse(l) - idle(l) - stack(l) - span(l) - collector(l) })
	row("**resident memory**", func(l *line) float64 { return l.PerItem })
	return rows
}

// fill writes the tables into a text that has their places.
func fill(text string, all []line) (string, error) {
	for _, t := range tables {
		place := regexp.MustCompile(`(?s)(<!-- ` + t.name + ` -->\n)(.*?)(<!-- /` + t.name + ` -->)`)
		have := place.FindStringSubmatch(text)
		if have == nil {
			return "", fmt.Errorf("there is no place for the table %q", t.name)
		}
		rows := t.rows(all)
		if len(rows) == 0 {
			continue
		}
		var b strings.Builder
		write := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
		write(t.header)
		b.WriteString("|" + strings.Repeat("---|", len(t.header)) + "\n")
		for _, r := range rows {
			write(r)
		}
		text = strings.Replace(text, have[0], have[1]+b.String()+have[3], 1)
	}
	return text, nil
}
