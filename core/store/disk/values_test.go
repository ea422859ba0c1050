package disk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/store"
)

func TestValues(t *testing.T) {
	fs := vfs.NewMem()
	var now atomic.Int64
	now.Store(1000)
	o := Options{FS: fs, Now: now.Load, tune: tuning{sweepEvery: 10 * time.Millisecond}}
	s := open(t, o)
	load(t, s)
	v := s.Values()
	if _, _, err := v.Get("b", "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("%v", err)
	}
	v1, err := v.Set("b", "k", []byte("1"), 0)
	if err != nil || v1 == 0 {
		t.Fatal(v1, err)
	}
	if _, err := v.CompareAndSet("b", "k", []byte("2"), 0, 0); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("%v", err)
	}
	if _, err := v.CompareAndSet("b", "k", []byte("2"), 0, v1+1); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("%v", err)
	}
	v2, err := v.CompareAndSet("b", "k", []byte("2"), 0, v1)
	if err != nil || v2 <= v1 {
		t.Fatal(v2, err)
	}
	if _, err := v.CompareAndSet("b", "new", nil, time.Second, 0); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"p", "p1", "p\xff", "q"} {
		if _, err := v.Set("b", k, []byte(k), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Set("b2", "p2", nil, 0); err != nil {
		t.Fatal(err)
	}
	scan := func(bucket, prefix string, max int) (keys []string) {
		err := s.Values().Scan(bucket, prefix, func(key string, value []byte, version uint64) bool {
			keys = append(keys, key)
			return len(keys) < max
		})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	if got := scan("b", "p", 10); !slices.Equal(got, []string{"p", "p1", "p\xff"}) {
		t.Errorf("scan: %q", got)
	}
	if got := scan("b", "", 2); len(got) != 2 {
		t.Errorf("scan: %q", got)
	}
	if err := v.Delete("b", "q"); err != nil {
		t.Error(err)
	}
	if err := v.Delete("b", "q"); err != nil {
		t.Error(err)
	}

	s.Close()
	if _, _, err := v.Get("b", "k"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := v.Set("b", "k", nil, 0); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	s = open(t, o)
	load(t, s)
	v = s.Values()
	if b, n, err := v.Get("b", "k"); err != nil || string(b) != "2" || n != v2 {
		t.Errorf("%s %d %v", b, n, err)
	}
	if got := strings.Join(scan("b", "", 100), " "); got != "k new p p1 p\xff" {
		t.Errorf("scan: %q", got)
	}
	now.Add(1000)
	if _, _, err := v.Get("b", "new"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("expired: %v", err)
	}
	if got := strings.Join(scan("b", "", 100), " "); got != "k p p1 p\xff" {
		t.Errorf("scan: %q", got)
	}
	until(t, "sweep", func() bool {
		view := s.View()
		defer view.Close()
		st, err := view.Stats()
		return err == nil && st.Records["values"] == 5
	})
	if _, err := v.CompareAndSet("b", "new", []byte("again"), 0, 0); err != nil {
		t.Error(err)
	}
}

func TestCompareAndSetFromManySides(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	v := s.Values()
	var wg sync.WaitGroup
	const sides, each = 8, 25
	for range sides {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; n < each; {
				b, version, err := v.Get("b", "counter")
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
					return
				}
				count := 0
				fmt.Sscan(string(b), &count)
				switch _, err := v.CompareAndSet("b", "counter", fmt.Append(nil, count+1), 0, version); {
				case err == nil:
					n++
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	if b, _, err := v.Get("b", "counter"); err != nil || string(b) != fmt.Sprint(sides*each) {
		t.Errorf("%s %v", b, err)
	}
}
