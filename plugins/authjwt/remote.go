package authjwt

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// fetchTimer is the timer for the next regular fetch.
	fetchTimer = "jwks"
	// maxSet bounds a JWK Set, in bytes.
	maxSet = 1 << 20
	// firstRetry is the pause after a fetch that has failed; it doubles up to refresh.
	firstRetry = time.Second
	// maxWaiting is how many logins wait for a fetch at once; more are refused with Server
	// busy.
	maxWaiting = 2000
	// shortest is the least that Cache-Control can shorten refresh to.
	shortest = time.Minute
)

var (
	errNoKeys = errors.New("the keys of the issuer cannot be had")
	errBusy   = errors.New("too many logins at once")
)

// remote is a JWK Set behind a URL. It is safe for concurrent use. Only one fetch goes on
// at a time; who looks up a key that is there never waits for it.
type remote struct {
	host    *sdk.Host
	now     func() time.Time
	metrics *metrics

	url string // "": nothing is fetched

	mu      sync.Mutex
	o       remoteOptions
	keys    []*key
	fetched time.Time // when keys were current last; zero: never
	tried   time.Time // when the last fetch began
	retry   time.Duration
	err     error         // of the last fetch
	flight  chan struct{} // closed when the fetch that is under way ends; nil: none is
	waiting int
}

// remoteOptions are what a config says of a URL.
type remoteOptions struct{ refresh, pause, timeout, maxStale time.Duration }

// set puts options into force.
func (r *remote) set(o remoteOptions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.o = o
}

// find returns the keys that may have signed a token. If there are none, the set is
// fetched, unless that has been done a moment ago. Errors: errNoKeys, errBusy, that of
// ctx.
func (r *remote) find(ctx context.Context, t *token, a *algorithm) ([]*key, error) {
	r.mu.Lock()
	pause, stale := r.o.pause, r.stale()
	found := fitting(r.keys, t, a)
	again := r.flight != nil || r.now().Sub(r.tried) >= pause
	r.mu.Unlock()
	switch {
	case r.url == "":
		return nil, nil
	case len(found) > 0 && !stale:
		return found, nil
	case again:
		if err := r.await(ctx); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stale() {
		return nil, errNoKeys
	}
	found = fitting(r.keys, t, a)
	if len(found) == 0 && r.err != nil {
		return nil, errNoKeys // the issuer may have a key by now that we cannot get
	}
	return found, nil
}

// stale reports whether the keys are too old to be believed. It is called with mu held.
func (r *remote) stale() bool {
	return r.fetched.IsZero() || r.now().Sub(r.fetched) > r.o.maxStale
}

// fitting are the keys that a token may mean.
func fitting(keys []*key, t *token, a *algorithm) (out []*key) {
	for _, k := range keys {
		if k.isFor(a) && k.named(t) {
			out = append(out, k)
		}
	}
	return out
}

// begin returns the fetch that is under way; first says that there was none, and that the
// caller has to do it.
func (r *remote) begin() (flight chan struct{}, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight != nil {
		return r.flight, false
	}
	r.flight, r.tried = make(chan struct{}), r.now()
	return r.flight, true
}

// fetch gets the set now, unless another fetch is under way.
func (r *remote) fetch(ctx context.Context) {
	if r.url == "" {
		return
	}
	if flight, first := r.begin(); first {
		r.fly(ctx, flight)
	}
}

// await fetches, or waits for the fetch that is under way. Errors: errBusy, that of ctx.
func (r *remote) await(ctx context.Context) error {
	flight, first := r.begin()
	if first {
		r.fly(ctx, flight)
		return nil
	}
	if !r.enter() {
		return errBusy
	}
	defer r.leave()
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *remote) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting >= maxWaiting {
		return false
	}
	r.waiting++
	return true
}

func (r *remote) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting--
}

// fly does a fetch, and sets the timer for the next one. The client whose login has begun
// it may leave: others wait for it too.
func (r *remote) fly(ctx context.Context, flight chan struct{}) {
	ctx = context.WithoutCancel(ctx)
	got := fetched{err: errors.New("the fetch has panicked")} // unless it comes to an end
	defer func() {
		next := r.land(&got, flight)
		if err := r.host.SetTimer(ctx, sdk.Timer{Name: fetchTimer, Delay: next}); err != nil {
			r.host.Logger().Warn("the JWK Set is fetched only when a token names an unknown key", "error", err)
		}
		if got.err == nil {
			r.keep(ctx, got.body)
		}
	}()
	got = r.get(ctx)
}

// fetched is what a fetch has brought.
type fetched struct {
	keys   []*key
	body   []byte
	maxAge time.Duration
	err    error
}

