package authjwt

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// issuer answers a Host's fetches.
type issuer struct {
	mu      sync.Mutex
	set     string
	status  uint32
	control string
	err     error
	asked   int
	entered chan struct{} // told of fetches that wait for hold, if that is set
	hold    chan struct{}
}

func (s *issuer) fetch(*pluginv1.HTTPFetchRequest) (*pluginv1.HTTPFetchResponse, error) {
	s.mu.Lock()
	s.asked++
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		s.entered <- struct{}{}
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	return &pluginv1.HTTPFetchResponse{
		Status: s.status, Body: []byte(s.set), Headers: []pluginv1.Pair{{Name: "cache-control", Value: s.control}},
	}, nil
}

func (s *issuer) change(f func(*issuer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *issuer) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// clock is what the plugin takes for the time; with it goes that of the host.
type clock struct {
	mu   sync.Mutex
	t    time.Time
	host *plugintest.Host
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(t testing.TB, d time.Duration) {
	t.Helper()
	c.mu.Lock()
	c.t = c.t.Add(d)
	c.mu.Unlock()
	if err := c.host.Advance(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// timed is the plugin in the builtin runtime with a clock.
func timed(c *clock) plugintest.Runner {
	def := Plugin()
	def.New = func() any {
		p := newPlugin()
		p.now = c.now
		return p
	}
	return plugintest.Builtin(def)
}

// withURL starts the plugin with an issuer at a URL.
func withURL(t testing.TB, h *plugintest.Host, s *issuer, more string) (*plugintest.Instance, *clock) {
	t.Helper()
	h.Fetch = s.fetch
	c := &clock{t: time.Now(), host: h}
	return plugintest.Start(t, timed(c), h, `{"jwks_url":"https://id.example.com/jwks"`+more+`}`), c
}

const unavailable = "deny 0x88 the keys of the issuer cannot be had"

func degraded(t testing.TB, p *plugintest.Instance, want string) {
	t.Helper()
	res, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
	if err != nil || (res.Status == pluginv1.HealthStatusDegraded) != (want != "") || !strings.Contains(res.Message, want) {
		t.Errorf("health %+v, %v, want %q", res, err, want)
	}
}

// loginWith logs in with the key of a signer.
func loginWith(t testing.TB, p *plugintest.Instance, s *signer, want string) {
	t.Helper()
	// A day from now, for clocks that are advanced.
	token := s.token(t, map[string]any{"sub": "ann", "exp": time.Now().Add(100 * time.Hour).Unix()})
	if got := said(login(t, p, "c", token)); got != want {
		t.Errorf("key %s: %s, want %s", s.id, got, want)
	}
}

const accepted = "allow user=ann"

func TestRotation(t *testing.T) {
	one, two := fresh(t, "one"), fresh(t, "two")
	s := &issuer{status: 200, set: set(t, one)}
	p, c := withURL(t, plugintest.NewHost(), s, `,"refetch_pause":"10s"`)
	loginWith(t, p, one, accepted)
	if n := s.fetches(); n != 1 {
		t.Errorf("%d fetches at the start", n)
	}
	// A new key is fetched when it is seen, but no more often than refetch_pause.
	s.change(func(s *issuer) { s.set = set(t, one, two) })
	loginWith(t, p, two, "deny 0x86 the key of the token is not known")
	c.advance(t, 11*time.Second)
	loginWith(t, p, two, accepted)
	loginWith(t, p, one, accepted)
	for range 5 {
		loginWith(t, p, fresh(t, "three"), "deny 0x86 the key of the token is not known")
	}
	if n := s.fetches(); n != 2 {
		t.Errorf("%d fetches", n)
	}
	// A key that is gone is believed until the next regular fetch.
	s.change(func(s *issuer) { s.set = set(t, two) })
	loginWith(t, p, one, accepted)
	c.advance(t, 16*time.Minute)
	loginWith(t, p, one, "deny 0x86 the key of the token is not known")
	loginWith(t, p, two, accepted)
	// The same id with another key is another key.
	s.change(func(s *issuer) { s.set = set(t, fresh(t, "two")) })
	c.advance(t, 16*time.Minute)
	loginWith(t, p, two, "deny 0x86 the signature of the token is wrong")
	degraded(t, p, "")
}

// An issuer that is down, or talks nonsense, is no reason to give up keys, for max_stale.
func TestOutage(t *testing.T) {
	one, two := fresh(t, "one"), fresh(t, "two")
	for name, fail := range map[string]func(*issuer){
		"gone":         func(s *issuer) { s.err = errors.New("connection refused") },
		"an error":     func(s *issuer) { s.status = 500 },
		"nonsense":     func(s *issuer) { s.set = "<html>" },
		"an empty set": func(s *issuer) { s.set = `{"keys":[]}` },
	} {
		t.Run(name, func(t *testing.T) {
			s := &issuer{status: 200, set: set(t, one)}
			p, c := withURL(t, plugintest.NewHost(), s, `,"max_stale":"2h"`)
			s.change(fail)
			c.advance(t, time.Hour)
			loginWith(t, p, one, accepted)
			loginWith(t, p, two, unavailable) // it may be a new key
			degraded(t, p, "stay in force")
			c.advance(t, 2*time.Hour)
			loginWith(t, p, one, unavailable)
			degraded(t, p, "too old")
			// Tries are made less and less often, up to refresh.
			before := s.fetches()
			c.advance(t, 2*time.Hour)
			if n := s.fetches() - before; n < 8 || n > 12 {
				t.Errorf("%d tries in 2 h", n)
			}
			s.change(func(s *issuer) { s.err, s.status, s.set = nil, 200, set(t, one, two) })
			c.advance(t, 15*time.Minute)
			loginWith(t, p, one, accepted)
			loginWith(t, p, two, accepted)
			degraded(t, p, "")
		})
	}
}

// A broker starts although the issuer is down, and works when it comes.
func TestStartWithoutIssuer(t *testing.T) {
	one := fresh(t, "one")
	s := &issuer{status: 200, set: set(t, one), err: errors.New("connection refused")}
	p, c := withURL(t, plugintest.NewHost(), s, "")
	loginWith(t, p, one, unavailable)
	degraded(t, p, "no keys of it yet")
	s.change(func(s *issuer) { s.err = nil })
	c.advance(t, 2*time.Second)
	loginWith(t, p, one, accepted)
}

// What was fetched outlives a restart, while it is not too old.
func TestKeptForTheNextStart(t *testing.T) {
	one := fresh(t, "one")
	s := &issuer{status: 200, set: set(t, one)}
	h := plugintest.NewHost()
	_, first := withURL(t, h, s, "")
	s.change(func(s *issuer) { s.err = errors.New("connection refused") })
	for later, want := range map[time.Duration]string{23 * time.Hour: accepted, 25 * time.Hour: unavailable} {
		c := &clock{t: first.now().Add(later), host: h}
		p := plugintest.Start(t, timed(c), h, `{"jwks_url":"https://id.example.com/jwks"}`)
		loginWith(t, p, one, want)
	}
	c := &clock{t: first.now(), host: h}
	p := plugintest.Start(t, timed(c), h, `{"jwks_url":"https://id.example.com/other"}`)
	loginWith(t, p, one, unavailable)
	if len(h.Calls(pluginv1.HostOpKVSet)) != 1 {
		t.Error("a set that was not fetched was kept")
	}
}

// The broker's refusal to fetch is a fault of the config.
func TestOriginThatIsNotGranted(t *testing.T) {
	h := plugintest.NewHost()
	h.Fail(pluginv1.HostOpHTTPFetch, sdk.ErrDenied)
	_, res := plugintest.StartResponse(t, plugintest.Builtin(Plugin()), h, `{"jwks_url":"https://id.example.com/jwks"}`)
	if len(res.Problems) != 1 || res.Problems[0].Pointer != "/jwks_url" {
		t.Errorf("%+v", res)
	}
}

// While a slow issuer is asked, only those wait who need its answer, all for one fetch.
func TestSlowIssuer(t *testing.T) {
	one, two := fresh(t, "one"), fresh(t, "two")
	s := &issuer{status: 200, set: set(t, one), entered: make(chan struct{}, 1)}
	p, c := withURL(t, plugintest.NewHost(), s, `,"keys":[{"kid":"h","secret":`+jsonOf(t, string(newSigner("HS256", "").private.([]byte)))+`}]`)
	c.advance(t, 20*time.Second)
	hold := make(chan struct{})
	s.change(func(s *issuer) { s.hold, s.set = hold, set(t, one, two) })
	const many = 50
	token := two.token(t, claims(nil))
	verdicts := make(chan string, many)
	for range many {
		go func() { verdicts <- said(login(t, p, "c", token)) }()
	}
	<-s.entered // the first of them asks
	loginWith(t, p, one, accepted)
	loginWith(t, p, newSigner("HS256", "h"), accepted)
	select {
	case v := <-verdicts:
		t.Fatalf("%s before there was an answer", v)
	default:
	}
	close(hold)
	for range many {
		if v := <-verdicts; v != accepted {
			t.Errorf("after the answer: %s", v)
		}
	}
	if n := s.fetches(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

// Who waits longer than a login may take is told to come again.
func TestImpatientLogin(t *testing.T) {
	r := &remote{url: "x", now: time.Now, metrics: &metrics{}}
	flight, first := r.begin()
	if !first {
		t.Fatal("a fetch is under way")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	r.waiting = maxWaiting
	if err := r.await(t.Context()); !errors.Is(err, errBusy) {
		t.Errorf("%v", err)
	}
	close(flight)
}

func TestCacheControl(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "no-store": 0, "max-age=60": time.Minute, "public, Max-Age=\"90\", must-revalidate": 90 * time.Second,
		"max-age=-1": 0, "max-age=x": 0, "s-maxage=5": 0, "max-age=99999999999999": 0,
	} {
		if got := maxAgeOf(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	// It makes fetches more frequent, within reason, and never less.
	one := fresh(t, "one")
	for control, want := range map[string][2]int{"max-age=300": {12, 14}, "max-age=1": {60, 68}, "max-age=86400": {4, 5}} {
		s := &issuer{status: 200, set: set(t, one), control: control}
		_, c := withURL(t, plugintest.NewHost(), s, "")
		for range 60 {
			c.advance(t, time.Minute)
		}
		if n := s.fetches() - 1; n < want[0]-1 || n > want[1] {
			t.Errorf("%s: %d fetches in an hour, want %v", control, n, want)
		}
	}
}
