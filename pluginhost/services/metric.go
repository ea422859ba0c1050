package services

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"unicode/utf8"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	maxSeries     = 1000 // of a plugin
	maxMetricName = 128
	maxLabels     = 32
	maxLabelValue = 1024
	maxHelp       = 1024
	maxBuckets    = 64
)

// defaultBuckets are those of a histogram whose first sample has none.
var defaultBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Kind is how a metric adds up.
type Kind uint8

// The kinds of metrics.
const (
	Counter Kind = iota
	Gauge
	Histogram
)

// Sample is one series of a plugin's metrics, as it stands.
type Sample struct {
	Plugin string
	// Name in /metrics: "patchbay_plugin_", the plugin's name and the metric's.
	Name, Help string
	Kind       Kind
	// Labels in the order of their names.
	Labels []Label
	// Value of a counter or gauge; of a histogram the sum of what was observed.
	Value float64
	// Count of a histogram is how many values were observed, and Buckets how many of
	// them were not above each bound.
	Count   uint64
	Buckets []Bucket
}

// Label is a label of a Sample.
type Label struct{ Name, Value string }

// Bucket is a bucket of a histogram; Count includes those below.
type Bucket struct {
	UpperBound float64
	Count      uint64
}

// registry are the metrics of one plugin.
type registry struct {
	mu       sync.Mutex
	families map[string]*family
	series   int
}

type family struct {
	full, help string
	kind       Kind
	bounds     []float64
	series     map[string]*series
}

type series struct {
	labels []Label
	value  float64
	count  uint64
	counts []uint64 // by bound, not cumulative
}

// Metric implements v1host.Service. What can be counted is; the error is that of the
// first sample that cannot.
func (s *Service) Metric(_ context.Context, in *pluginv1.MetricRequest) (*pluginv1.MetricResponse, error) {
	return serve(s, pluginv1.HostOpMetric, func() (*pluginv1.MetricResponse, error) {
		if err := limit("samples", len(in.Samples), maxElements); err != nil {
			return nil, err
		}
		s.p.metrics.mu.Lock()
		defer s.p.metrics.mu.Unlock()
		var first error
		for i := range in.Samples {
			if err := s.p.count(&in.Samples[i]); err != nil {
				first = cmp.Or(first, err)
			}
		}
		return &pluginv1.MetricResponse{}, first
	})
}

// count takes one sample, with the registry locked.
func (p *Plugin) count(x *pluginv1.Sample) error {
	if !isMetricName(x.Name) {
		return invalid("metric %s: a name is letters, digits and _, begins with a letter, and has at most %d bytes", quote(x.Name), maxMetricName)
	}
	var kind Kind
	switch x.Kind {
	case pluginv1.MetricKindCounter:
		kind = Counter
	case pluginv1.MetricKindGauge, pluginv1.MetricKindGaugeAdd:
		kind = Gauge
	case pluginv1.MetricKindHistogram:
		kind = Histogram
	default:
		return invalid("metric %s: kind %d is not known", x.Name, x.Kind)
	}
	if kind != Gauge && math.IsNaN(x.Value) || kind == Counter && (x.Value < 0 || math.IsInf(x.Value, 0)) {
		return invalid("metric %s: the value %v", x.Name, x.Value)
	}
	key, err := seriesKey(x, kind)
	if err != nil {
		return err
	}
	f := p.metrics.families[x.Name]
	switch {
	case f == nil:
		if err := p.hasRoom(x.Name); err != nil {
			return err
		}
		if f, err = p.newFamily(x, kind); err != nil {
			return err
		}
	case f.kind != kind:
		return invalid("metric %s: it was of another kind before", x.Name)
	}
	one := f.series[key]
	if one == nil {
		if err := p.hasRoom(x.Name); err != nil {
			return err
		}
		one = &series{labels: labelsOf(x), counts: make([]uint64, len(f.bounds))}
		f.series[key] = one
		p.metrics.series++
	}
	one.add(f, x)
	return nil
}

func (p *Plugin) hasRoom(name string) error {
	if p.metrics.series >= maxSeries {
		return fail(pluginv1.HostErrorCodeLimit, "metric %s: there are %d combinations of names and labels already", name, maxSeries)
	}
	return nil
}

func (s *series) add(f *family, x *pluginv1.Sample) {
	switch x.Kind {
	case pluginv1.MetricKindGauge:
		s.value = x.Value
		return
	case pluginv1.MetricKindHistogram:
		s.count++
		if i := sort.SearchFloat64s(f.bounds, x.Value); i < len(f.bounds) {
			s.counts[i]++
		}
	}
	s.value += x.Value
}

