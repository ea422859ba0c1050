package services

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// web is a server with an origin that is granted, and one that is not.
type web struct {
	*world
	s              *Service
	server, second *httptest.Server
	mux, mux2      *http.ServeMux
}

func newWeb(t *testing.T, origins ...string) *web {
	t.Helper()
	w := &web{world: newWorld(t), mux: http.NewServeMux(), mux2: http.NewServeMux()}
	w.server, w.second = httptest.NewServer(w.mux), httptest.NewServer(w.mux2)
	t.Cleanup(w.server.Close)
	t.Cleanup(w.second.Close)
	w.s = w.plugin(t, pluginv1.Grant{Name: "http", Origins: append(origins, w.server.URL)})
	return w
}

func (w *web) fetch(t *testing.T, in *pluginv1.HTTPFetchRequest) (*pluginv1.HTTPFetchResponse, error) {
	t.Helper()
	if strings.HasPrefix(in.URL, "/") {
		in.URL = w.server.URL + in.URL
	}
	return w.s.HTTPFetch(t.Context(), in)
}

func header(pairs []pluginv1.Pair, name string) (values []string) {
	for _, p := range pairs {
		if p.Name == name {
			values = append(values, p.Value)
		}
	}
	return values
}

func TestFetch(t *testing.T) {
	w := newWeb(t)
	w.mux.HandleFunc("/echo", func(out http.ResponseWriter, in *http.Request) {
		body, _ := io.ReadAll(in.Body)
		out.Header()["X-Two"] = []string{"1", "2"}
		out.WriteHeader(418)
		fmt.Fprintf(out, "%s %s %s %s|%s", in.Method, in.URL.RequestURI(), body, in.Header.Get("X-Mine"), in.UserAgent())
	})
	out, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/echo?q=1#part", Method: "PUT", Body: []byte("body"), Headers: []pluginv1.Pair{{Name: "x-mine", Value: "yes"}}})
	if err != nil || out.Status != 418 || string(out.Body) != "PUT /echo?q=1 body yes|patchbay-plugin (tester 1.0)" {
		t.Fatalf("got %+v, %v", out, err)
	}
	if got := header(out.Headers, "x-two"); len(got) != 2 || got[0] != "1" || got[1] != "2" {
		t.Errorf("headers %v", out.Headers)
	}
	if out, err = w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/nothing"}); err != nil || out.Status != 404 {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestFetchRefusesRequests(t *testing.T) {
	w := newWeb(t, "https://*.example.com", "http://[::1]:8080")
	head := func(name, value string) *pluginv1.HTTPFetchRequest {
		return &pluginv1.HTTPFetchRequest{URL: "/", Headers: []pluginv1.Pair{{Name: name, Value: value}}}
	}
	for _, c := range []struct {
		request *pluginv1.HTTPFetchRequest
		code    pluginv1.HostErrorCode
		says    string
	}{
		{&pluginv1.HTTPFetchRequest{URL: w.second.URL}, pluginv1.HostErrorCodeDenied, `grants: [{http: ["` + w.second.URL + `"]}]`},
		{&pluginv1.HTTPFetchRequest{URL: "https://example.com/"}, pluginv1.HostErrorCodeDenied, `["https://example.com"]`},
		{&pluginv1.HTTPFetchRequest{URL: "http://a.example.com/"}, pluginv1.HostErrorCodeDenied, `"http://a.example.com"`},
		{&pluginv1.HTTPFetchRequest{URL: "https://a.example.com:444/"}, pluginv1.HostErrorCodeDenied, `"https://a.example.com:444"`},
		{&pluginv1.HTTPFetchRequest{URL: "https://badexample.com/"}, pluginv1.HostErrorCodeDenied, `"https://badexample.com"`},
		{&pluginv1.HTTPFetchRequest{URL: "ftp://example.com/"}, pluginv1.HostErrorCodeInvalid, "only http and https"},
		{&pluginv1.HTTPFetchRequest{URL: "/relative%zz"}, pluginv1.HostErrorCodeInvalid, "url"},
		{&pluginv1.HTTPFetchRequest{URL: "file:///etc/passwd"}, pluginv1.HostErrorCodeInvalid, "only http and https"},
		{&pluginv1.HTTPFetchRequest{URL: "http://"}, pluginv1.HostErrorCodeInvalid, "host is missing"},
		{&pluginv1.HTTPFetchRequest{URL: "http://user:pw@" + strings.TrimPrefix(w.server.URL, "http://")}, pluginv1.HostErrorCodeInvalid, "Authorization"},
		{&pluginv1.HTTPFetchRequest{URL: "https://bücher.example.com"}, pluginv1.HostErrorCodeInvalid, "xn--"},
		{&pluginv1.HTTPFetchRequest{URL: "/", Method: "CONNECT"}, pluginv1.HostErrorCodeInvalid, "method"},
		{&pluginv1.HTTPFetchRequest{URL: "/", Method: "get"}, pluginv1.HostErrorCodeInvalid, "method"},
		{&pluginv1.HTTPFetchRequest{URL: "/", Method: "GET /x"}, pluginv1.HostErrorCodeInvalid, "method"},
		{&pluginv1.HTTPFetchRequest{URL: "/", TimeoutMs: 60_001}, pluginv1.HostErrorCodeInvalid, "timeout_ms"},
		{&pluginv1.HTTPFetchRequest{URL: "/", MaxResponseBytes: 16<<20 + 1}, pluginv1.HostErrorCodeInvalid, "max_response_bytes"},
		{&pluginv1.HTTPFetchRequest{URL: "/", Body: make([]byte, 1<<20+1)}, pluginv1.HostErrorCodeTooLarge, "1048577"},
		{&pluginv1.HTTPFetchRequest{URL: "/", Headers: make([]pluginv1.Pair, 1025)}, pluginv1.HostErrorCodeTooLarge, "1025"},
		{head("Host", "x"), pluginv1.HostErrorCodeInvalid, "Host"}, {head("content-length", "1"), pluginv1.HostErrorCodeInvalid, "Content-Length"},
		{head("connection", "close"), pluginv1.HostErrorCodeInvalid, "Connection"}, {head("TRANSFER-ENCODING", "chunked"), pluginv1.HostErrorCodeInvalid, "Transfer-Encoding"},
		{head("Upgrade", "websocket"), pluginv1.HostErrorCodeInvalid, "Upgrade"}, {head("Proxy-Authorization", "x"), pluginv1.HostErrorCodeInvalid, "Proxy-Authorization"},
		{head("Accept-Encoding", "br"), pluginv1.HostErrorCodeInvalid, "Accept-Encoding"}, {head("X", "a\r\nHost: b"), pluginv1.HostErrorCodeInvalid, "control character"},
		{head("a b", ""), pluginv1.HostErrorCodeInvalid, "name of a header"}, {head("", ""), pluginv1.HostErrorCodeInvalid, "name of a header"},
		{head("X", strings.Repeat("x", 65<<10)), pluginv1.HostErrorCodeTooLarge, "headers"},
	} {
		_, err := w.fetch(t, c.request)
		wantCode(t, err, c.code, c.says)
	}
}

