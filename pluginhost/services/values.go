package services

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	maxKey   = 1024
	maxValue = 1 << 20
	maxTTL   = 100 * 365 * 24 * time.Hour
)

// values are what one plugin stores, with its size. The size is counted once, at the
// first use, and kept up with every change: it can only be too large, when values have expired; so
// it is counted again before anything is refused.
type values struct {
	s      *Services
	bucket string

	// counting is held for reading by whoever changes values, and for writing to count.
	counting sync.RWMutex
	// keys keep changes of one key apart from each other: what a change adds depends on
	// what was there. Changes of different keys may share a commit of the disk.
	keys [64]sync.Mutex
	seed maphash.Seed

	mu      sync.Mutex
	counted time.Time // zero: not yet
	used    int64
	expires bool // something was stored that expires
}

func newValues(s *Services, plugin string) *values {
	return &values{s: s, bucket: bucketOf(plugin), seed: maphash.MakeSeed()}
}

func bucketOf(plugin string) string { return "plugin/" + plugin }

// recountEvery bounds how often a plugin that is at its quota makes the host read all that
// it has stored.
const recountEvery = time.Second

// count makes used right. It is called with no lock held.
func (v *values) count(again bool) error {
	v.counting.Lock()
	defer v.counting.Unlock()
	v.mu.Lock()
	fresh := !v.counted.IsZero() && (!again || !v.expires || time.Since(v.counted) < recountEvery)
	v.mu.Unlock()
	if fresh {
		return nil
	}
	var sum int64
	err := v.s.o.Values.Scan(v.bucket, "", func(key string, value []byte, _ uint64) bool {
		sum += int64(len(key) + len(value))
		return true
	})
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	// What was there before this process may expire, for all that is known.
	v.expires = v.expires || v.counted.IsZero()
	v.used, v.counted = sum, time.Now()
	return nil
}

// reserve adds to what is used, if the quota has room for it.
func (v *values) reserve(n, quota int64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n > 0 && v.used+n > quota {
		return false
	}
	v.used += n
	return true
}

// change does one change of a key: store does it. It keeps the account.
func (v *values) change(key string, size, quota int64, ttl time.Duration, store func() error) error {
	if err := v.count(false); err != nil {
		return err
	}
	done, err := v.tryChange(key, size, quota, ttl, store)
	if done || err != nil {
		return err
	}
	if err := v.count(true); err != nil {
		return err
	}
	if done, err = v.tryChange(key, size, quota, ttl, store); !done && err == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		return fail(pluginv1.HostErrorCodeLimit, "%d bytes are stored, with this it would be more than the quota of %d", v.used, quota)
	}
	return err
}

func (v *values) tryChange(key string, size, quota int64, ttl time.Duration, store func() error) (done bool, err error) {
	v.counting.RLock()
	defer v.counting.RUnlock()
	lock := &v.keys[maphash.String(v.seed, key)%uint64(len(v.keys))]
	lock.Lock()
	defer lock.Unlock()
	old, _, err := v.s.o.Values.Get(v.bucket, key)
	var before int64
	switch {
	case err == nil:
		before = int64(len(key) + len(old))
	case !errors.Is(err, v.s.o.ErrNotFound):
		return false, err
	}
	delta := size - before
	if !v.reserve(delta, quota) {
		return false, nil
	}
	if err := store(); err != nil {
		v.reserve(-delta, 1<<62)
		return false, err
	}
	if ttl > 0 {
		v.mu.Lock()
		v.expires = true
		v.mu.Unlock()
	}
	return true, nil
}

// quota is what the plugin may store.
func (p *Plugin) quota() int64 {
	var most uint64
	for _, g := range p.given.Load().grants[grantKV] {
		if g.maxBytes == 0 {
			g.maxBytes = p.s.o.KVBytes
		}
		most = max(most, g.maxBytes)
	}
	return int64(min(most, 1<<62))
}

func checkKey(key string) error {
	switch {
	case key == "":
		return invalid("key is required")
	case len(key) > maxKey:
		return fail(pluginv1.HostErrorCodeTooLarge, "the key has %d bytes, and %d are allowed", len(key), maxKey)
	case !utf8.ValidString(key):
		return invalid("the key is not UTF-8")
	}
	return nil
}

// checkValue checks what is to be stored, and reads its time to live.
func checkValue(key string, value []byte, ttlMs uint64) (time.Duration, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if len(value) > maxValue {
		return 0, fail(pluginv1.HostErrorCodeTooLarge, "the value has %d bytes, and %d are allowed", len(value), maxValue)
	}
	return time.Duration(min(ttlMs, uint64(maxTTL.Milliseconds()))) * time.Millisecond, nil
}

