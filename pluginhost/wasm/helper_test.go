package wasm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "patchbay-wasm")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-w", "-o", out, ".")
	cmd.Dir = "testdata/guest"
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		return text, err
	}
	return os.ReadFile(out)
})

// guestModule loads the Go guest, and compiles it once for all tests that have no options of their own.
func guestModule(t testing.TB, o Options) *Module {
	t.Helper()
	file, err := goGuest()
	if err != nil {
		t.Fatalf("building the Go guest: %v\n%s", err, file)
	}
	o.CacheDir = cacheDir()
	return load(t, file, o)
}

var cacheDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "patchbay-wasm-cache")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], compilerMode) {
		compilerProcess(strings.TrimPrefix(os.Args[1], compilerMode), os.Args[2:])
	}
	code := m.Run()
	os.RemoveAll(cacheDir())
	os.Exit(code)
}

func load(t testing.TB, file []byte, o Options) *Module {
	t.Helper()
	m, err := Load(t.Context(), file, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if w := m.Warnings(); len(w) > 0 {
		t.Fatal(w)
	}
	return m
}

// open makes a plugin that is closed, with its module, at the end of the test.
func open(t testing.TB, m *Module, host v1host.Service) *Plugin {
	t.Helper()
	p, err := m.Open(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		m.Close()
		eventually(t, "all is given up", m.isFree)
	})
	return p.(*Plugin)
}

func (m *Module) isFree() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.users == 0
}

func started(t testing.TB, p *Plugin, in *pluginv1.StartRequest) *Plugin {
	t.Helper()
	if out, err := p.Start(t.Context(), in); err != nil || len(out.Problems) > 0 {
		t.Fatalf("Start: %+v, %v", out, err)
	}
	return p
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

// publish is a batch of messages with these topics.
func publish(topics ...string) *pluginv1.Batch {
	return batchOf(pluginv1.PointInterceptPublish, topics...)
}

func batchOf(point pluginv1.Point, topics ...string) *pluginv1.Batch {
	b := &pluginv1.Batch{Point: point, Clients: []pluginv1.Client{{ClientID: "c"}}}
	for _, topic := range topics {
		b.Events = append(b.Events, pluginv1.Event{Client: 1, Message: &pluginv1.Message{Topic: topic}})
	}
	return b
}

// process waits for the answer, however it comes.
func process(p *Plugin, b *pluginv1.Batch) (*pluginv1.Answer, error) {
	a := new(pluginv1.Answer)
	done := make(chan error, 1)
	if answered, err := p.Process(b, a, func(err error) { done <- err }); answered {
		return a, err
	}
	return a, <-done
}

// fakeHost has what the tests call. The rest panics.
type fakeHost struct {
	v1host.Service

	mu     sync.Mutex
	values map[string]string
	lines  []string
	hold   chan struct{} // if not nil, KVSet waits for it, or for its context
	inside chan struct{} // gets a value when KVSet or KVGet begins, if not nil
}

func (h *fakeHost) KVGet(_ context.Context, in *pluginv1.KVGetRequest) (*pluginv1.KVGetResponse, error) {
	if h.inside != nil {
		h.inside <- struct{}{}
		<-h.hold
	}
	if in.Key == "bug" {
		panic("a bug of the host")
	}
	if in.Key == "denied" {
		return nil, &pluginv1.HostError{Code: pluginv1.HostErrorCodeDenied, Message: "no", Grant: "kv"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pluginv1.KVGetResponse{Version: 1, Value: []byte(h.values[in.Key])}, nil
}

func (h *fakeHost) KVSet(ctx context.Context, _ *pluginv1.KVSetRequest) (*pluginv1.KVSetResponse, error) {
	if h.inside != nil {
		h.inside <- struct{}{}
	}
	if h.hold != nil {
		select {
		case <-h.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &pluginv1.KVSetResponse{Version: 1}, nil
}

func (h *fakeHost) Now(context.Context, *pluginv1.NowRequest) (*pluginv1.NowResponse, error) {
	return &pluginv1.NowResponse{UnixMs: 1}, nil
}

func (h *fakeHost) Log(_ context.Context, in *pluginv1.LogRequest) (*pluginv1.LogResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range in.Records {
		h.lines = append(h.lines, r.Level.String()+" "+r.Message)
	}
	return &pluginv1.LogResponse{}, nil
}

func (h *fakeHost) logged() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.lines...)
}