func TestFetchFollowsRedirectsWithinTheGrant(t *testing.T) {
	w := newWeb(t)
	var got http.Header
	note := func(out http.ResponseWriter, in *http.Request) { got = in.Header }
	w.mux.HandleFunc("/end", note)
	w.mux2.HandleFunc("/end", note)
	to := func(path string, status int) http.HandlerFunc {
		return func(out http.ResponseWriter, in *http.Request) { http.Redirect(out, in, path, status) }
	}
	w.mux.HandleFunc("/same", to("/end", 302))
	w.mux.HandleFunc("/other", to(w.second.URL+"/end", 307))
	w.mux2.HandleFunc("/back", to(w.server.URL+"/end", 302))
	w.mux.HandleFunc("/there-and-back", to(w.second.URL+"/back", 302))
	w.mux.HandleFunc("/loop", to("/loop", 302))
	w.mux.HandleFunc("/private", to("http://169.254.169.254/latest/meta-data/", 302))
	w.mux.HandleFunc("/file", to("file:///etc/passwd", 302))
	w.mux.HandleFunc("/user", to(strings.Replace(w.server.URL, "://", "://u:p@", 1)+"/end", 302))
	secrets := []pluginv1.Pair{{Name: "Authorization", Value: "Bearer x"}, {Name: "Cookie", Value: "a=b"}, {Name: "X-Api-Key", Value: "k"}, {Name: "Accept", Value: "text/plain"}}

	if out, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/same", Headers: secrets}); err != nil || out.Status != 200 || got.Get("X-Api-Key") != "k" || got.Get("Authorization") == "" {
		t.Errorf("to the same origin: %+v, %v, headers %v", out, err, got)
	}
	out, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/other", NoRedirects: true})
	if err != nil || out.Status != 307 || header(out.Headers, "location")[0] != w.second.URL+"/end" {
		t.Errorf("not followed: %+v, %v", out, err)
	}
	for path, says := range map[string]string{"/other": w.second.URL, "/private": "http://169.254.169.254", "/there-and-back": w.second.URL} {
		_, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: path})
		wantCode(t, err, pluginv1.HostErrorCodeDenied, says)
	}
	_, err = w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/file"})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, "only http and https")
	_, err = w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/loop"})
	wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "more than 5 redirects")
	if _, err = w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/user"}); err != nil || got.Get("Authorization") != "" {
		t.Errorf("credentials of a redirect were sent: %v, %v", got, err)
	}

	if err := w.s.p.SetGrants(Config{Grants: []pluginv1.Grant{{Name: "http", Origins: []string{w.server.URL, w.second.URL}}}}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/other", "/there-and-back"} {
		got = nil
		if out, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: path + "?key=secret", Headers: secrets}); err != nil || out.Status != 200 {
			t.Fatalf("%s: %+v, %v", path, out, err)
		}
		for name := range got {
			switch name {
			case "Accept", "User-Agent", "Accept-Encoding":
			default:
				t.Errorf("%s: %s: %s came along", path, name, got.Get(name))
			}
		}
	}
}

