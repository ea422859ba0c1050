package disk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// values is the store's Values. A change is read, decided and committed under the
// lock of its key's stripe, so that changes of one key come one after the other,
// and others share commits.
type values struct {
	store   *Store
	seed    maphash.Seed
	stripes [256]sync.Mutex
}

var _ store.Values = (*values)(nil)

func (v *values) lock(key []byte) *sync.Mutex {
	m := &v.stripes[maphash.Bytes(v.seed, key)%uint64(len(v.stripes))]
	m.Lock()
	return m
}

// read returns a copy of a value; expired ones are not found.
func (v *values) read(key []byte) (value []byte, version uint64, err error) {
	if err := v.store.gate.enter(); err != nil {
		return nil, 0, err
	}
	defer v.store.gate.leave()
	stored, closer, err := v.store.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, 0, store.ErrNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("store: read: %w", err)
	}
	defer closer.Close()
	value, version, expires, err := format.DecodeValue(key, stored)
	if err != nil {
		v.store.damage.record(key, stored, err)
		return nil, 0, store.ErrNotFound
	}
	if expires != 0 && expires <= v.store.o.Now() {
		return nil, 0, store.ErrNotFound
	}
	return bytes.Clone(value), version, nil
}

func (v *values) Get(bucket, key string) ([]byte, uint64, error) {
	return v.read(format.AppendNamedKey(nil, format.Values, bucket, key))
}

func (v *values) Set(bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	k := format.AppendNamedKey(nil, format.Values, bucket, key)
	defer v.lock(k).Unlock()
	return v.set(bucket, key, value, ttl)
}

func (v *values) CompareAndSet(bucket, key string, value []byte, ttl time.Duration, version uint64) (uint64, error) {
	k := format.AppendNamedKey(nil, format.Values, bucket, key)
	defer v.lock(k).Unlock()
	_, present, err := v.read(k)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if present != version {
		return 0, store.ErrConflict
	}
	return v.set(bucket, key, value, ttl)
}

func (v *values) set(bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	if v.store.Full() {
		return 0, store.ErrFull
	}
	o := loose{space: format.Values, scope: bucket, name: key, value: value, version: v.store.newNumber()}
	if ttl > 0 {
		o.expires = v.store.o.Now() + max(ttl.Milliseconds(), 1)
		v.store.mortal.Store(true)
	}
	return o.version, v.commit(o)
}

func (v *values) Delete(bucket, key string) error {
	k := format.AppendNamedKey(nil, format.Values, bucket, key)
	defer v.lock(k).Unlock()
	return v.commit(loose{space: format.Values, scope: bucket, name: key, remove: true})
}

// commit waits until a change is safe.
func (v *values) commit(o loose) error {
	done := make(chan error, 1)
	o.done = func(err error) { done <- err }
	v.store.add(o)
	return <-done
}

func (v *values) Scan(bucket, prefix string, fn func(key string, value []byte, version uint64) bool) error {
	s := v.store
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	lower := format.AppendNamedKey(nil, format.Values, bucket, prefix)
	cur := newCursor(s.db, &s.damage, lower, after(lower))
	now := s.o.Now()
	for cur.next() {
		_, key, _ := format.SplitNamedKey(cur.key())
		value, version, expires, err := format.DecodeValue(cur.key(), cur.value)
		if err != nil {
			s.damage.record(cur.key(), cur.value, err)
			continue
		}
		if expires != 0 && expires <= now {
			continue
		}
		if !fn(string(key), value, version) {
			break
		}
	}
	return cur.close()
}

// after returns the first key that does not begin with prefix, which begins with
// a keyspace and thus is not all 0xff.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	return end
}

// sweep removes what has expired.
func (v *values) sweep(from pebble.Reader, now int64) error {
	s := v.store
	lower, upper := format.Span(format.Values)
	cur := newCursor(from, &s.damage, lower, upper)
	for cur.next() {
		_, _, expires, err := format.DecodeValue(cur.key(), cur.value)
		if err != nil {
			s.damage.record(cur.key(), cur.value, err)
			continue
		}
		if expires == 0 {
			continue
		}
		s.mortal.Store(true)
		if expires > now || s.enders.isClosed() {
			continue
		}
		bucket, key, ok := format.SplitNamedKey(cur.key())
		if ok {
			if err := v.expire(string(bucket), string(key), cur.key()); err != nil {
				return errors.Join(err, cur.close())
			}
		}
	}
	return cur.close()
}

// expire removes a value if it still is expired.
func (v *values) expire(bucket, key string, k []byte) error {
	defer v.lock(k).Unlock()
	if _, _, err := v.read(k); !errors.Is(err, store.ErrNotFound) {
		return nil
	}
	err := v.commit(loose{space: format.Values, scope: bucket, name: key, remove: true})
	if errors.Is(err, store.ErrClosed) {
		return nil
	}
	return err
}
