package admin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

func urlOf(s *Server, path string) string { return "http://" + s.Addr().String() + path }

func TestProbes(t *testing.T) {
	b, _ := newBroker(t)
	running, shutdown := context.WithCancel(t.Context())
	var trouble error
	s, err := Start(running, Options{
		Broker: b, Config: config.Admin{Listen: "127.0.0.1:0", Socket: "off"},
		Ready: func() error { return trouble },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeServer(t, s)
	check := func(path string, status int, want string) {
		t.Helper()
		if r, text := fetch(t, http.DefaultClient, urlOf(s, path), nil); r.StatusCode != status || text != want {
			t.Errorf("%s: %d %q, want %d %q", path, r.StatusCode, text, status, want)
		}
	}
	check("/healthz", 200, "ok\n")
	check("/readyz", 200, "ready\n")
	trouble = errors.New("the store is being recovered")
	check("/healthz", 200, "ok\n")
	check("/readyz", 503, "not ready: the store is being recovered\n")
	trouble = nil
	shutdown()
	check("/readyz", 503, "not ready: shutting down\n")
	check("/healthz", 200, "ok\n")
}

func TestToken(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, func(o *Options) {
		o.Config.Token = "open sesame"
		o.Ready = func() error { return errors.New("secret reason") }
	})
	s.Handle("/plugin/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("mounted")) }))
	for _, c := range []struct {
		path, authorization string
		status              int
		text                string
	}{
		{"/healthz", "", 200, "ok\n"},
		{"/readyz", "", 503, "not ready\n"},
		{"/readyz", "Bearer open sesame", 503, "not ready: secret reason\n"},
		{"/metrics", "", 401, "a token is needed"},
		{"/metrics", "Bearer", 401, "a token is needed"},
		{"/metrics", "Bearer open", 401, "a token is needed"},
		{"/metrics", "Bearer open sesame!", 401, "a token is needed"},
		{"/metrics", "Basic open sesame", 401, "a token is needed"},
		{"/metrics", "open sesame", 401, "a token is needed"},
		{"/metrics", "Bearer open sesame", 200, "patchbay_connections"},
		{"/metrics", "bearer  open sesame", 200, "patchbay_connections"},
		{"/plugin/x", "", 401, "a token is needed"},
		{"/plugin/x", "Bearer open sesame", 200, "mounted"},
		{"/nowhere", "", 401, "a token is needed"},
		{"/nowhere", "Bearer open sesame", 404, ""},
		{"/debug/pprof/heap", "", 401, ""},
		{"/debug/pprof/heap", "Bearer open sesame", 404, ""},
		{"/v1/status", "Bearer open sesame", 404, ""},
	} {
		r, text := fetch(t, http.DefaultClient, urlOf(s, c.path), func(r *http.Request) {
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			r.Host = "patchbay.example"
		})
		if r.StatusCode != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s with %q: %d %.80q, want %d %q", c.path, c.authorization, r.StatusCode, text, c.status, c.text)
		}
		if challenge := r.Header.Get("WWW-Authenticate"); (challenge != "") != (c.status == 401) || challenge != "" && challenge != `Bearer realm="patchbay"` {
			t.Errorf("%s: WWW-Authenticate is %q", c.path, challenge)
		}
	}
}

// Without a token only the address protects the listener, and a web page could
// use its visitor's browser to get past that.
func TestNamesOfLoopback(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, nil)
	for host, status := range map[string]int{
		"127.0.0.1:18083": 200, "localhost": 200, "LOCALHOST:1": 200, "[::1]:18083": 200, "[::1]": 200,
		"evil.example": 421, "evil.example:18083": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
	} {
		r, _ := fetch(t, http.DefaultClient, urlOf(s, "/metrics"), func(r *http.Request) { r.Host = host })
		if r.StatusCode != status {
			t.Errorf("Host %s: %d, want %d", host, r.StatusCode, status)
		}
	}
}