// land takes over what a fetch has brought, and returns when the next one is due.
func (r *remote) land(got *fetched, flight chan struct{}) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flight = nil
	close(flight)
	before := r.err
	r.err = got.err
	if got.err != nil {
		r.metrics.fetches.Add(1, sdk.Pair{Name: "result", Value: "failed"})
		if before == nil || before.Error() != got.err.Error() {
			r.host.Logger().Error("the JWK Set cannot be fetched", "url", r.url, "error", got.err, "keys", len(r.keys))
		}
		r.retry = min(max(2*r.retry, firstRetry), r.o.refresh)
		return jitter(r.retry)
	}
	r.metrics.fetches.Add(1, sdk.Pair{Name: "result", Value: "ok"})
	r.metrics.keys.Set(float64(len(got.keys)), sdk.Pair{Name: "source", Value: "url"})
	r.metrics.fetched.Set(float64(r.tried.UnixMilli()) / 1000)
	if before != nil || ids(got.keys) != ids(r.keys) {
		r.host.Logger().Info("the JWK Set was fetched", "url", r.url, "keys", len(got.keys), "kids", ids(got.keys))
	}
	r.keys, r.fetched, r.retry = got.keys, r.tried, 0
	next := r.o.refresh
	if got.maxAge > 0 {
		next = min(next, max(got.maxAge, shortest))
	}
	return jitter(next)
}

// ids lists the ids of keys, for the log.
func ids(keys []*key) string {
	var out []string
	for _, k := range keys {
		out = append(out, strconv.Quote(k.id))
	}
	return strings.Join(out, " ")
}

// jitter takes up to a tenth away, so that not all brokers come at once.
func jitter(d time.Duration) time.Duration { return d - time.Duration(rand.Int64N(int64(d)/10+1)) }

// get makes the request.
func (r *remote) get(ctx context.Context) (out fetched) {
	r.mu.Lock()
	timeout := r.o.timeout
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := r.host.Fetch(ctx, sdk.FetchRequest{
		URL: r.url, Headers: []sdk.Pair{{Name: "Accept", Value: "application/jwk-set+json, application/json"}},
		TimeoutMs: uint32(timeout.Milliseconds()), MaxResponseBytes: maxSet,
	})
	if err != nil {
		return fetched{err: err}
	}
	if res.Status != 200 {
		return fetched{err: fmt.Errorf("it is answered with status %d", res.Status)}
	}
	var skipped []string
	if out.keys, skipped, err = parseKeys(res.Body, false); err != nil {
		return fetched{err: err}
	}
	if len(skipped) > 0 {
		r.host.Logger().Debug("keys of the JWK Set are skipped", "url", r.url, "why", strings.Join(skipped, "; "))
	}
	for _, h := range res.Headers {
		if h.Name == "cache-control" {
			out.maxAge = maxAgeOf(h.Value)
		}
	}
	out.body = res.Body
	return out
}

// maxAgeOf reads max-age of a Cache-Control (RFC 9111 §5.2); 0 if it has none.
func maxAgeOf(s string) time.Duration {
	for directive := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
		if err != nil {
			return 0
		}
		return time.Duration(seconds) * time.Second
	}
	return 0
}

// kept is under which key the set is kept: eight bytes of time, and the set.
func (r *remote) kept() string {
	sum := sha256.Sum256([]byte(r.url))
	return "jwks/" + hex.EncodeToString(sum[:])
}

// keep stores the set for the next start. That it cannot is not worth an error: the set is
// fetched then too.
func (r *remote) keep(ctx context.Context, body []byte) {
	if r.host.Granted("kv") == nil || len(body) > maxSet-8 {
		return
	}
	r.mu.Lock()
	at, ttl := r.fetched, r.o.maxStale
	r.mu.Unlock()
	value := append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())), body...)
	if _, err := r.host.KV().Set(ctx, r.kept(), value, ttl); err != nil {
		r.host.Logger().Warn("the JWK Set cannot be kept for the next start", "error", err)
	}
}

// recall reads what was kept.
func (r *remote) recall(ctx context.Context) {
	if r.url == "" || r.host.Granted("kv") == nil {
		return
	}
	value, _, err := r.host.KV().Get(ctx, r.kept())
	if err != nil || len(value) < 8 {
		return
	}
	keys, _, err := parseKeys(value[8:], false)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.fetched = keys, time.UnixMilli(int64(binary.BigEndian.Uint64(value)))
	r.metrics.keys.Set(float64(len(keys)), sdk.Pair{Name: "source", Value: "url"})
}

// denied reports whether the broker does not let the URL be fetched, which no further try
// changes.
func (r *remote) denied() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.err, sdk.ErrDenied) {
		return r.err
	}
	return nil
}

// health says how the other side is.
func (r *remote) health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		return nil
	}
	then := "its keys of " + r.fetched.UTC().Format(time.RFC3339) + " stay in force"
	switch {
	case r.fetched.IsZero():
		then = "there are no keys of it yet"
	case r.stale():
		then = "its keys of " + r.fetched.UTC().Format(time.RFC3339) + " are too old to be used"
	}
	return sdk.Degraded(fmt.Sprintf("%s: %v (%s)", r.url, r.err, then))
}
