package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdkmcp "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// holder is a plugin that does nothing but have a Host.
type holder struct{ host *sdk.Host }

// Start implements sdk.Starter.
func (p *holder) Start(_ context.Context, h *sdk.Host, _ struct{}) error {
	p.host = h
	return nil
}

// servers are those of a config, with what they log.
func servers(t *testing.T, list ...Config) (*Servers, *plugintest.Host) {
	t.Helper()
	p, h := &holder{}, plugintest.NewHost()
	plugintest.Start(t, plugintest.Builtin(sdk.Plugin{Name: "holder", Version: "1.0.0", Config: sdk.ConfigOf[struct{}](), New: func() any { return p }}), h, "{}")
	for i := range list {
		list[i].Refresh = sdk.Duration(time.Hour)
	}
	s, err := New(list, p.host.Logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s, h
}

// serve serves tools of these names, which say what they were given.
func serve(t *testing.T, names ...string) (url string, asked *atomic.Int64) {
	t.Helper()
	server := sdkmcp.NewServer(&sdkmcp.Implementation{Name: "test", Version: "1"}, nil)
	for _, name := range names {
		schema := json.RawMessage(`{"type":"object"}`)
		if strings.HasPrefix(name, "large") {
			schema = json.RawMessage(`{"type":"object","description":"` + strings.Repeat("x", maxSchema) + `"}`)
		}
		server.AddTool(&sdkmcp.Tool{Name: name, Description: strings.Repeat("é", maxDescription), InputSchema: schema}, func(_ context.Context, r *sdkmcp.CallToolRequest) (*sdkmcp.CallToolResult, error) {
			return &sdkmcp.CallToolResult{Content: []sdkmcp.Content{&sdkmcp.TextContent{Text: r.Params.Name + " " + string(r.Params.Arguments)}}}, nil
		})
	}
	h := sdkmcp.NewStreamableHTTPHandler(func(*http.Request) *sdkmcp.Server { return server }, nil)
	asked = new(atomic.Int64)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	return web.URL, asked
}

// What a server tells of its tools is bounded, and made fit for models; what cannot be is left
// out and logged.
func TestOffer(t *testing.T) {
	names := []string{"plain", "dotted.name", "dotted_name", "large", strings.Repeat("n", 64)}
	for i := range maxTools {
		names = append(names, fmt.Sprintf("zmany%03d", i))
	}
	url, _ := serve(t, names...)
	s, h := servers(t, Config{Name: "x", URL: url})
	list, err := s.List(t.Context(), nil)
	if err != nil || len(list) != maxTools {
		t.Fatalf("%d tools, %v", len(list), err)
	}
	found := map[string]tool.Tool{}
	for _, one := range list {
		found[one.Name] = one
		if len(one.Description) > maxDescription || len(one.Name) > 64 || !json.Valid(one.Parameters) || strings.ContainsRune(one.Description, '\uFFFD') {
			t.Errorf("%+v", one)
		}
	}
	if found["x_dotted_name"].Name == "" || found["x_plain"].Name == "" || found["x_large"].Name != "" {
		t.Error("it is not what it should be")
	}
	text := ""
	for _, l := range h.Logs() {
		text += fmt.Sprintf("%+v\n", l)
	}
	for _, why := range []string{"there is another of that name", "too large", "name is too long", "too many"} {
		if !strings.Contains(text, why) {
			t.Errorf("%q is not in the log: %s", why, text)
		}
	}
	r, err := s.Call(t.Context(), nil, "x_plain", json.RawMessage(`{"a":1}`))
	if err != nil || r.Text != `plain {"a":1}` {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := s.Call(t.Context(), nil, "x_large", nil); err != tool.ErrNoTool {
		t.Errorf("%v", err)
	}
}

// Many questions at once ask a server once, and one that does not answer holds up nobody
// that has no time.
func TestAskedOnce(t *testing.T) {
	url, asked := serve(t, "plain")
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client goes
		<-r.Context().Done()
	}))
	defer silent.Close()
	defer silent.CloseClientConnections()
	s, _ := servers(t, Config{Name: "a", URL: url}, Config{Name: "b", URL: silent.URL})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.list[0].list(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n > 6 { // the handshake, and the list
		t.Errorf("it was asked %d times", n)
	}
	began := time.Now()
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if list, err := s.List(soon, nil); err != nil || len(list) > 1 {
		t.Errorf("%+v, %v", list, err)
	}
	s.Close(t.Context())
	if _, err := s.Call(t.Context(), nil, "b_x", nil); err == nil || time.Since(began) > askTimeout {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

// Nothing is left of connections that were closed.
func TestNothingIsLeft(t *testing.T) {
	url, _ := serve(t, "plain")
	before := runtime.NumGoroutine()
	for range 5 {
		s, _ := servers(t, Config{Name: "a", URL: url})
		if _, err := s.Call(t.Context(), nil, "a_plain", nil); err != nil {
			t.Fatal(err)
		}
		s.Close(t.Context())
	}
	for until := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+5; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// What comes back may be of any kind.
func TestTextOf(t *testing.T) {
	for want, res := range map[string]*sdkmcp.CallToolResult{
		"":        {},
		`{"a":1}`: {StructuredContent: map[string]int{"a": 1}},
		"x\n(an image, image/png, 2 bytes)\n(a sound, audio/ogg, 1 bytes)\n(a link to http://y)\n(file:z)\nin it": {Content: []sdkmcp.Content{
			&sdkmcp.TextContent{Text: "x"}, &sdkmcp.ImageContent{MIMEType: "image/png", Data: []byte("12")}, &sdkmcp.AudioContent{MIMEType: "audio/ogg", Data: []byte("1")},
			&sdkmcp.ResourceLink{URI: "http://y"}, &sdkmcp.EmbeddedResource{Resource: &sdkmcp.ResourceContents{URI: "file:z", Text: "in it"}},
		}},
	} {
		if got := textOf(res); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
