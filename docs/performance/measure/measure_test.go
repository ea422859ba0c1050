//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Every series can be measured, and says what plot reads.
func TestQuick(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	out := filepath.Join(t.TempDir(), "raw.jsonl")
	var progress bytes.Buffer
	if err := run(ctx, []string{"-quick", "-out", out}, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.Bytes())
	}
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	seen := map[string]int{}
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		seen[l.Series]++
		switch l.Series {
		case "size", "qos", "cores", "latency", "subscriptions", "connections":
			// Rates are of a tenth of a second, in which a busy machine may do nothing.
			if l.CPU <= 0 || l.RSS <= 0 || l.Lost != 0 {
				t.Errorf("%s, %s: %.2f µs, %d bytes, lost %d", l.Series, l.Case, l.CPU, l.RSS, l.Lost)
			}
			if l.Reloads == 0 && l.Rate > 0 && strings.Contains(l.Case, "reloaded") {
				t.Errorf("%s: the plugin was not reloaded", l.Case)
			}
		case "durable":
			if l.Metrics["patchbay_store_commits_total"] <= 0 || l.Metrics["patchbay_store_commit_seconds_count"] <= 0 {
				t.Errorf("%s: no commits in %v", l.Case, l.Metrics)
			}
		case "budget":
			if l.Connections == 0 && l.Metrics["core/transport.Conn"] <= 0 {
				t.Errorf("sizes of structs: %v", l.Metrics)
			}
			if l.Connections > 0 && l.Metrics["heap "+module+"core/session.New"] <= 0 {
				t.Errorf("%s: sessions are not in the heap profile: %v", l.Case, l.Metrics)
			}
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	for _, s := range series {
		if seen[s.name] == 0 {
			t.Errorf("series %s has no figures", s.name)
		}
	}
}

func TestFlags(t *testing.T) {
	out := filepath.Join(t.TempDir(), "raw.jsonl")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-only", "nonsense"}, "no such series"},
		{[]string{"-broker", "x=run {port}", "-only", "profile"}, "no such series for this broker"},
		{[]string{"-broker", "run {port}"}, "want NAME=COMMAND"},
	} {
		if err := run(t.Context(), append(c.args, "-out", out), io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
	}
}

// The filters are all different, and of the three kinds.
func TestFilters(t *testing.T) {
	seen, plus, hash := map[string]bool{}, 0, 0
	const n = 10_000
	for i := range n {
		f := filterOf(i)
		if seen[f] {
			t.Fatalf("%s twice", f)
		}
		seen[f] = true
		if strings.Contains(f, "+") {
			plus++
		}
		if strings.HasSuffix(f, "#") {
			hash++
		}
	}
	if plus != n/4 || hash != n/4 {
		t.Errorf("%d of %d filters have +, %d end in #", plus, n, hash)
	}
}

func TestOwnShares(t *testing.T) {
	got := ownShares(`File: patchbay
Showing nodes accounting for 1.63s, 97.60% of 1.67s total
      flat  flat%   sum%        cum   cum%
     0.90s 53.89% 53.89%      0.90s 53.89%  internal/runtime/syscall/linux.Syscall6
     0.52s 31.14% 85.03%      0.52s 31.14%  runtime.memmove
     0.10s  6.00% 91.03%      0.10s  6.00%  runtime.futex
     0.03s  1.80% 92.83%      0.03s  1.80%  example.org/m/x.(*T).f[go.shape.int] (inline)
         0     0% 92.83%      0.02s  1.20%  runtime.pcvalue
`)
	want := map[string]float64{kernel: 0.5989, "runtime.memmove": 0.3114, "example.org/m/x.(*T).f[go.shape.int]": 0.018}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for name, share := range want {
		if d := got[name] - share; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s has %v, want %v", name, got[name], share)
		}
	}
}
