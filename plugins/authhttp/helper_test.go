package authhttp

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// patience bounds every wait for something that is bound to happen.
const patience = time.Minute

// buildDir is where the program is built, removed by TestMain.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "authhttp-test"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// program is the plugin as a process of its own, built once.
var program = sync.OnceValues(func() (string, error) {
	file := filepath.Join(buildDir, "authhttp.exe")
	if text, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "./cmd/authhttp").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	return file, nil
})

func runners(t testing.TB) []plugintest.Runner {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return []plugintest.Runner{plugintest.Builtin(Plugin()), plugintest.Process(file)}
}

// received is a request as the service gets it.
type received struct {
	method, uri, contentType, body string
	header                         http.Header
}

func (r received) String() string { return r.method + " " + r.uri + " " + r.body }

// fake is a service that answers as a test says.
type fake struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	answer   func(received) (status int, contentType, body string)
	requests []received
	peers    map[string]bool
}

func newFake(t testing.TB) *fake {
	f := &fake{t: t, peers: map[string]bool{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	got := received{r.Method, r.RequestURI, r.Header.Get("Content-Type"), string(body), r.Header}
	f.mu.Lock()
	f.requests = append(f.requests, got)
	f.peers[r.RemoteAddr] = true
	answer := f.answer
	f.mu.Unlock()
	status, contentType, text := answer(got)
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}

// says sets the answer to all that comes.
func (f *fake) says(status int, contentType, body string) {
	f.does(func(received) (int, string, string) { return status, contentType, body })
}

func (f *fake) does(answer func(received) (int, string, string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// took returns what has come since the last look.
func (f *fake) took() []received {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.requests
	f.requests = nil
	return out
}

// one returns the only request since the last look.
func (f *fake) one() received {
	f.t.Helper()
	all := f.took()
	if len(all) != 1 {
		f.t.Fatalf("%d requests: %v", len(all), all)
	}
	return all[0]
}

// config asks a service about everything that is named; more is added to it.
func (f *fake) config(mode, more string, names ...string) string {
	c := `{"mode":"` + mode + `"`
	for _, name := range names {
		c += fmt.Sprintf(`,%q:{"url":%q}`, name, f.URL+"/"+name)
	}
	if more != "" {
		c += "," + more
	}
	return c + "}"
}

func builtin(t testing.TB, config string) *plugintest.Instance {
	t.Helper()
	return plugintest.Start(t, plugintest.Builtin(Plugin()), plugintest.NewHost(), config)
}

// inside is what a running plugin has made of its config.
func inside(t testing.TB, config string) *service {
	t.Helper()
	var made []*plugin // one of which is started
	def := Plugin()
	def.New = func() any {
		made = append(made, new(plugin))
		return made[len(made)-1]
	}
	plugintest.Start(t, plugintest.Builtin(def), plugintest.NewHost(), config)
	for _, p := range made {
		if s := p.service.Load(); s != nil {
			return s
		}
	}
	t.Fatal("no plugin was started")
	return nil
}

// ask puts an event to the plugin and waits for its verdict.
func ask(t testing.TB, p *plugintest.Instance, point sdk.Point, c *sdk.Client, e pluginv1.Event) *pluginv1.Verdict {
	t.Helper()
	b := &pluginv1.Batch{Point: point, Clients: []pluginv1.Client{*c}, Events: []pluginv1.Event{e}}
	b.Events[0].Client = 1
	a := p.Process(t, b)
	if len(a.Verdicts) == 0 {
		return &pluginv1.Verdict{}
	}
	if v := &a.Verdicts[0]; v.Action != pluginv1.ActionDefer {
		return v
	}
	return p.Completed(t, b.Events[0].ID)
}

// ann is the client of most tests.
func ann() *sdk.Client {
	return &sdk.Client{
		ClientID: "c 1", Username: "ann/é", RemoteAddress: "192.0.2.7:4711", Listener: "tls", Transport: "tls", ProtocolVersion: 5, CleanStart: true,
		TLS: &sdk.TLS{Verified: true, Certificate: &sdk.Certificate{Subject: "CN=dev 1", CommonName: "dev 1", SHA256: []byte{1, 2}, DER: []byte{9}}},
	}
}

func withPassword(password string) *sdk.Authentication {
	return &sdk.Authentication{HasUsername: true, HasPassword: true, Password: []byte(password)}
}

func login(t testing.TB, p *plugintest.Instance, c *sdk.Client, a *sdk.Authentication) *pluginv1.Verdict {
	t.Helper()
	return ask(t, p, sdk.PointAuthenticate, c, pluginv1.Event{Authentication: a})
}

func publish(t testing.TB, p *plugintest.Instance, c *sdk.Client, topic string, qos uint32, retain bool) *pluginv1.Verdict {
	t.Helper()
	return ask(t, p, sdk.PointAuthorizePublish, c, pluginv1.Event{Topic: topic, QoS: qos, Retain: retain})
}

func subscribe(t testing.TB, p *plugintest.Instance, c *sdk.Client, filter string, qos uint32) *pluginv1.Verdict {
	t.Helper()
	return ask(t, p, sdk.PointAuthorizeSubscribe, c, pluginv1.Event{Topic: filter, QoS: qos})
}

// said is a verdict in short.
func said(v *pluginv1.Verdict) string {
	s := strings.ToLower(strings.TrimPrefix(v.Action.String(), "ACTION_"))
	if v.Action == pluginv1.ActionDeny || v.Action == pluginv1.ActionDisconnect {
		s = strings.TrimSpace(s + fmt.Sprintf(" %#x %s", v.ReasonCode, v.Reason))
	}
	if v.CacheTTLMs != 0 {
		s += fmt.Sprintf(" for %dms", v.CacheTTLMs)
	}
	a := v.Auth
	if a == nil {
		return s
	}
	for _, f := range [...]struct{ name, value string }{
		{"user", a.Username}, {"id", a.ClientID}, {"in", a.Namespace}, {"data", string(a.Data)}, {"state", string(a.State)},
	} {
		if f.value != "" {
			s += " " + f.name + "=" + f.value
		}
	}
	slices.SortFunc(a.Attributes, func(x, y pluginv1.Pair) int { return strings.Compare(x.Name, y.Name) })
	for _, a := range a.Attributes {
		s += " " + a.Name + "=" + a.Value
	}
	if a.HasPermissions {
		s += " may"
		for _, p := range a.Permissions {
			s += fmt.Sprintf(" %t:%d:%s", p.Allow, p.Actions, p.TopicFilter)
		}
	}
	if a.CapSessionExpiry {
		s += fmt.Sprintf(" session=%d", a.MaxSessionExpiryInterval)
	}
	if q := a.Quotas; q != nil {
		s += fmt.Sprintf(" quotas=%+v", *q)
	}
	if a.ExpiresAtMs != 0 {
		s += fmt.Sprintf(" ends=%d", a.ExpiresAtMs)
	}
	return s
}

// object decodes JSON, for comparing.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// eventually waits for something that happens elsewhere.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func health(t testing.TB, p *plugintest.Instance) string {
	t.Helper()
	res, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if (res.Status == pluginv1.HealthStatusServing) != (res.Message == "") {
		t.Errorf("health %+v", res)
	}
	return res.Message
}

func parsed(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
