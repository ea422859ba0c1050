package services

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/store"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func set(ctx context.Context, s *Service, key, value string, ttl uint64) error {
	_, err := s.KVSet(ctx, &pluginv1.KVSetRequest{Key: key, Value: []byte(value), TTLMs: ttl})
	return err
}

func get(t *testing.T, s *Service, key string) (string, uint64) {
	t.Helper()
	out, err := s.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return string(out.Value), out.Version
}

func TestValues(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("kv")...)
	other := w.with(t, Config{Name: "other", Grants: grantsNamed("kv")}, &fakeInstance{})
	if v, version := get(t, s, "k"); v != "" || version != 0 {
		t.Errorf("nothing is %q, version %d", v, version)
	}
	one, err := s.KVSet(t.Context(), &pluginv1.KVSetRequest{Key: "k", Value: []byte("1")})
	if err != nil || one.Version == 0 {
		t.Fatalf("got %+v, %v", one, err)
	}
	if v, version := get(t, s, "k"); v != "1" || version != one.Version {
		t.Errorf("got %q, version %d", v, version)
	}
	if v, _ := get(t, other, "k"); v != "" {
		t.Errorf("another plugin sees %q", v)
	}
	cas := func(version uint64, value string) *pluginv1.KVCompareAndSetResponse {
		out, err := s.KVCompareAndSet(t.Context(), &pluginv1.KVCompareAndSetRequest{Key: "k", Value: []byte(value), Version: version})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := cas(0, "x"); out.Stored || out.Version != 0 {
		t.Errorf("none expected: %+v", out)
	}
	two := cas(one.Version, "2")
	if !two.Stored || two.Version <= one.Version || cas(one.Version, "3").Stored {
		t.Errorf("got %+v", two)
	}
	for range 2 {
		if _, err := s.KVDelete(t.Context(), &pluginv1.KVDeleteRequest{Key: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	if out := cas(0, "4"); !out.Stored {
		t.Errorf("after the deletion: %+v", out)
	}
	for says, err := range map[string]error{
		"required": set(t.Context(), s, "", "x", 0), "1025 bytes": set(t.Context(), s, strings.Repeat("k", 1025), "x", 0),
		"1048577 bytes": set(t.Context(), s, "k", strings.Repeat("v", 1<<20+1), 0), "UTF-8": set(t.Context(), s, "\xff", "x", 0),
	} {
		if c := code(err); c != pluginv1.HostErrorCodeInvalid && c != pluginv1.HostErrorCodeTooLarge || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want …%s…", err, says)
		}
	}
	if err := w.Purge("tester"); err != nil {
		t.Fatal(err)
	}
	if v, _ := get(t, s, "k"); v != "" {
		t.Errorf("after Purge: %q", v)
	}
}

func TestScan(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("kv")...)
	var want []string
	for i := range 250 {
		key := fmt.Sprintf("p/%03d", i)
		want = append(want, key)
		if err := set(t.Context(), s, key, "v"+key, 0); err != nil {
			t.Fatal(err)
		}
	}
	_ = set(t.Context(), s, "q", "not of the prefix", 0)
	in, got := &pluginv1.KVScanRequest{Prefix: "p/", Limit: 99}, []string(nil)
	for {
		out, err := s.KVScan(t.Context(), in)
		if err != nil || len(out.Entries) > 99 {
			t.Fatal(err)
		}
		for _, e := range out.Entries {
			if string(e.Value) != "v"+e.Key || e.Version == 0 {
				t.Errorf("got %+v", e)
			}
			got = append(got, e.Key)
		}
		if !out.More {
			break
		}
		in.After = got[len(got)-1]
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for i := range 4 {
		if err := set(t.Context(), s, fmt.Sprint("large/", i), strings.Repeat("x", 400<<10), 0); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.KVScan(t.Context(), &pluginv1.KVScanRequest{Prefix: "large/"})
	if err != nil || len(out.Entries) != 2 || !out.More {
		t.Errorf("large values: %d, %v, %v", len(out.Entries), out.More, err)
	}
	out, err = s.KVScan(t.Context(), &pluginv1.KVScanRequest{Prefix: "large/", KeysOnly: true})
	if err != nil || len(out.Entries) != 4 || out.More || out.Entries[0].Value != nil {
		t.Errorf("keys only: %+v, %v", out, err)
	}
	_, err = s.KVScan(t.Context(), &pluginv1.KVScanRequest{Limit: 1001})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, "limit")
}

func TestQuota(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.KVBytes = 50 })
	s := w.plugin(t, grantsNamed("kv")...)
	for i, c := range []struct {
		key, value string
		fits       bool
	}{{"a", strings.Repeat("x", 39), true}, {"b", strings.Repeat("x", 9), true}, {"c", "", false}, {"b", "x", true}, {"c", "1234567", true},
		{"a", strings.Repeat("x", 40), false}, {"a", "", true}, {"d", strings.Repeat("x", 38), true}, {"e", "x", false}} {
		err := set(t.Context(), s, c.key, c.value, 0)
		if c.fits && err != nil {
			t.Errorf("step %d: %v", i, err)
		}
		if !c.fits {
			wantCode(t, err, pluginv1.HostErrorCodeLimit, "quota of 50")
		}
	}
	cas, err := s.KVCompareAndSet(t.Context(), &pluginv1.KVCompareAndSetRequest{Key: "f", Value: []byte("xx")})
	wantCode(t, err, pluginv1.HostErrorCodeLimit, "quota")
	if cas != nil {
		t.Error("stored")
	}
	// A grant that says more, or less: then nothing more fits, but what is there stays.
	for _, max := range []uint64{1000, 10} {
		if err := s.p.SetGrants(Config{Grants: []pluginv1.Grant{{Name: "kv", MaxBytes: max}}}); err != nil {
			t.Fatal(err)
		}
		if err := set(t.Context(), s, "g", "x", 0); (err == nil) != (max == 1000) && max == 1000 {
			t.Errorf("of %d: %v", max, err)
		}
	}
	wantCode(t, set(t.Context(), s, "h", "x", 0), pluginv1.HostErrorCodeLimit, "quota of 10")
	if err := set(t.Context(), s, "d", "", 0); err != nil {
		t.Errorf("less is always possible: %v", err)
	}
}

func TestQuotaAfterRestartAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values := new(store.Memory).Values()
		use := func(o *Options) { o.Values, o.KVBytes = values, 100 }
		s := newWorld(t, use).plugin(t, grantsNamed("kv")...)
		if err := errors.Join(set(t.Context(), s, "keep", strings.Repeat("x", 46), 0), set(t.Context(), s, "goes", strings.Repeat("x", 46), 60_000)); err != nil {
			t.Fatal(err)
		}
		s = newWorld(t, use).plugin(t, grantsNamed("kv")...)
		wantCode(t, set(t.Context(), s, "more", "x", 0), pluginv1.HostErrorCodeLimit, "100 bytes are stored")
		time.Sleep(61 * time.Second)
		if err := set(t.Context(), s, "more", "x", 0); err != nil {
			t.Errorf("what has expired still counts: %v", err)
		}
		if v, version := get(t, s, "goes"); v != "" || version != 0 {
			t.Errorf("it has not expired: %q", v)
		}
	})
}

func TestAccountIsKeptUnderConcurrency(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.KVBytes = 4000 })
	s := w.plugin(t, grantsNamed("kv")...)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 300 {
				key := fmt.Sprint("k", rng.IntN(20))
				var err error
				switch rng.IntN(4) {
				case 0:
					_, err = s.KVDelete(t.Context(), &pluginv1.KVDeleteRequest{Key: key})
				case 1:
					_, err = s.KVCompareAndSet(t.Context(), &pluginv1.KVCompareAndSetRequest{Key: key, Value: make([]byte, rng.IntN(400)), Version: uint64(rng.IntN(2))})
				default:
					err = set(t.Context(), s, key, strings.Repeat("x", rng.IntN(400)), 0)
				}
				if c := code(err); c != pluginv1.HostErrorCodeNone && c != pluginv1.HostErrorCodeLimit {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var sum int64
	err := w.o.Values.Scan("plugin/tester", "", func(key string, value []byte, _ uint64) bool {
		sum += int64(len(key) + len(value))
		return true
	})
	if v := s.p.values; err != nil || v.used != sum || sum > 4000 {
		t.Errorf("%d bytes in the books, %d stored, %v", v.used, sum, err)
	}
}

func TestErrorsOfValues(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("kv")...)
	if err := set(t.Context(), s, "k", "v", 0); err != nil {
		t.Fatal(err)
	}
	used := s.p.values.used
	w.o.Values = brokenValues{w.o.Values, store.ErrFull}
	wantCode(t, set(t.Context(), s, "k", "longer", 0), pluginv1.HostErrorCodeUnavailable, "the disk is full")
	_, err := s.KVDelete(t.Context(), &pluginv1.KVDeleteRequest{Key: "k"})
	wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "HOST_OP_KV_DELETE")
	if err := w.Purge("tester"); !errors.Is(err, store.ErrFull) {
		t.Errorf("Purge: %v", err)
	}
	if s.p.values.used != used {
		t.Errorf("what failed counts: %d, was %d", s.p.values.used, used)
	}
}
