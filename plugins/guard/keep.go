package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/patchbay-mq/patchbay/sdk"
)

// The tallies are stored in shards, a value each, so that what has changed is written in
// one go and not tally by tally while somebody guesses passwords.
const (
	shards    = 64
	keyPrefix = "logins/"
)

// record is a stored tally.
type record struct {
	Kind     kind   `json:"k"`
	Key      string `json:"n"`
	Failures int    `json:"f,omitempty"`
	Last     int64  `json:"l,omitempty"`
	Until    int64  `json:"u,omitempty"`
	OK       int64  `json:"o,omitempty"`
}

func shardOf(k kind, key string) int {
	h := fnv.New32a()
	h.Write([]byte{byte(k)})
	h.Write([]byte(key))
	return int(h.Sum32() % shards)
}

// changed has the shard of a tally stored.
func (l *ledger) changed(t *tally) { l.dirty[shardOf(t.kind, t.key)] = true }

// take returns the records of the shards that have changed, which then have not; nil for
// the others.
func (l *ledger) take(now int64) (out [shards][]record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dirty := l.dirty
	l.dirty = [shards]bool{}
	for i, is := range dirty {
		if is {
			out[i] = []record{}
		}
	}
	for _, all := range l.tallies {
		all.each(func(t *tally) {
			i := shardOf(t.kind, t.key)
			if !dirty[i] {
				return
			}
			t.age(l.config, now)
			if t.failures > 0 || t.ok > 0 {
				out[i] = append(out[i], record{t.kind, t.key, t.failures, t.last, t.until, t.ok})
			}
		})
	}
	return out
}

// store writes what has changed. What could not be written is tried again next time.
func (l *ledger) store(ctx context.Context, kv sdk.KV, now int64) (err error) {
	for i, records := range l.take(now) {
		if records == nil {
			continue
		}
		if e := storeShard(ctx, kv, i, records); e != nil {
			err = e
			l.mu.Lock()
			l.dirty[i] = true
			l.mu.Unlock()
		}
	}
	return err
}

func storeShard(ctx context.Context, kv sdk.KV, i int, records []record) error {
	key := fmt.Sprintf("%s%02x", keyPrefix, i)
	if len(records) == 0 {
		return kv.Delete(ctx, key)
	}
	value, err := json.Marshal(records)
	if err != nil {
		return err
	}
	_, err = kv.Set(ctx, key, value, 0)
	return err
}

// load reads what is stored. Values that are damaged are skipped, and told of by the error.
func (l *ledger) load(ctx context.Context, kv sdk.KV, now int64) error {
	var damaged []error
	for e, err := range kv.Scan(ctx, keyPrefix, false) {
		if err != nil {
			return err
		}
		if err := l.restore(e.Value, now); err != nil {
			damaged = append(damaged, fmt.Errorf("%s: %w", e.Key, err))
		}
	}
	return errors.Join(damaged...)
}

// restore takes over the records of a stored shard.
func (l *ledger) restore(value []byte, now int64) error {
	var records []record
	if err := json.Unmarshal(value, &records); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		// A clock that was set back must not make a pause of years.
		latest := now + l.config.MaxPause.Std().Milliseconds()
		if r.Kind >= kinds || r.Failures < 0 || r.Last < 0 || r.OK < 0 || len(r.Key) > 2*maxKey {
			return fmt.Errorf("a record of %q makes no sense", r.Key)
		}
		t := l.tally(r.Kind, r.Key)
		t.failures, t.last, t.until, t.ok = r.Failures, min(r.Last, now), min(r.Until, latest), min(r.OK, now)
		if t.age(l.config, now); t.empty() {
			l.tidy([]*tally{t})
		}
	}
	return nil
}
