package services

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func TestLog(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t)
	out, err := s.Log(t.Context(), &pluginv1.LogRequest{Records: []pluginv1.LogRecord{
		{Level: pluginv1.LogLevelDebug, Message: "not wanted"},
		{Message: "plain", Attributes: []pluginv1.Pair{{Name: "n", Value: "1"}, {Name: "plugin", Value: "forged"}, {Name: "level", Value: "forged"}, {Value: "none"}}},
		{Level: pluginv1.LogLevelError, Message: "two\nlines \x1b[31mred \u202Eback\xff", TimeMs: 1_893_456_000_000},
	}})
	if err != nil || out.Dropped != 0 {
		t.Fatalf("got %+v, %v", out, err)
	}
	s.p.LogLine(pluginv1.LogLevelWarn, "from stderr")
	lines := strings.Split(strings.TrimSpace(w.log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %d lines: %s", len(lines), w.log)
	}
	for i, parts := range [][]string{
		{"level=INFO", `msg=plain plugin=tester n=1 plugin_=forged level_=forged _=none`},
		{"time=2030-01-01", "level=ERROR", `two\\nlines \\u001b[31mred \\u202eback` + "\uFFFD", "plugin=tester"},
		{"level=WARN", `msg="from stderr" plugin=tester`},
	} {
		for _, part := range parts {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %q lacks %q", lines[i], part)
			}
		}
	}
	if err := s.p.SetGrants(Config{Revoked: []string{"log"}}); err != nil {
		t.Fatal(err)
	}
	s.p.LogLine(pluginv1.LogLevelWarn, "unwanted")
	if w.log.count("unwanted") != 0 {
		t.Error("a line without the grant")
	}
}

func TestLogIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.plugin(t)
		many := func(n int) (dropped uint32) {
			in := &pluginv1.LogRequest{}
			for range n {
				in.Records = append(in.Records, pluginv1.LogRecord{Message: "line"})
			}
			out, err := s.Log(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			return out.Dropped
		}
		if n := many(1000); n != 500 {
			t.Errorf("%d of a burst of 1,000 were left out", n)
		}
		time.Sleep(500 * time.Millisecond)
		if n := many(100); n != 50 {
			t.Errorf("%d of 100 after half a second", n)
		}
		if w.log.count("were left out") != 0 {
			t.Error("told too soon")
		}
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		if w.log.count("were left out") != 1 || w.log.count("lines=550") != 1 {
			t.Errorf("told %s", w.log.String()[len(w.log.String())-300:])
		}
		time.Sleep(10 * time.Second)
		if n := many(500); n != 0 || w.log.count("were left out") != 1 {
			t.Errorf("%d left out later", n)
		}
	})
}

