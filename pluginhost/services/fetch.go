package services

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Limits of HTTPFetch.
const (
	maxFetches          = 64 // at once, for each plugin
	maxFetchBody        = 1 << 20
	maxFetchResponse    = 16 << 20
	defaultFetchBytes   = 1 << 20
	maxFetchTime        = 60 * time.Second
	defaultFetchTime    = 10 * time.Second
	maxRedirects        = 5
	maxResponseHeaders  = 1024
	maxHeaderBytes      = 256 << 10
	maxRequestHeaderLen = 64 << 10
)

// HTTPFetch implements v1host.Service.
func (s *Service) HTTPFetch(ctx context.Context, in *pluginv1.HTTPFetchRequest) (*pluginv1.HTTPFetchResponse, error) {
	return serve(s, pluginv1.HostOpHTTPFetch, func() (*pluginv1.HTTPFetchResponse, error) {
		select {
		case s.p.fetching <- struct{}{}:
			defer func() { <-s.p.fetching }()
		default:
			return nil, fail(pluginv1.HostErrorCodeLimit, "%d HTTP requests are under way already", maxFetches)
		}
		timeout := cmp.Or(time.Duration(in.TimeoutMs)*time.Millisecond, defaultFetchTime)
		if timeout > maxFetchTime {
			return nil, invalid("timeout_ms %d: at most %d", in.TimeoutMs, maxFetchTime.Milliseconds())
		}
		ctx, cancel := s.waiting(ctx)
		defer cancel()
		ctx, cancelTimeout := context.WithTimeout(ctx, timeout)
		defer cancelTimeout()
		out, err := s.fetch(ctx, in)
		return out, s.fetchError(ctx, err)
	})
}

// fetchError tells apart what went wrong.
func (s *Service) fetchError(ctx context.Context, err error) error {
	var address *addressError
	var host *pluginv1.HostError
	switch {
	case err == nil || errors.As(err, &host):
		return err
	case errors.As(err, &address):
		return s.p.refuse(refusal{
			grant: grantHTTP, scope: scopeAddress, of: address.Error(),
			because: "an address that is not public has to be named itself, or by localhost or a name without a dot",
		})
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fail(pluginv1.HostErrorCodeUnavailable, "%v", err)
}

func (s *Service) fetch(ctx context.Context, in *pluginv1.HTTPFetchRequest) (*pluginv1.HTTPFetchResponse, error) {
	most := cmp.Or(in.MaxResponseBytes, defaultFetchBytes)
	if most > maxFetchResponse {
		return nil, invalid("max_response_bytes %d: at most %d", most, maxFetchResponse)
	}
	request, err := s.newRequest(ctx, in)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: s.p.s.fetcher.transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if in.NoRedirects {
			return http.ErrUseLastResponse
		}
		return s.redirect(next, via)
	}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return nil, fail(pluginv1.HostErrorCodeUnavailable, "the server has switched to another protocol, unasked")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(most)+1))
	if err != nil {
		return nil, err
	}
	if len(body) > int(most) {
		return nil, fail(pluginv1.HostErrorCodeTooLarge, "the response is larger than %d bytes", most)
	}
	headers, err := responseHeaders(response.Header)
	if err != nil {
		return nil, err
	}
	return &pluginv1.HTTPFetchResponse{Status: uint32(response.StatusCode), Headers: headers, Body: body}, nil
}

