// Plot draws the figures of docs/performance.md as SVG files from the raw figures that
// the program measure has written, and renews the tables there.
//
//	go run ./docs/performance/plot -out docs/performance -doc docs/performance.md docs/performance/*.jsonl
//
// Where a measurement was made several times, the median is drawn.
//
//   - main.go: which figures there are, and what of the raw figures is in each
//   - tables.go: the tables
//   - svg.go: a chart with logarithmic axes
package main
