package sdk

import (
	"context"
	"iter"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// KV is the plugin's own durable storage in the broker. Keys have 1 to 1,024 bytes,
// values up to 1 MiB. Grant: kv.
type KV struct{ h *Host }

// KV returns the plugin's storage.
func (h *Host) KV() KV { return KV{h} }

// Get reads a value and its version; 0 if there is none.
func (k KV) Get(ctx context.Context, key string) (value []byte, version uint64, err error) {
	out, err := k.h.service.KVGet(ctx, &pluginv1.KVGetRequest{Key: key})
	if err != nil {
		return nil, 0, err
	}
	return out.Value, out.Version, nil
}

// Set stores a value for ttl, 0 for ever, and answers when it is safe. Waits.
func (k KV) Set(ctx context.Context, key string, value []byte, ttl time.Duration) (version uint64, err error) {
	out, err := k.h.service.KVSet(ctx, &pluginv1.KVSetRequest{Key: key, Value: value, TTLMs: longMillis(ttl)})
	if err != nil {
		return 0, err
	}
	return out.Version, nil
}

// CompareAndSet stores a value if the present one has a version, 0 if there must be none.
// It reports whether it did. Waits.
func (k KV) CompareAndSet(
	ctx context.Context, key string, value []byte, ttl time.Duration, old uint64,
) (version uint64, stored bool, err error) {
	out, err := k.h.service.KVCompareAndSet(ctx, &pluginv1.KVCompareAndSetRequest{
		Key: key, Value: value, TTLMs: longMillis(ttl), Version: old,
	})
	if err != nil {
		return 0, false, err
	}
	return out.Version, out.Stored, nil
}

// Delete removes a value, if there is one. Waits.
func (k KV) Delete(ctx context.Context, key string) error {
	_, err := k.h.service.KVDelete(ctx, &pluginv1.KVDeleteRequest{Key: key})
	return err
}

// KVEntry is a key with its value.
type KVEntry = pluginv1.KVEntry

// Scan lists what has a prefix, in the order of keys, with or without values. Iteration
// ends after the first error. Waits.
func (k KV) Scan(ctx context.Context, prefix string, keysOnly bool) iter.Seq2[*KVEntry, error] {
	return pages(func(after []byte) ([]KVEntry, []byte, error) {
		out, err := k.h.service.KVScan(ctx, &pluginv1.KVScanRequest{
			Prefix: prefix, After: string(after), KeysOnly: keysOnly,
		})
		if err != nil || !out.More || len(out.Entries) == 0 {
			return entries(out, err), nil, err
		}
		return out.Entries, []byte(out.Entries[len(out.Entries)-1].Key), nil
	})
}

func entries(out *pluginv1.KVScanResponse, err error) []KVEntry {
	if err != nil {
		return nil
	}
	return out.Entries
}

func longMillis(d time.Duration) uint64 {
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}

// Secret gets a secret of the broker's config. Grant: secrets, which names it.
func (h *Host) Secret(ctx context.Context, name string) (Secret, error) {
	out, err := h.service.Secret(ctx, &pluginv1.SecretRequest{Name: name})
	if err != nil {
		return Secret{}, err
	}
	return NewSecret(string(out.Value)), nil
}

// Timer says when TimerHandler is to be called.
type Timer struct {
	// Name of the timer; one of the same name is replaced.
	Name string
	// Delay from now, to about 100 ms.
	Delay time.Duration
	// Period of further calls, from 100 ms; 0 calls once.
	Period time.Duration
	// Data comes back in TimerFired, up to 64 KiB.
	Data []byte
}

// SetTimer sets a timer, which ends with the instance. Grant: timers, which every plugin
// has unless it is taken away.
func (h *Host) SetTimer(ctx context.Context, t Timer) error {
	_, err := h.service.SetTimer(ctx, &pluginv1.SetTimerRequest{
		Name: t.Name, DelayMs: longMillis(t.Delay), PeriodMs: longMillis(t.Period), Data: t.Data,
	})
	return err
}

// CancelTimer takes a timer back, and reports whether there was one. A call that is under
// way still comes. Grant: timers.
func (h *Host) CancelTimer(ctx context.Context, name string) (found bool, err error) {
	out, err := h.service.CancelTimer(ctx, &pluginv1.CancelTimerRequest{Name: name})
	return err == nil && out.Found, err
}

// FetchRequest is an HTTP request of the plugin, FetchResponse what came back.
type (
	FetchRequest  = pluginv1.HTTPFetchRequest
	FetchResponse = pluginv1.HTTPFetchResponse
)

// Fetch makes an HTTP request through the broker. Any status is a response. Waits. Grant:
// http, which names the origins.
func (h *Host) Fetch(ctx context.Context, r FetchRequest) (*FetchResponse, error) {
	return h.service.HTTPFetch(ctx, &r)
}

// HashPassword hashes a password for storage, with what the host thinks best. Waits.
// Grant: password.
func (h *Host) HashPassword(ctx context.Context, password []byte) (hash string, err error) {
	out, err := h.service.PasswordHash(ctx, &pluginv1.PasswordHashRequest{Password: password})
	if err != nil {
		return "", err
	}
	return out.Hash, nil
}

// VerifyPassword reports whether a password fits a hash, and whether a new hash should be
// stored in its place. Waits. Grant: password.
func (h *Host) VerifyPassword(ctx context.Context, password []byte, hash string) (fits, outdated bool, err error) {
	out, err := h.service.PasswordVerify(ctx, &pluginv1.PasswordVerifyRequest{Password: password, Hash: hash})
	if err != nil {
		return false, false, err
	}
	return out.Matches, out.Outdated, nil
}