// newRequest checks what a plugin asks for, its origin too.
func (s *Service) newRequest(ctx context.Context, in *pluginv1.HTTPFetchRequest) (*http.Request, error) {
	u, err := url.Parse(in.URL)
	if err != nil {
		return nil, invalid("url: %v", err)
	}
	if u.User != nil {
		return nil, invalid("url: name and password do not belong there; set the header Authorization")
	}
	if err := s.settle(u); err != nil {
		return nil, err
	}
	method := cmp.Or(in.Method, http.MethodGet)
	if !isToken(method) || strings.ToUpper(method) != method || method == http.MethodConnect || method == http.MethodTrace {
		return nil, invalid("method %s is not possible", quote(in.Method))
	}
	if len(in.Body) > maxFetchBody {
		return nil, fail(pluginv1.HostErrorCodeTooLarge, "the body has %d bytes, and %d are allowed", len(in.Body), maxFetchBody)
	}
	var body io.Reader
	if len(in.Body) > 0 {
		// A copy: the transport may still write it when the call has ended.
		body = bytes.NewReader(bytes.Clone(in.Body))
	}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if request.Header, err = requestHeaders(in.Headers); err != nil {
		return nil, err
	}
	if _, ok := request.Header["User-Agent"]; !ok {
		request.Header.Set("User-Agent", fmt.Sprintf("patchbay-plugin (%s %s)", s.p.name, printable(s.p.given.Load().version)))
	}
	return request, nil
}

// settle checks the origin of a URL, and writes it in the one form that was checked.
func (s *Service) settle(u *url.URL) error {
	o, err := originOf(u)
	if err != nil {
		return invalid("url: %v", err)
	}
	if err := s.p.mayFetch(o); err != nil {
		return err
	}
	u.Scheme, u.Host = o.scheme, strings.TrimPrefix(o.String(), o.scheme+"://")
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	return nil
}

// carriedOver are the headers that go along to another origin: none that could be a secret.
var carriedOver = []string{"Accept", "Accept-Language", "Content-Type", "User-Agent"}

// redirect checks the next request as the first one was.
func (s *Service) redirect(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fail(pluginv1.HostErrorCodeUnavailable, "more than %d redirects", maxRedirects)
	}
	if err := s.settle(next.URL); err != nil {
		return err
	}
	next.Host = ""
	first := via[0].URL
	foreign := func(u *url.URL) bool { return u.Scheme != first.Scheme || u.Host != first.Host }
	if foreign(next.URL) || slices.ContainsFunc(via, func(r *http.Request) bool { return foreign(r.URL) }) {
		for name := range next.Header {
			if !slices.Contains(carriedOver, name) {
				delete(next.Header, name) // Referer too: its URL may hold a secret
			}
		}
	}
	return nil
}

// ours are the headers that the host sets, or that concern the connection only.
var ours = map[string]bool{
	"Host": true, "Content-Length": true, "Connection": true, "Keep-Alive": true, "Proxy-Connection": true,
	"Proxy-Authenticate": true, "Proxy-Authorization": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "Expect": true, "Accept-Encoding": true, "Http2-Settings": true,
}

func requestHeaders(pairs []pluginv1.Pair) (http.Header, error) {
	if err := limit("headers", len(pairs), maxElements); err != nil {
		return nil, err
	}
	h, size := http.Header{}, 0
	for i := range pairs {
		name, value := http.CanonicalHeaderKey(pairs[i].Name), pairs[i].Value
		switch size += len(name) + len(value); {
		case !isToken(name):
			return nil, invalid("header %s: that is no name of a header", quote(pairs[i].Name))
		case ours[name]:
			return nil, invalid("header %s: the host sets it, or it is about the connection", name)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }):
			return nil, invalid("header %s: a control character in the value", name)
		case size > maxRequestHeaderLen:
			return nil, fail(pluginv1.HostErrorCodeTooLarge, "the headers are longer than %d bytes", maxRequestHeaderLen)
		}
		h.Add(name, strings.Clone(value))
	}
	return h, nil
}

func responseHeaders(h http.Header) ([]pluginv1.Pair, error) {
	var out []pluginv1.Pair
	for name, values := range h {
		for _, v := range values {
			out = append(out, pluginv1.Pair{Name: strings.ToLower(name), Value: strings.ToValidUTF8(v, "\uFFFD")})
		}
	}
	if len(out) > maxResponseHeaders {
		return nil, fail(pluginv1.HostErrorCodeTooLarge, "the response has more than %d headers", maxResponseHeaders)
	}
	// Values of one name stay in their order.
	slices.SortStableFunc(out, func(a, b pluginv1.Pair) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// isToken reports whether s is a token of RFC 9110.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// printable leaves out what is not printable ASCII.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}
