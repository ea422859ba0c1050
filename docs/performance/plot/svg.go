package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// curve is a line of a chart.
type curve struct {
	name   string
	points []point
}

type point struct{ x, y float64 }

// The chart in the units of its viewBox; names of curves stand right of the plot.
const (
	width, height            = 820, 380
	left, right, top, bottom = 64, 560, 40, 326
	// between is the least distance of two names.
	between = 14
)

// style leaves the background to the page: its greys and colours can be read on white
// and on black.
const style = `text{font:12px system-ui,sans-serif;fill:#666}.t{font-size:14px;font-weight:600}.g{stroke:#888;stroke-opacity:.3}` +
	`.c{fill:none;stroke-width:2}@media(prefers-color-scheme:dark){text{fill:#aaa}}`

var colours = []string{"#2f81f7", "#d97706", "#16a34a", "#db2777", "#8b5cf6", "#0891b2", "#a3741a", "#dc2626", "#64748b", "#65a30d"}

// axis maps values to places by their logarithm.
type axis struct{ from, to, start, end float64 }

func (a axis) at(v float64) float64 {
	return a.start + (math.Log10(v)-a.from)/(a.to-a.from)*(a.end-a.start)
}

// axisFor covers the values; round extends it to powers of ten.
func axisFor(values []float64, start, end float64, round bool) axis {
	lo, hi := math.Log10(slices.Min(values)), math.Log10(slices.Max(values))
	if round {
		lo, hi = math.Floor(lo), math.Ceil(hi)
	}
	if hi-lo < 0.1 {
		lo, hi = lo-0.5, hi+0.5
	}
	return axis{lo, hi, start, end}
}

// ticks are the powers of ten within the axis, with 2 and 5 where it is short.
func (a axis) ticks() []float64 {
	steps := []float64{1}
	if a.to-a.from <= 2 {
		steps = []float64{1, 2, 5}
	}
	var all []float64
	for e := math.Floor(a.from); e <= a.to; e++ {
		for _, s := range steps {
			v := s * math.Pow(10, e)
			if l := math.Log10(v); l >= a.from-1e-9 && l <= a.to+1e-9 {
				all = append(all, v)
			}
		}
	}
	return all
}

// short writes a number as 0.1, 20, 5k or 1M.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// chart draws at least one curve, whose points have values above 0.
func chart(title, x, y string, curves []curve) []byte {
	var xs, ys []float64
	for _, c := range curves {
		for _, p := range c.points {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
	}
	ax, ay := axisFor(xs, left, right, false), axisFor(ys, bottom, top, true)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s"><style>%s</style>`+"\n", width, height, escape(title), style)
	text := func(x, y float64, attributes, s string) {
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f"%s>%s</text>`+"\n", x, y, attributes, escape(s))
	}
	text(left, 20, ` class="t"`, title)
	for _, v := range ax.ticks() {
		fmt.Fprintf(&b, `<path class="g" d="M%.1f %dV%d"/>`+"\n", ax.at(v), top, bottom)
		text(ax.at(v), bottom+18, ` text-anchor="middle"`, short(v))
	}
	for _, v := range ay.ticks() {
		fmt.Fprintf(&b, `<path class="g" d="M%d %.1fH%d"/>`+"\n", left, ay.at(v), right)
		text(left-6, ay.at(v)+4, ` text-anchor="end"`, short(v))
	}
	text((left+right)/2, height-14, ` text-anchor="middle"`, x)
	text(left-6, top-8, ` text-anchor="end"`, y)
	for i, c := range curves {
		colour := colours[i%len(colours)]
		var path strings.Builder
		for j, p := range c.points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], ax.at(p.x), ay.at(p.y))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", ax.at(p.x), ay.at(p.y), colour)
		}
		fmt.Fprintf(&b, `<path class="c" stroke="%s" d="%s"/>`+"\n", colour, path.String())
	}
	for i, place := range places(curves, ay) {
		text(right+10, place+4, fmt.Sprintf(` style="fill:%s"`, colours[i%len(colours)]), curves[i].name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// places says at which height the curves' names stand: near their ends, but apart.
func places(curves []curve, ay axis) []float64 {
	at, order := make([]float64, len(curves)), make([]int, len(curves))
	for i, c := range curves {
		at[i], order[i] = ay.at(c.points[len(c.points)-1].y), i
	}
	slices.SortStableFunc(order, func(i, j int) int { return int(math.Copysign(1, at[i]-at[j])) })
	for k := 1; k < len(order); k++ {
		at[order[k]] = max(at[order[k]], at[order[k-1]]+between)
	}
	// What is pushed below the plot pushes the others up.
	limit := float64(bottom)
	for k := len(order) - 1; k >= 0; k-- {
		at[order[k]] = min(at[order[k]], limit)
		limit = at[order[k]] - between
	}
	return at
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer takes all
	return b.String()
}