func TestFetchBoundsResponses(t *testing.T) {
	w := newWeb(t)
	w.mux.HandleFunc("/big", func(out http.ResponseWriter, in *http.Request) { _, _ = out.Write(make([]byte, 3000)) })
	w.mux.HandleFunc("/bomb", func(out http.ResponseWriter, in *http.Request) {
		out.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(out)
		for range 1000 {
			if _, err := z.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	w.mux.HandleFunc("/zipped", func(out http.ResponseWriter, in *http.Request) {
		out.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(out)
		_, _ = z.Write(bytes.Repeat([]byte("x"), 2000))
		_ = z.Close()
	})
	w.mux.HandleFunc("/headers", func(out http.ResponseWriter, in *http.Request) {
		for i := range 1025 {
			out.Header().Add("X", fmt.Sprint(i))
		}
	})
	w.mux.HandleFunc("/long", func(out http.ResponseWriter, in *http.Request) {
		out.Header().Set("X", strings.Repeat("x", maxHeaderBytes+10))
	})
	if out, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/big", MaxResponseBytes: 3000}); err != nil || len(out.Body) != 3000 {
		t.Errorf("exactly: %v", err)
	}
	if out, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/zipped"}); err != nil || len(out.Body) != 2000 {
		t.Errorf("zipped: %v", err)
	}
	for path, most := range map[string]uint32{"/big": 2999, "/bomb": 16 << 20, "/zipped": 1999, "/headers": 0} {
		_, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: path, MaxResponseBytes: most})
		wantCode(t, err, pluginv1.HostErrorCodeTooLarge, "")
	}
	_, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/long"})
	wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "header")
}

func TestFetchBoundsTime(t *testing.T) {
	w := newWeb(t)
	release, entered := make(chan struct{}), make(chan struct{}, 100)
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	t.Cleanup(func() { close(release) })
	w.mux.HandleFunc("/slow", func(out http.ResponseWriter, in *http.Request) {
		entered <- struct{}{}
		select {
		case <-release:
		case <-in.Context().Done():
		}
	})
	w.mux.HandleFunc("/drip", func(out http.ResponseWriter, in *http.Request) {
		for in.Context().Err() == nil {
			_, _ = out.Write([]byte("x"))
			out.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
	})
	for _, path := range []string{"/slow", "/drip"} {
		begin := time.Now()
		_, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: path, TimeoutMs: 50})
		wantCode(t, err, pluginv1.HostErrorCodeTimeout, "too long")
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("%s took %s", path, d)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	for range maxFetches {
		all.Go(func() { _, _ = w.s.HTTPFetch(ctx, &pluginv1.HTTPFetchRequest{URL: w.server.URL + "/slow"}) })
	}
	for range maxFetches + 1 { // and the one that took too long
		<-entered
	}
	_, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "/slow"})
	wantCode(t, err, pluginv1.HostErrorCodeLimit, "64 HTTP requests")
	cancel()
	all.Wait()
	all.Go(func() {
		_, err := w.s.HTTPFetch(context.Background(), &pluginv1.HTTPFetchRequest{URL: w.server.URL + "/slow"})
		wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "ended")
	})
	<-entered
	w.s.Close()
	all.Wait()
}