func TestLinesAreCut(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 5000), strings.Repeat("ü", 3000), strings.Repeat("\xff", 5000), strings.Repeat("€", 1400)} {
		got := clean(s, maxLine)
		if !strings.HasSuffix(got, "…") || !utf8.ValidString(got) || utf8.RuneCountInString(got) > maxLine {
			t.Errorf("%.10q… became %d bytes ending in %q", s, len(got), got[len(got)-10:])
		}
	}
	w := newWorld(t)
	s := w.plugin(t)
	var pairs []pluginv1.Pair
	for i := range 100 {
		pairs = append(pairs, pluginv1.Pair{Name: fmt.Sprint("a", i), Value: strings.Repeat("y", 1000)})
	}
	if _, err := s.Log(t.Context(), &pluginv1.LogRequest{Records: []pluginv1.LogRecord{{Message: "m", Attributes: pairs}}}); err != nil {
		t.Fatal(err)
	}
	if n := len(w.log.String()); n > maxAttrBytes+500 {
		t.Errorf("a line of %d bytes", n)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("two\nlines\x1b", 10)
	f.Add("ü\xff€", 4)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = 4 + most&0xFFF
		got := clean(s, most)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, harmful) {
			t.Fatalf("%q became %q", s, got)
		}
		if len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, harmful) && !strings.ContainsAny(s, "\n\r\t") && got != s {
			t.Fatalf("harmless %q became %q", s, got)
		}
	})
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	s := w.with(t, Config{Name: "my-plugin"}, &fakeInstance{})
	send := func(samples ...pluginv1.Sample) error {
		_, err := s.Metric(t.Context(), &pluginv1.MetricRequest{Samples: samples})
		return err
	}
	label := func(pairs ...string) (list []pluginv1.Pair) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, pluginv1.Pair{Name: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	err := send(
		pluginv1.Sample{Name: "requests", Value: 2, Labels: label("b", "1", "a", "x"), Help: "Requests."},
		pluginv1.Sample{Name: "requests", Value: 3, Labels: label("a", "x", "b", "1")},
		pluginv1.Sample{Name: "requests", Value: 1, Labels: label("a", "y")},
		pluginv1.Sample{Name: "size", Kind: pluginv1.MetricKindGauge, Value: 9},
		pluginv1.Sample{Name: "size", Kind: pluginv1.MetricKindGauge, Value: 5},
		pluginv1.Sample{Name: "size", Kind: pluginv1.MetricKindGaugeAdd, Value: -1},
		pluginv1.Sample{Name: "time", Kind: pluginv1.MetricKindHistogram, Value: 0.5, Buckets: []float64{1, 2}},
		pluginv1.Sample{Name: "time", Kind: pluginv1.MetricKindHistogram, Value: 1},
		pluginv1.Sample{Name: "time", Kind: pluginv1.MetricKindHistogram, Value: 2.5, Buckets: []float64{7}},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []Sample{
		{Name: "patchbay_plugin_my_plugin_requests", Help: "Requests.", Labels: []Label{{"a", "x"}, {"b", "1"}}, Value: 5},
		{Name: "patchbay_plugin_my_plugin_requests", Help: "Requests.", Labels: []Label{{"a", "y"}}, Value: 1},
		{Name: "patchbay_plugin_my_plugin_size", Help: "Metric of the plugin my-plugin.", Kind: Gauge, Value: 4},
		{Name: "patchbay_plugin_my_plugin_time", Help: "Metric of the plugin my-plugin.", Kind: Histogram, Value: 4, Count: 3, Buckets: []Bucket{{1, 2}, {2, 2}}},
	}
	all := func() (got []Sample) {
		w.Samples(func(x Sample) {
			if x.Plugin != "my-plugin" {
				t.Errorf("of plugin %q", x.Plugin)
			}
			x.Plugin = ""
			got = append(got, x)
		})
		return got
	}
	if got := all(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	// They outlive a reload: another instance, another config.
	s.Close()
	s = w.with(t, Config{Name: "my-plugin", Version: "2"}, &fakeInstance{})
	if err := send(pluginv1.Sample{Name: "size", Kind: pluginv1.MetricKindGaugeAdd, Value: 1}); err != nil || all()[2].Value != 5 {
		t.Errorf("after a reload: %v, %+v", err, all())
	}
	w.Forget("my-plugin")
	if got := all(); got != nil {
		t.Errorf("after Forget: %+v", got)
	}
}

func TestMetricsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	s := w.with(t, Config{Name: "a-b"}, &fakeInstance{})
	other := w.with(t, Config{Name: "a"}, &fakeInstance{})
	one := func(s *Service, x pluginv1.Sample) error {
		_, err := s.Metric(t.Context(), &pluginv1.MetricRequest{Samples: []pluginv1.Sample{x}})
		return err
	}
	pairs := func(n ...string) (out []pluginv1.Pair) {
		for _, name := range n {
			out = append(out, pluginv1.Pair{Name: name})
		}
		return out
	}
	if err := one(s, pluginv1.Sample{Name: "c"}); err != nil {
		t.Fatal(err)
	}
	for says, x := range map[string]pluginv1.Sample{
		`metric ""`: {}, `metric "1x"`: {Name: "1x"}, `metric "_x"`: {Name: "_x"}, `metric "ü"`: {Name: "ü"}, `metric "x-y"`: {Name: "x-y"},
		"another kind": {Name: "c", Kind: pluginv1.MetricKindGauge}, "kind 9": {Name: "d", Kind: 9}, "the value -1": {Name: "d", Value: -1},
		"the value NaN": {Name: "d", Kind: pluginv1.MetricKindHistogram, Value: math.NaN()}, "the value +Inf": {Name: "d", Value: math.Inf(1)},
		"name of a label": {Name: "d", Labels: pairs("__name__")}, `"le"`: {Name: "d", Kind: pluginv1.MetricKindHistogram, Labels: pairs("le")},
		"two labels x": {Name: "d", Labels: pairs("x", "y", "x")}, "not UTF-8": {Name: "d", Labels: []pluginv1.Pair{{Name: "x", Value: "\xff"}}},
		"33 labels": {Name: "d", Labels: make([]pluginv1.Pair, 33)}, "numbers that grow": {Name: "d", Kind: pluginv1.MetricKindHistogram, Buckets: []float64{1, 1}},
		"65 buckets": {Name: "d", Kind: pluginv1.MetricKindHistogram, Buckets: make([]float64, 65)},
	} {
		wantCode(t, one(s, x), pluginv1.HostErrorCodeInvalid, says)
	}
	// patchbay_plugin_a_b_c is plugin a-b's c, and would be plugin a's b_c.
	wantCode(t, one(other, pluginv1.Sample{Name: "b_c"}), pluginv1.HostErrorCodeInvalid, `the plugin "a-b" has that already`)
	if err := one(s, pluginv1.Sample{Name: "x_count"}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, one(s, pluginv1.Sample{Name: "x", Kind: pluginv1.MetricKindHistogram}), pluginv1.HostErrorCodeInvalid, "x_count")
	// The others of a request count all the same.
	_, err := s.Metric(t.Context(), &pluginv1.MetricRequest{Samples: []pluginv1.Sample{{Name: "c", Value: 1}, {Name: "-"}, {Name: "c", Value: 1}}})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, `metric "-"`)
	if got := s.p.metrics.families["c"].series[""].value; got != 2 {
		t.Errorf("counted %v", got)
	}
	for i := s.p.metrics.series; i < maxSeries; i++ {
		if err := one(s, pluginv1.Sample{Name: "many", Labels: []pluginv1.Pair{{Name: "i", Value: fmt.Sprint(i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, one(s, pluginv1.Sample{Name: "many"}), pluginv1.HostErrorCodeLimit, "1000 combinations")
	wantCode(t, one(s, pluginv1.Sample{Name: "more"}), pluginv1.HostErrorCodeLimit, "1000 combinations")
	if err := one(s, pluginv1.Sample{Name: "c", Value: 1}); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

func TestPasswords(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("password")...)
	for algorithm, prefix := range map[pluginv1.PasswordAlgorithm]string{
		pluginv1.PasswordAlgorithmDefault: "$argon2id$", pluginv1.PasswordAlgorithmArgon2id: "$argon2id$", pluginv1.PasswordAlgorithmBcrypt: "$2b$",
	} {
		out, err := s.PasswordHash(t.Context(), &pluginv1.PasswordHashRequest{Password: []byte("secret"), Algorithm: algorithm})
		if err != nil || !strings.HasPrefix(out.Hash, prefix) {
			t.Fatalf("got %+v, %v", out, err)
		}
		for _, p := range []string{"secret", "Secret"} {
			v, err := s.PasswordVerify(t.Context(), &pluginv1.PasswordVerifyRequest{Password: []byte(p), Hash: out.Hash})
			if err != nil || v.Matches != (p == "secret") || v.Outdated {
				t.Errorf("%s with %q: %+v, %v", out.Hash, p, v, err)
			}
		}
	}
	v, err := s.PasswordVerify(t.Context(), &pluginv1.PasswordVerifyRequest{
		Password: []byte("secret"), Hash: "$7$101$zb5rQwJo1xn1MbfC$aNvsPCsF6usCAzVcuhYAhremYoHbt4ZE2rnSSWrC5qrYvJWDGK51IM3Rwdjqgwjghidg9GqTU2wBHKc7mcw7sw==",
	})
	if err != nil || !v.Matches || !v.Outdated {
		t.Errorf("of Mosquitto: %+v, %v", v, err)
	}
	_, err = s.PasswordVerify(t.Context(), &pluginv1.PasswordVerifyRequest{Hash: "nonsense"})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, "not a hash")
	_, err = s.PasswordVerify(t.Context(), &pluginv1.PasswordVerifyRequest{Hash: "$argon2id$v=19$m=4194304,t=1,p=1$c29tc2FsdA$CTFhFdXP"})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, "costs too much")
	_, err = s.PasswordVerify(t.Context(), &pluginv1.PasswordVerifyRequest{Password: make([]byte, 65536), Hash: "x"})
	wantCode(t, err, pluginv1.HostErrorCodeTooLarge, "65536")
	_, err = s.PasswordHash(t.Context(), &pluginv1.PasswordHashRequest{Password: make([]byte, 73), Algorithm: pluginv1.PasswordAlgorithmBcrypt})
	wantCode(t, err, pluginv1.HostErrorCodeTooLarge, "bcrypt")
	_, err = s.PasswordHash(t.Context(), &pluginv1.PasswordHashRequest{Algorithm: 9})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, "algorithm 9")
}

func TestSecretsTimeAndTheRest(t *testing.T) {
	var invalidated []string
	w := newWorld(t, func(o *Options) {
		o.Invalidated = func(plugin string, in *pluginv1.InvalidateDecisionsRequest) {
			invalidated = append(invalidated, plugin+" "+in.ClientID)
		}
	})
	s := w.with(t, Config{Name: "tester", Grants: []pluginv1.Grant{{Name: "secrets", Names: []string{"token", "gone"}}}}, &fakeInstance{late: 3})
	if out, err := s.Secret(t.Context(), &pluginv1.SecretRequest{Name: "token"}); err != nil || string(out.Value) != "of token" {
		t.Errorf("got %+v, %v", out, err)
	}
	_, err := s.Secret(t.Context(), &pluginv1.SecretRequest{Name: "gone"})
	wantCode(t, err, pluginv1.HostErrorCodeNotFound, `"gone"`)
	before := time.Now().UnixMilli()
	one, err := s.Now(t.Context(), &pluginv1.NowRequest{})
	if err != nil || one.UnixMs < before || one.UnixMs > before+60_000 {
		t.Errorf("got %+v, %v", one, err)
	}
	if two, _ := s.Now(t.Context(), &pluginv1.NowRequest{}); two.MonotonicNs < one.MonotonicNs || one.MonotonicNs > 60e9 {
		t.Errorf("%d after %d", two.MonotonicNs, one.MonotonicNs)
	}
	if _, err := s.InvalidateDecisions(t.Context(), &pluginv1.InvalidateDecisionsRequest{ClientID: "c"}); err != nil || w.broker.forgotten != 1 {
		t.Errorf("forgotten %d times, %v", w.broker.forgotten, err)
	}
	if !reflect.DeepEqual(invalidated, []string{"tester c"}) {
		t.Errorf("told of %q", invalidated)
	}
	if out, err := s.Complete(t.Context(), &pluginv1.CompleteRequest{}); err != nil || out.Late != 3 {
		t.Errorf("got %+v, %v", out, err)
	}
	_, err = s.Complete(t.Context(), &pluginv1.CompleteRequest{Completions: make([]pluginv1.Completion, 1025)})
	wantCode(t, err, pluginv1.HostErrorCodeTooLarge, "1025")
}