// KVGet implements v1host.Service.
func (s *Service) KVGet(_ context.Context, in *pluginv1.KVGetRequest) (*pluginv1.KVGetResponse, error) {
	return serve(s, pluginv1.HostOpKVGet, func() (*pluginv1.KVGetResponse, error) {
		if err := checkKey(in.Key); err != nil {
			return nil, err
		}
		value, version, err := s.p.s.o.Values.Get(s.p.values.bucket, in.Key)
		if errors.Is(err, s.p.s.o.ErrNotFound) {
			return &pluginv1.KVGetResponse{}, nil
		}
		return &pluginv1.KVGetResponse{Version: version, Value: value}, err
	})
}

// KVSet implements v1host.Service.
func (s *Service) KVSet(_ context.Context, in *pluginv1.KVSetRequest) (*pluginv1.KVSetResponse, error) {
	return serve(s, pluginv1.HostOpKVSet, func() (*pluginv1.KVSetResponse, error) {
		ttl, err := checkValue(in.Key, in.Value, in.TTLMs)
		if err != nil {
			return nil, err
		}
		out, key, v := &pluginv1.KVSetResponse{}, strings.Clone(in.Key), s.p.values
		return out, v.change(key, int64(len(key)+len(in.Value)), s.p.quota(), ttl, func() (err error) {
			out.Version, err = v.s.o.Values.Set(v.bucket, key, in.Value, ttl)
			return err
		})
	})
}

// KVCompareAndSet implements v1host.Service.
func (s *Service) KVCompareAndSet(
	_ context.Context, in *pluginv1.KVCompareAndSetRequest,
) (*pluginv1.KVCompareAndSetResponse, error) {
	return serve(s, pluginv1.HostOpKVCompareAndSet, func() (*pluginv1.KVCompareAndSetResponse, error) {
		ttl, err := checkValue(in.Key, in.Value, in.TTLMs)
		if err != nil {
			return nil, err
		}
		out, key, v := &pluginv1.KVCompareAndSetResponse{}, strings.Clone(in.Key), s.p.values
		err = v.change(key, int64(len(key)+len(in.Value)), s.p.quota(), ttl, func() (err error) {
			out.Version, err = v.s.o.Values.CompareAndSet(v.bucket, key, in.Value, ttl, in.Version)
			return err
		})
		if errors.Is(err, v.s.o.ErrConflict) {
			return &pluginv1.KVCompareAndSetResponse{}, nil
		}
		out.Stored = err == nil
		return out, err
	})
}

// KVDelete implements v1host.Service.
func (s *Service) KVDelete(_ context.Context, in *pluginv1.KVDeleteRequest) (*pluginv1.KVDeleteResponse, error) {
	return serve(s, pluginv1.HostOpKVDelete, func() (*pluginv1.KVDeleteResponse, error) {
		if err := checkKey(in.Key); err != nil {
			return nil, err
		}
		v := s.p.values
		return &pluginv1.KVDeleteResponse{}, v.change(in.Key, 0, s.p.quota(), 0, func() error {
			return v.s.o.Values.Delete(v.bucket, in.Key)
		})
	})
}

// KVScan implements v1host.Service.
func (s *Service) KVScan(_ context.Context, in *pluginv1.KVScanRequest) (*pluginv1.KVScanResponse, error) {
	return serve(s, pluginv1.HostOpKVScan, func() (*pluginv1.KVScanResponse, error) {
		size, err := pageSize(in.Limit)
		if err != nil {
			return nil, invalid("limit %d: at most %d", in.Limit, maxPage)
		}
		out, total := &pluginv1.KVScanResponse{}, 0
		err = s.p.s.o.Values.Scan(s.p.values.bucket, in.Prefix, func(key string, value []byte, version uint64) bool {
			if key <= in.After {
				return true
			}
			if in.KeysOnly {
				value = nil
			}
			total += len(key) + len(value)
			if n := len(out.Entries); n == size || n > 0 && total > maxPageBytes {
				out.More = true
				return false
			}
			e := pluginv1.KVEntry{Key: strings.Clone(key), Version: version}
			if !in.KeysOnly {
				e.Value = append([]byte(nil), value...)
			}
			out.Entries = append(out.Entries, e)
			return true
		})
		return out, err
	})
}

// purgeAtOnce is how many values are deleted at the same time: they share commits.
const purgeAtOnce = 64

// Purge forgets all that a plugin has stored, for one that has been removed: no instance
// of it may run.
func (s *Services) Purge(name string) error {
	for bucket := bucketOf(name); ; {
		var keys []string
		err := s.o.Values.Scan(bucket, "", func(key string, _ []byte, _ uint64) bool {
			keys = append(keys, strings.Clone(key))
			return len(keys) < purgeAtOnce
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		errs := make([]error, len(keys))
		var all sync.WaitGroup
		for i, key := range keys {
			all.Go(func() { errs[i] = s.o.Values.Delete(bucket, key) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
}