func TestFetchResolvesWithCare(t *testing.T) {
	w := newWeb(t)
	w.mux.HandleFunc("/", func(out http.ResponseWriter, in *http.Request) { fmt.Fprint(out, in.Host) })
	u, _ := url.Parse(w.server.URL)
	dotted, plain, local := "http://rebind.example.com:"+u.Port(), "http://intern:"+u.Port(), "http://localhost:"+u.Port()
	var addrs []netip.Addr
	w.fetcher.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "unknown" {
			return nil, errors.New("no such host")
		}
		return addrs, nil
	}
	err := w.s.p.SetGrants(Config{Grants: []pluginv1.Grant{{Name: "http", Origins: []string{dotted, plain, local, "http://unknown", "http://127.1:" + u.Port()}}}})
	if err != nil {
		t.Fatal(err)
	}
	ip := func(list ...string) {
		addrs = nil
		for _, s := range list {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
	}
	ip("127.0.0.1")
	for _, origin := range []string{plain, local, strings.Replace(local, "localhost", "LOCALHOST.", 1)} {
		if out, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: origin + "/"}); err != nil || out.Status != 200 {
			t.Errorf("%s: %v", origin, err)
		}
	}
	for _, origin := range []string{dotted, "http://127.1:" + u.Port()} {
		for _, a := range []string{"127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254"} {
			ip(a)
			_, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: origin + "/"})
			wantCode(t, err, pluginv1.HostErrorCodeDenied, "leads to "+netip.MustParseAddr(a).Unmap().String())
		}
	}
	ip("169.254.169.254", "127.0.0.1") // what is not allowed is passed over
	if _, err := w.fetch(t, &pluginv1.HTTPFetchRequest{URL: plain + "/"}); err != nil {
		t.Error(err)
	}
	w.fetcher.transport.CloseIdleConnections()
	ip("10.0.0.1")
	_, err = w.fetch(t, &pluginv1.HTTPFetchRequest{URL: local + "/"})
	wantCode(t, err, pluginv1.HostErrorCodeDenied, "private")
	ip()
	_, err = w.fetch(t, &pluginv1.HTTPFetchRequest{URL: dotted + "/"})
	wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "has no address")
	_, err = w.fetch(t, &pluginv1.HTTPFetchRequest{URL: "http://unknown/"})
	wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "no such host")
	if w.s.p.Refused()["http"] != 13 {
		t.Errorf("counted %v", w.s.p.Refused())
	}
}

