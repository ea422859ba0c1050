package pluginhost

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func TestHTTP(t *testing.T) {
	h, _ := newTestHost(t)
	defer closeHost(t, h)
	inst := newFake(nil)
	var got *pluginv1.HTTPRequest
	answer := &pluginv1.HTTPResponse{}
	inst.http = func(in *pluginv1.HTTPRequest) *pluginv1.HTTPResponse { got = in; return answer }
	p := serve(t, h, "p", inst, false, &pluginv1.Manifest{HTTPRoutes: []pluginv1.HTTPRoute{
		{Path: ""}, {Path: "files/", Methods: []string{"GET", "POST"}}, {Path: "files/open", Public: true}, {Path: "open/", Public: true},
	}})
	do := func(method, target string, body io.Reader, change func(*http.Request)) *httptest.ResponseRecorder {
		t.Helper()
		got = nil
		r := httptest.NewRequest(method, target, body)
		if change != nil {
			change(r)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for target, want := range map[string]int{
		"/plugins/p/": 200, "/plugins/p/files/a/b": 200, "/plugins/p/files/": 200, "/plugins/p/files": 404, "/plugins/p": 404,
		"/plugins/q/": 404, "/plugins/p/nothing": 404, "/other": 404, "/plugins/p/open/../files/a": 404, "/plugins/p/open/./a": 404,
	} {
		if w := do("GET", target, nil, nil); w.Code != want {
			t.Errorf("GET %s: %d, want %d", target, w.Code, want)
		}
	}
	if w := do("POST", "/plugins/p/", nil, nil); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("%d, allowed %q", w.Code, w.Header().Get("Allow"))
	}
	do("POST", "/plugins/p/files/%ff?a=b", strings.NewReader("body"), func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer secret")
		r.Header.Set("Cookie", "secret")
		r.Header.Add("X-A", "1")
		r.Header.Add("X-A", "\xff")
		r.RemoteAddr = "@"
	})
	if got == nil || got.Path != "files/\uFFFD" || got.Query != "a=b" || string(got.Body) != "body" || got.RemoteAddress != "" || len(got.Headers) != 2 ||
		got.Headers[0] != (pluginv1.Pair{Name: "x-a", Value: "1"}) || got.Headers[1].Value != "\uFFFD" {
		t.Errorf("%+v", got)
	}
	if w := do("POST", "/plugins/p/files/a", io.LimitReader(zeros{}, maxHTTPBody+1), nil); w.Code != http.StatusRequestEntityTooLarge || got != nil {
		t.Errorf("a body that is too large: %d", w.Code)
	}
	if w := do("POST", "/plugins/p/files/a", io.MultiReader(strings.NewReader("a"), broken{}), nil); w.Code != http.StatusBadRequest || got != nil {
		t.Errorf("a body that breaks off: %d", w.Code)
	}
	if w := do("GET", "/plugins/p/", nil, func(r *http.Request) { r.Header["X-Many"] = make([]string, maxHTTPHeaders+1) }); w.Code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("too many headers: %d", w.Code)
	}

	answer = &pluginv1.HTTPResponse{Status: 201, Body: []byte("made"), Headers: []pluginv1.Pair{
		{Name: "content-length", Value: "9999"}, {Name: "Connection", Value: "close"}, {Name: "date", Value: "never"}, {Name: "x-b", Value: "c"},
	}}
	w := do("GET", "/plugins/p/", nil, nil)
	if w.Code != 201 || w.Body.String() != "made" || w.Header().Get("X-B") != "c" || w.Header().Get("X-Content-Type-Options") != "nosniff" ||
		!strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, name := range []string{"Content-Length", "Connection", "Date"} {
		if w.Header().Get(name) != "" {
			t.Errorf("%s is the plugin's", name)
		}
	}
	for _, bad := range []*pluginv1.HTTPResponse{{Status: 101}, {Status: 600}, {Body: make([]byte, maxHTTPAnswer+1)}} {
		answer = bad
		if w := do("GET", "/plugins/p/", nil, nil); w.Code != http.StatusBadGateway {
			t.Errorf("%d for an answer that cannot be", w.Code)
		}
	}

	for path, want := range map[string]bool{
		"/plugins/p/open/a": true, "/plugins/p/files/open": true, "/plugins/p/files/a": false, "/plugins/p/": false, "/plugins/q/open/": false,
		"/plugins/p/open/../files/a": false,
	} {
		if h.IsPublic(path) {
			t.Errorf("%s is public without the operator's word", path)
		}
		p.setSpec(&Spec{Name: "p", PublicRoutes: true})
		if h.IsPublic(path) != want {
			t.Errorf("%s is public: %v", path, !want)
		}
		p.setSpec(&Spec{Name: "p"})
	}
	p.over(p.gen.Load(), refusal{errors.New("told to")})
	if w := do("GET", "/plugins/p/", nil, nil); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d of a plugin that is down", w.Code)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }
