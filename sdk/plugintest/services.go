package plugintest

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/password"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Complete implements v1host.Service.
func (h *Host) Complete(_ context.Context, in *pluginv1.CompleteRequest) (*pluginv1.CompleteResponse, error) {
	if err := h.enter(pluginv1.HostOpComplete, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range in.Completions {
		kept := &pluginv1.Verdict{}
		if v := in.Completions[i].Verdict; v != nil {
			if err := kept.Unmarshal(v.AppendTo(nil)); err != nil {
				return nil, &pluginv1.HostError{Code: pluginv1.HostErrorCodeInvalid, Message: err.Error()}
			}
		}
		h.verdicts[in.Completions[i].EventID] = kept
	}
	h.change()
	return &pluginv1.CompleteResponse{}, nil
}

// Publish implements v1host.Service.
func (h *Host) Publish(_ context.Context, in *pluginv1.PublishRequest) (*pluginv1.PublishResponse, error) {
	if err := h.enter(pluginv1.HostOpPublish, in); err != nil {
		return nil, err
	}
	return &pluginv1.PublishResponse{Results: make([]pluginv1.PublishResult, len(in.Messages))}, nil
}

// Disconnect implements v1host.Service.
func (h *Host) Disconnect(_ context.Context, in *pluginv1.DisconnectRequest) (*pluginv1.DisconnectResponse, error) {
	if err := h.enter(pluginv1.HostOpDisconnect, in); err != nil {
		return nil, err
	}
	for i := range h.State.Clients {
		if c := &h.State.Clients[i]; c.ClientID == in.ClientID && c.Namespace == in.Namespace {
			return &pluginv1.DisconnectResponse{Found: true}, nil
		}
	}
	return &pluginv1.DisconnectResponse{}, nil
}

// BanAdd implements v1host.Service.
func (h *Host) BanAdd(_ context.Context, in *pluginv1.BanAddRequest) (*pluginv1.BanAddResponse, error) {
	if err := h.enter(pluginv1.HostOpBanAdd, in); err != nil {
		return nil, err
	}
	if in.Ban == nil {
		return nil, &pluginv1.HostError{Code: pluginv1.HostErrorCodeInvalid, Message: "no ban"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.version++
	b := *in.Ban
	b.ID, b.AddedMs = "ban-"+strconv.FormatUint(h.version, 10), h.now.UnixMilli()
	h.bans = append(h.bans, b)
	return &pluginv1.BanAddResponse{ID: b.ID}, nil
}

// BanRemove implements v1host.Service.
func (h *Host) BanRemove(_ context.Context, in *pluginv1.BanRemoveRequest) (*pluginv1.BanRemoveResponse, error) {
	if err := h.enter(pluginv1.HostOpBanRemove, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.bans {
		if h.bans[i].ID == in.ID {
			h.bans = append(h.bans[:i], h.bans[i+1:]...)
			return &pluginv1.BanRemoveResponse{Found: true}, nil
		}
	}
	return &pluginv1.BanRemoveResponse{}, nil
}

// BanList implements v1host.Service.
func (h *Host) BanList(_ context.Context, in *pluginv1.BanListRequest) (*pluginv1.BanListResponse, error) {
	if err := h.enter(pluginv1.HostOpBanList, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	bans, next := page(h.bans, in.Page, in.PageSize, func(*pluginv1.Ban) bool { return true })
	return &pluginv1.BanListResponse{Bans: bans, NextPage: next}, nil
}

// Client implements v1host.Service.
func (h *Host) Client(_ context.Context, in *pluginv1.ClientRequest) (*pluginv1.ClientResponse, error) {
	if err := h.enter(pluginv1.HostOpClient, in); err != nil {
		return nil, err
	}
	for i := range h.State.Sessions {
		if c := h.State.Sessions[i].Client; c != nil && c.ClientID == in.ClientID && c.Namespace == in.Namespace {
			return &pluginv1.ClientResponse{Session: &h.State.Sessions[i]}, nil
		}
	}
	return &pluginv1.ClientResponse{}, nil
}

// KVGet implements v1host.Service.
func (h *Host) KVGet(_ context.Context, in *pluginv1.KVGetRequest) (*pluginv1.KVGetResponse, error) {
	if err := h.enter(pluginv1.HostOpKVGet, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	v, _ := h.value(in.Key)
	return &pluginv1.KVGetResponse{Version: v.version, Value: v.data}, nil
}

// store is called with mu held.
func (h *Host) store(key string, data []byte, ttlMs uint64) uint64 {
	h.version++
	v := value{data: bytes.Clone(data), version: h.version}
	if ttlMs > 0 {
		v.expires = h.now.Add(time.Duration(ttlMs) * time.Millisecond)
	}
	h.kv[strings.Clone(key)] = v
	return v.version
}

// KVSet implements v1host.Service.
func (h *Host) KVSet(_ context.Context, in *pluginv1.KVSetRequest) (*pluginv1.KVSetResponse, error) {
	if err := h.enter(pluginv1.HostOpKVSet, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pluginv1.KVSetResponse{Version: h.store(in.Key, in.Value, in.TTLMs)}, nil
}

// KVCompareAndSet implements v1host.Service.
func (h *Host) KVCompareAndSet(
	_ context.Context, in *pluginv1.KVCompareAndSetRequest,
) (*pluginv1.KVCompareAndSetResponse, error) {
	if err := h.enter(pluginv1.HostOpKVCompareAndSet, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if v, _ := h.value(in.Key); v.version != in.Version {
		return &pluginv1.KVCompareAndSetResponse{}, nil
	}
	return &pluginv1.KVCompareAndSetResponse{Stored: true, Version: h.store(in.Key, in.Value, in.TTLMs)}, nil
}

// KVDelete implements v1host.Service.
func (h *Host) KVDelete(_ context.Context, in *pluginv1.KVDeleteRequest) (*pluginv1.KVDeleteResponse, error) {
	if err := h.enter(pluginv1.HostOpKVDelete, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.kv, in.Key)
	return &pluginv1.KVDeleteResponse{}, nil
}

// KVScan implements v1host.Service.
func (h *Host) KVScan(_ context.Context, in *pluginv1.KVScanRequest) (*pluginv1.KVScanResponse, error) {
	if err := h.enter(pluginv1.HostOpKVScan, in); err != nil {
		return nil, err
	}
	limit := int(in.Limit)
	if limit == 0 {
		limit = 100
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	out := &pluginv1.KVScanResponse{}
	for _, k := range sortedKeys(h.kv, in.Prefix, in.After) {
		v, ok := h.value(k)
		if !ok {
			continue
		}
		if out.More = len(out.Entries) == limit; out.More {
			break
		}
		e := pluginv1.KVEntry{Key: k, Version: v.version}
		if !in.KeysOnly {
			e.Value = v.data
		}
		out.Entries = append(out.Entries, e)
	}
	return out, nil
}

// Secret implements v1host.Service.
func (h *Host) Secret(_ context.Context, in *pluginv1.SecretRequest) (*pluginv1.SecretResponse, error) {
	if err := h.enter(pluginv1.HostOpSecret, in); err != nil {
		return nil, err
	}
	s, ok := h.State.Secrets[in.Name]
	if !ok {
		return nil, &pluginv1.HostError{Code: pluginv1.HostErrorCodeNotFound, Message: "no secret " + strconv.Quote(in.Name)}
	}
	return &pluginv1.SecretResponse{Value: []byte(s)}, nil
}

// SetTimer implements v1host.Service.
func (h *Host) SetTimer(_ context.Context, in *pluginv1.SetTimerRequest) (*pluginv1.SetTimerResponse, error) {
	if err := h.enter(pluginv1.HostOpSetTimer, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropTimer(in.Name)
	h.timers = append(h.timers, timer{
		name: strings.Clone(in.Name), due: h.now.Add(time.Duration(in.DelayMs) * time.Millisecond),
		period: time.Duration(in.PeriodMs) * time.Millisecond, data: bytes.Clone(in.Data),
	})
	return &pluginv1.SetTimerResponse{}, nil
}

func (h *Host) dropTimer(name string) bool {
	for i := range h.timers {
		if h.timers[i].name == name {
			h.timers = append(h.timers[:i], h.timers[i+1:]...)
			return true
		}
	}
	return false
}

// CancelTimer implements v1host.Service.
func (h *Host) CancelTimer(_ context.Context, in *pluginv1.CancelTimerRequest) (*pluginv1.CancelTimerResponse, error) {
	if err := h.enter(pluginv1.HostOpCancelTimer, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pluginv1.CancelTimerResponse{Found: h.dropTimer(in.Name)}, nil
}

// Log implements v1host.Service.
func (h *Host) Log(_ context.Context, in *pluginv1.LogRequest) (*pluginv1.LogResponse, error) {
	return &pluginv1.LogResponse{}, h.enter(pluginv1.HostOpLog, in)
}

// Metric implements v1host.Service.
func (h *Host) Metric(_ context.Context, in *pluginv1.MetricRequest) (*pluginv1.MetricResponse, error) {
	return &pluginv1.MetricResponse{}, h.enter(pluginv1.HostOpMetric, in)
}

// HTTPFetch implements v1host.Service.
func (h *Host) HTTPFetch(_ context.Context, in *pluginv1.HTTPFetchRequest) (*pluginv1.HTTPFetchResponse, error) {
	if err := h.enter(pluginv1.HostOpHTTPFetch, in); err != nil {
		return nil, err
	}
	if h.Fetch == nil {
		return nil, &pluginv1.HostError{Code: pluginv1.HostErrorCodeUnavailable, Message: "the test has no Fetch"}
	}
	return h.Fetch(in)
}

// plainHash marks what PasswordHash returns: the password itself, since tests want speed.
const plainHash = "$plain$"

// PasswordHash implements v1host.Service.
func (h *Host) PasswordHash(_ context.Context, in *pluginv1.PasswordHashRequest) (*pluginv1.PasswordHashResponse, error) {
	if err := h.enter(pluginv1.HostOpPasswordHash, in); err != nil {
		return nil, err
	}
	return &pluginv1.PasswordHashResponse{Hash: plainHash + string(in.Password)}, nil
}

// PasswordVerify implements v1host.Service. It knows what PasswordHash returns, and hashes
// as brokers have them.
func (h *Host) PasswordVerify(
	ctx context.Context, in *pluginv1.PasswordVerifyRequest,
) (*pluginv1.PasswordVerifyResponse, error) {
	if err := h.enter(pluginv1.HostOpPasswordVerify, in); err != nil {
		return nil, err
	}
	if strings.HasPrefix(in.Hash, plainHash) {
		return &pluginv1.PasswordVerifyResponse{Matches: in.Hash == plainHash+string(in.Password)}, nil
	}
	matches, err := password.New(password.Options{}).Verify(ctx, in.Password, in.Hash)
	if err != nil {
		return nil, &pluginv1.HostError{Code: pluginv1.HostErrorCodeInvalid, Message: err.Error()}
	}
	return &pluginv1.PasswordVerifyResponse{Matches: matches}, nil
}

// Now implements v1host.Service.
func (h *Host) Now(_ context.Context, in *pluginv1.NowRequest) (*pluginv1.NowResponse, error) {
	if err := h.enter(pluginv1.HostOpNow, in); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pluginv1.NowResponse{UnixMs: h.now.UnixMilli(), MonotonicNs: uint64(h.now.Sub(h.started))}, nil
}

// InvalidateDecisions implements v1host.Service.
func (h *Host) InvalidateDecisions(
	_ context.Context, in *pluginv1.InvalidateDecisionsRequest,
) (*pluginv1.InvalidateDecisionsResponse, error) {
	return &pluginv1.InvalidateDecisionsResponse{}, h.enter(pluginv1.HostOpInvalidateDecisions, in)
}