// Whatever a resolver says: the address of the connection itself is looked at.
func TestTheConnectionIsChecked(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var address *addressError
	if _, err := dialOne(t.Context(), "example.com", "tcp", l.Addr().String(), 1); !errors.As(err, &address) {
		t.Errorf("got %v", err)
	}
	if c, err := dialOne(t.Context(), "localhost", "tcp", l.Addr().String(), 2); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

func TestFetchUsesTLSAndNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) { fmt.Fprint(out, in.Proto) }))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	grant := pluginv1.Grant{Name: "http", Origins: []string{server.URL}}
	in := &pluginv1.HTTPFetchRequest{URL: server.URL}
	_, err := newWorld(t).plugin(t, grant).HTTPFetch(t.Context(), in)
	wantCode(t, err, pluginv1.HostErrorCodeUnavailable, "certificate")
	w := newWorld(t)
	s := w.plugin(t, grant)
	w.fetcher.transport.TLSClientConfig = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if out, err := s.HTTPFetch(t.Context(), in); err != nil || string(out.Body) != "HTTP/2.0" {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestCheckAddress(t *testing.T) {
	for _, c := range []struct {
		host, addr string
		ok         bool
	}{
		{"example.com", "93.184.216.34", true}, {"example.com", "2606:2800:220:1::1", true}, {"example.com", "64:ff9b::5db8:d822", true},
		{"example.com", "2002:5db8:d822::1", true}, {"8.8.8.8", "8.8.8.8", true},
		{"example.com", "0.0.0.0", false}, {"example.com", "0.1.2.3", false}, {"example.com", "10.1.2.3", false}, {"example.com", "100.64.0.1", false},
		{"example.com", "127.8.8.8", false}, {"example.com", "169.254.169.254", false}, {"example.com", "172.31.0.1", false},
		{"example.com", "192.0.0.1", false}, {"example.com", "192.0.2.1", false}, {"example.com", "192.168.0.1", false},
		{"example.com", "198.18.0.1", false}, {"example.com", "224.0.0.1", false}, {"example.com", "255.255.255.255", false},
		{"example.com", "::", false}, {"example.com", "::1", false}, {"example.com", "fe80::1", false}, {"example.com", "fd00::1", false},
		{"example.com", "fec0::1", false}, {"example.com", "ff02::1", false}, {"example.com", "::ffff:10.0.0.1", false},
		{"example.com", "::10.0.0.1", false}, {"example.com", "::ffff:0:10.0.0.1", false}, {"example.com", "64:ff9b::a00:1", false},
		{"example.com", "64:ff9b:1::a00:1", false}, {"example.com", "2002:a00:1::1", false}, {"example.com", "2001::1", false},
		{"example.com", "2001:db8::1", false}, {"example.com", "3fff::1", false}, {"example.com", "100::1", false}, {"example.com", "5f00::1", false},
		{"10.1.2.3", "10.1.2.3", true}, {"10.1.2.3", "10.1.2.4", false}, {"169.254.1.1", "169.254.1.1", true}, {"::1", "::1", true},
		{"fd00::1", "fd00::1", true}, {"fd00::1", "fd00::2", false}, {"0.0.0.0", "0.0.0.0", false}, {"::", "::", false}, {"224.0.0.1", "224.0.0.1", false},
		{"localhost", "127.0.0.1", true}, {"localhost", "::1", true}, {"localhost", "10.0.0.1", false}, {"localhost", "93.184.216.34", true},
		{"redis", "10.0.0.1", true}, {"redis", "127.0.0.1", true}, {"redis", "100.64.0.1", true}, {"redis", "fd00::1", true},
		{"redis", "169.254.169.254", false}, {"redis", "fe80::1", false}, {"redis", "0.0.0.0", false}, {"redis", "64:ff9b::a00:1", false},
		{"a.localhost", "127.0.0.1", false}, {"a.internal", "10.0.0.1", false},
	} {
		if err := checkAddress(c.host, netip.MustParseAddr(c.addr)); (err == nil) != c.ok {
			t.Errorf("%s at %s: %v", c.host, c.addr, err)
		}
	}
	if checkAddress("example.com", netip.Addr{}) == nil {
		t.Error("no address at all")
	}
}

func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://api.example.com", "http://10.0.0.5:8080", "https://*.example.com:444", "http://[::1]", "HTTP://A.B.", "http://a@b", "https://*.*.x"} {
		f.Add(s, "https://x.example.com:444/path?q#f")
	}
	f.Fuzz(func(t *testing.T, s, target string) {
		o, err := parseOrigin(s)
		if err != nil {
			return
		}
		again, err := parseOrigin(o.String())
		if err != nil || again != o {
			t.Fatalf("%q is %+v, written %q, read again %+v, %v", s, o, o, again, err)
		}
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		of, err := originOf(u)
		if err != nil || !o.covers(of) {
			return
		}
		// Whatever is covered is what the grant says, letter by letter.
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		if a, err := netip.ParseAddr(host); err == nil {
			host = a.String()
		}
		if o.below && !strings.HasSuffix(host, "."+o.host) || !o.below && host != o.host || !strings.EqualFold(u.Scheme, o.scheme) {
			t.Fatalf("%q covers %q", s, target)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1}, "example.com")
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}, "localhost")
	f.Fuzz(func(t *testing.T, b []byte, host string) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || checkAddress(host, a) != nil {
			return
		}
		v := a.Unmap()
		private := v.IsPrivate() || v.IsLoopback() || v.IsLinkLocalUnicast()
		named := host == v.String() || host == "localhost" || !strings.ContainsAny(host, ".:")
		if v.IsMulticast() || v.IsUnspecified() || private && !named {
			t.Fatalf("%q may lead to %s", host, a)
		}
	})
}
