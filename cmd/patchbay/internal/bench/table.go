package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// writeTable prints the result for people.
func (r *result) writeTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  MQTT %s", r.Scenario, r.URL, r.Version)
	if m := r.Messages; m != nil {
		fmt.Fprintf(&b, "  QoS %d  %s bytes\n", m.QoS, thousands(int64(m.Size)))
		fmt.Fprintf(&b, "%s publishers, %s subscribers, %s topics, %s\n", thousands(int64(m.Publishers)),
			thousands(int64(m.Subscribers)), thousands(int64(m.Topics)), r.demand())
	} else {
		b.WriteByte('\n')
	}
	if r.Interrupted {
		b.WriteString("interrupted: the figures are of what was done until then\n")
	}
	b.WriteByte('\n')
	r.connectTable(&b)
	if r.Messages != nil {
		r.messageTable(&b)
	}
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "  error, %s times: %s\n", thousands(int64(e.Count)), e.Text)
	}
	r.chart(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// demand says what the publishers were asked to do.
func (r *result) demand() string {
	m := r.Messages
	switch {
	case r.Offline != nil:
		return "with persistent sessions"
	case m.DemandedPerSecond == 0:
		return "as fast as the window allows"
	}
	text := thousands(int64(m.DemandedPerSecond)) + " messages/s demanded"
	if m.DeliveriesPerMessage > 1 {
		text += fmt.Sprintf(" = %s deliveries/s", thousands(int64(m.DemandedPerSecond*float64(m.DeliveriesPerMessage))))
	}
	return text
}

// row prints a name, a total, and something about it.
func row(b *strings.Builder, name string, n int64, format string, args ...any) {
	line := fmt.Sprintf("  %-15s %16s  %s", name, thousands(n), fmt.Sprintf(format, args...))
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

func (r *result) connectTable(b *strings.Builder) {
	c := &r.Connect
	row(b, "connections", c.Established, "%s/s in %.2fs", thousands(int64(c.PerSecond)), c.Seconds)
	if c.Failed > 0 {
		row(b, "failed", c.Failed, "")
	}
	if c.Lost > 0 {
		row(b, "connections lost", c.Lost, "")
	}
	if r.Idle != nil {
		row(b, "still connected", r.Idle.Connections, "after %.1fs", r.Idle.Seconds)
	}
	if r.Messages == nil {
		latencyRow(b, "handshake", &c.Latency)
	}
}

func (r *result) messageTable(b *strings.Builder) {
	m := r.Messages
	row(b, "published", int64(m.Published), "%s/s%s", thousands(int64(m.PublishedPerSecond)), r.achieved())
	if m.DeliveriesPerMessage > 0 {
		row(b, "delivered", int64(m.Delivered), "%s/s", thousands(int64(m.DeliveredPerSecond)))
		row(b, "expected", int64(m.Expected), "")
		row(b, "lost", m.Lost, "%s", percent(float64(m.Lost), float64(m.Expected)))
		row(b, "duplicated", int64(m.Duplicated), "")
		row(b, "out of order", int64(m.OutOfOrder), "")
	}
	for _, x := range []struct {
		name string
		n    uint64
	}{{"unacknowledged", m.Unacknowledged}, {"refused", m.Refused}, {"foreign", m.Foreign}} {
		if x.n > 0 {
			row(b, x.name, int64(x.n), "")
		}
	}
	if off := r.Offline; off != nil {
		row(b, "sessions lost", int64(off.SessionsLost), "stored in %.2fs, drained in %.2fs", off.StoreSeconds, off.DrainSeconds)
	}
	if m.DeliveriesPerMessage > 0 {
		latencyRow(b, "latency", &m.Latency)
	}
	if m.WindowStalls > 0 {
		fmt.Fprintf(b, "  %s times nothing of a publisher's window came for %v: it was taken for lost\n", thousands(m.WindowStalls), stallAfter)
	}
	if m.Unfinished {
		b.WriteString("  deliveries were still coming at the end: lost counts what had not come by then (see --drain)\n")
	}
}

// achieved compares the rate with what was demanded.
func (r *result) achieved() string {
	m := r.Messages
	if m.DemandedPerSecond == 0 || r.Measured == 0 {
		return ""
	}
	return fmt.Sprintf(" = %.1f %% of the demand", 100*m.PublishedPerSecond/m.DemandedPerSecond)
}

func latencyRow(b *strings.Builder, name string, l *latencyResult) {
	if l.Count == 0 {
		return
	}
	d := func(us float64) string { return formatDuration(time.Duration(us * 1e3)) }
	fmt.Fprintf(b, "  %-15s p50 %s  p90 %s  p99 %s  p99.9 %s  max %s\n", name, d(l.P50), d(l.P90), d(l.P99), d(l.P999), d(l.Max))
}

func percent(a, of float64) string {
	if of == 0 {
		return ""
	}
	return fmt.Sprintf("%.3g %%", 100*a/of)
}

// Size of the chart, in characters without the axis.
const (
	chartWidth  = 60
	chartHeight = 6
)

// chart draws the series: what the scenario is about, per second.
func (r *result) chart(b *strings.Builder) {
	title, pick := "connects/s", func(s *sample) float64 { return s.Connects }
	if m := r.Messages; m != nil && m.DeliveriesPerMessage > 0 {
		title, pick = "delivered/s", func(s *sample) float64 { return s.Delivered }
	} else if m != nil {
		title, pick = "published/s", func(s *sample) float64 { return s.Published }
	}
	values := make([]float64, len(r.Series))
	for i := range r.Series {
		values[i] = pick(&r.Series[i])
	}
	if len(values) < 2 {
		return // one column is no chart
	}
	fmt.Fprintf(b, "\n  %s\n%s  %9s 0s%*s\n", title, drawChart(values, chartWidth, chartHeight), "",
		max(min(len(values), chartWidth)-2, 4), formatSeconds(r.Series[len(r.Series)-1].At))
}

// drawChart draws values as columns of block characters, in height lines with an
// axis; more values than width are averaged in groups.
func drawChart(values []float64, width, height int) string {
	values = squeeze(values, width)
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	if top == 0 {
		top = 1
	}
	blocks := []rune(" ▁▂▃▄▅▆▇█")
	var b strings.Builder
	for line := height - 1; line >= 0; line-- {
		label := ""
		switch line {
		case height - 1:
			label = short(top)
		case 0:
			label = "0"
		}
		fmt.Fprintf(&b, "  %9s ", label)
		row := make([]rune, len(values))
		for i, v := range values {
			eighths := int(math.Round(v/top*float64(height*8))) - line*8
			row[i] = blocks[min(max(eighths, 0), 8)]
		}
		b.WriteString(strings.TrimRight(string(row), " ") + "\n")
	}
	return b.String()
}

// squeeze averages values so that at most width are left.
func squeeze(values []float64, width int) []float64 {
	if len(values) <= width {
		return values
	}
	out := make([]float64, width)
	for i := range out {
		group := values[i*len(values)/width : (i+1)*len(values)/width]
		for _, v := range group {
			out[i] += v / float64(len(group))
		}
	}
	return out
}

// thousands writes n with a comma between groups of three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// short writes v with three digits and a unit: 999, 1.00k, 20.0M.
func short(v float64) string {
	switch {
	case v < 999.5:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v < 999.5e3:
		return threeDigits(v/1e3) + "k"
	case v < 999.5e6:
		return threeDigits(v/1e6) + "M"
	}
	return threeDigits(v/1e9) + "G"
}

// formatDuration writes d with three digits: 850ns, 12.3µs, 4.56ms, 1.20s.
func formatDuration(d time.Duration) string {
	v := float64(d)
	switch {
	case v < 999.5:
		return strconv.FormatInt(int64(d), 10) + "ns"
	case v < 999.5e3:
		return threeDigits(v/1e3) + "µs"
	case v < 999.5e6:
		return threeDigits(v/1e6) + "ms"
	}
	return threeDigits(v/1e9) + "s"
}

func formatSeconds(s float64) string { return strconv.FormatFloat(s, 'f', 0, 64) + "s" }

// threeDigits writes v, 0.9995 or more, with three digits.
func threeDigits(v float64) string {
	switch {
	case v < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