// newFamily begins a metric, whose name nobody else may have in /metrics: a plugin's name
// and a metric's can be put together in two ways to the same.
func (p *Plugin) newFamily(x *pluginv1.Sample, kind Kind) (*family, error) {
	f := &family{
		full: "patchbay_plugin_" + strings.ReplaceAll(p.name, "-", "_") + "_" + x.Name, kind: kind, series: map[string]*series{},
		help: cmp.Or(clean(x.Help, maxHelp), "Metric of the plugin "+p.name+"."),
	}
	names := []string{f.full}
	if kind == Histogram {
		if f.bounds = slices.Clone(x.Buckets); len(f.bounds) == 0 {
			f.bounds = defaultBuckets
		}
		if err := checkBuckets(x.Name, f.bounds); err != nil {
			return nil, err
		}
		names = append(names, f.full+"_bucket", f.full+"_sum", f.full+"_count")
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for _, name := range names {
		if owner := p.s.families[name]; owner != nil {
			return nil, invalid("metric %s: it would be %s in /metrics, and the plugin %q has that already", x.Name, name, owner.name)
		}
	}
	for _, name := range names {
		p.s.families[name] = p
	}
	if p.metrics.families == nil {
		p.metrics.families = map[string]*family{}
	}
	p.metrics.families[strings.Clone(x.Name)] = f
	return f, nil
}

func checkBuckets(name string, bounds []float64) error {
	if len(bounds) > maxBuckets {
		return invalid("metric %s: %d buckets, at most %d", name, len(bounds), maxBuckets)
	}
	for i, b := range bounds {
		if math.IsNaN(b) || math.IsInf(b, 0) || i > 0 && b <= bounds[i-1] {
			return invalid("metric %s: buckets are finite numbers that grow", name)
		}
	}
	return nil
}

func isMetricName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && (c >= '0' && c <= '9' || c == '_')) {
			return false
		}
	}
	return s != "" && len(s) <= maxMetricName
}

// seriesKey checks the labels of a sample and makes one string of them.
func seriesKey(x *pluginv1.Sample, kind Kind) (string, error) {
	if len(x.Labels) == 0 {
		return "", nil
	}
	if len(x.Labels) > maxLabels {
		return "", invalid("metric %s: %d labels, at most %d", x.Name, len(x.Labels), maxLabels)
	}
	var b strings.Builder
	before := ""
	for _, l := range sortedLabels(x) {
		switch {
		case !isMetricName(l.Name) || kind == Histogram && l.Name == "le":
			return "", invalid("metric %s: %s cannot be the name of a label", x.Name, quote(l.Name))
		case l.Name == before:
			return "", invalid("metric %s: two labels %s", x.Name, l.Name)
		case len(l.Value) > maxLabelValue || !utf8.ValidString(l.Value):
			return "", invalid("metric %s: the value of label %s is not UTF-8, or has more than %d bytes", x.Name, l.Name, maxLabelValue)
		}
		before = l.Name
		b.WriteString(l.Name)
		b.WriteByte(0xFF) // in no UTF-8
		b.WriteString(l.Value)
		b.WriteByte(0xFF)
	}
	return b.String(), nil
}

func sortedLabels(x *pluginv1.Sample) []pluginv1.Pair {
	byName := func(a, b pluginv1.Pair) int { return cmp.Compare(a.Name, b.Name) }
	if slices.IsSortedFunc(x.Labels, byName) {
		return x.Labels
	}
	list := slices.Clone(x.Labels)
	slices.SortFunc(list, byName)
	return list
}

func labelsOf(x *pluginv1.Sample) []Label {
	var out []Label
	for _, l := range sortedLabels(x) {
		out = append(out, Label{strings.Clone(l.Name), strings.Clone(l.Value)})
	}
	return out
}

// Samples calls fn for all series of all plugins, by plugin, name and labels in order. What fn
// gets is its own.
func (s *Services) Samples(fn func(Sample)) {
	for _, p := range s.list() {
		for _, x := range p.samples() {
			fn(x)
		}
	}
}

func (p *Plugin) samples() []Sample {
	p.metrics.mu.Lock()
	defer p.metrics.mu.Unlock()
	var out []Sample
	for _, f := range p.metrics.families {
		for _, s := range f.series {
			x := Sample{Plugin: p.name, Name: f.full, Help: f.help, Kind: f.kind, Labels: slices.Clone(s.labels), Value: s.value, Count: s.count}
			sum := uint64(0)
			for i, n := range s.counts {
				sum += n
				x.Buckets = append(x.Buckets, Bucket{f.bounds[i], sum})
			}
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.CompareFunc(a.Labels, b.Labels, func(x, y Label) int {
			return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Value, y.Value))
		}))
	})
	return out
}