func TestProfiles(t *testing.T) {
	b, _ := newBroker(t)
	off := start(t, b, nil)
	on := start(t, b, func(o *Options) { o.Config.PProf = true })
	for path, want := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/heap?debug=1": "heap profile", "/debug/pprof/cmdline": "test"} {
		if r, _ := fetch(t, http.DefaultClient, urlOf(off, path), nil); r.StatusCode != 404 {
			t.Errorf("%s while off: %d", path, r.StatusCode)
		}
		if r, text := fetch(t, http.DefaultClient, urlOf(on, path), nil); r.StatusCode != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.80q", path, r.StatusCode, text)
		}
	}
}

func TestLargeHeaderIsRefused(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, nil)
	r, _ := fetch(t, http.DefaultClient, urlOf(s, "/healthz"), func(r *http.Request) { r.Header.Set("X-Large", strings.Repeat("x", 64<<10)) })
	if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", r.StatusCode)
	}
}

func TestStartRefuses(t *testing.T) {
	b, _ := newBroker(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := dataDir(t)
	notPEM := dir + "/not.pem"
	if err := os.WriteFile(notPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := newCA(t).files(t, dir, "server")
	for name, c := range map[string]struct {
		admin config.Admin
		want  string
		is    error
	}{
		"port taken":       {config.Admin{Listen: taken.Addr().String()}, "admin.listen: " + taken.Addr().String() + ": address already in use", syscall.EADDRINUSE},
		"all addresses":    {config.Admin{Listen: ":0"}, "admin.listen: :0 is not loopback: set admin.token", nil},
		"all IPv4":         {config.Admin{Listen: "0.0.0.0:0"}, "admin.listen: 0.0.0.0:0 is not loopback", nil},
		"another address":  {config.Admin{Listen: "192.0.2.1:0"}, "admin.listen: 192.0.2.1:0 is not loopback", nil},
		"no port":          {config.Admin{Listen: "127.0.0.1"}, "admin.listen: ", nil},
		"client_ca only":   {config.Admin{Listen: ":0", ClientCA: cert}, "admin.client_ca: needs admin.cert", nil},
		"no such cert":     {config.Admin{Listen: "127.0.0.1:0", Cert: dir + "/none", Key: key}, "admin.cert: " + dir + "/none", os.ErrNotExist},
		"CA not PEM":       {config.Admin{Listen: "127.0.0.1:0", Cert: cert, Key: key, ClientCA: notPEM}, "admin.client_ca: " + notPEM, nil},
		"no such CA":       {config.Admin{Listen: "127.0.0.1:0", Cert: cert, Key: key, ClientCA: dir + "/none"}, "admin.client_ca: ", os.ErrNotExist},
		"socket not ours":  {config.Admin{Listen: "127.0.0.1:0", Socket: notPEM}, "admin.socket: " + notPEM + ": is there and not a socket", nil},
		"socket too long":  {config.Admin{Listen: "off", Socket: dir + "/" + strings.Repeat("x", 120)}, "too long for a unix socket", nil},
		"socket in a file": {config.Admin{Listen: "off", Socket: notPEM + "/admin.sock"}, "admin.socket: ", syscall.ENOTDIR},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Start(t.Context(), Options{Broker: b, Config: c.admin, DataDir: dir})
			if err == nil {
				closeServer(t, s)
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %s", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
		})
	}
}

func TestOff(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, func(o *Options) { o.Config.Listen, o.Config.Socket = "off", "off" })
	if s.Addr() != nil || s.Socket() != "" {
		t.Errorf("listens on %v and %q", s.Addr(), s.Socket())
	}
	if files, _ := os.ReadDir(s.opts.DataDir); len(files) != 0 {
		t.Errorf("made %v", files)
	}
}

func TestClose(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, nil)
	at := s.Addr().String()
	entered, leave := make(chan struct{}), make(chan struct{})
	s.Handle("/slow", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-leave
	}))
	go func() {
		if r, err := http.Get("http://" + at + "/slow"); err == nil {
			r.Body.Close()
		}
	}()
	<-entered
	// A request that does not end is cut off.
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(over); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	close(leave)
	if _, err := net.Dial("tcp", at); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("port after Close: %v", err)
	}
	if _, err := os.Lstat(s.Socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket after Close: %v", err)
	}
}
