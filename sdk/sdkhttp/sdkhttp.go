// Package sdkhttp serves a plugin's HTTP routes with net/http, and makes HTTP requests
// through the broker with it. It is apart from package sdk because net/http makes a
// WebAssembly module several MB larger. Entry points: Serve and Transport.
package sdkhttp

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/patchbay-mq/patchbay/sdk"
)

// maxBody is the contract's limit of a response's body.
const maxBody = 16 << 20

// Serve has handler answer r, for a plugin's HTTP method:
//
//	func (p *plugin) HTTP(ctx context.Context, r *sdk.HTTPRequest) (*sdk.HTTPResponse, error) {
//		return sdkhttp.Serve(ctx, p.mux, r)
//	}
//
// Paths begin with "/", below the plugin's own prefix. Responses are sent whole, up to 16
// MiB; what is more is an error of Write. The operator, if known, is the user of the
// request's URL.
func Serve(ctx context.Context, handler http.Handler, r *sdk.HTTPRequest) (*sdk.HTTPResponse, error) {
	u := &url.URL{Path: "/" + r.Path, RawQuery: r.Query}
	if r.Operator != "" {
		u.User = url.User(r.Operator)
	}
	req := (&http.Request{
		Method: r.Method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(bytes.NewReader(r.Body)), ContentLength: int64(len(r.Body)), RemoteAddr: r.RemoteAddress,
		RequestURI: u.RequestURI(),
	}).WithContext(ctx)
	for _, h := range r.Headers {
		req.Header.Add(h.Name, h.Value)
	}
	req.Host = req.Header.Get("Host")
	w := &writer{header: http.Header{}}
	handler.ServeHTTP(w, req)
	w.WriteHeader(http.StatusOK)
	if w.sent.Get("Content-Type") == "" && w.body.Len() > 0 {
		w.sent.Set("Content-Type", http.DetectContentType(w.body.Bytes()))
	}
	return &sdk.HTTPResponse{Status: uint32(w.status), Headers: pairs(w.sent), Body: w.body.Bytes()}, nil
}

// writer is an http.ResponseWriter that keeps the response.
type writer struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status, w.sent = status, w.header.Clone()
	}
}

// Write implements http.ResponseWriter.
func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(b) > maxBody {
		return 0, http.ErrContentLength
	}
	return w.body.Write(b)
}

func pairs(h http.Header) []sdk.Pair {
	var out []sdk.Pair
	for name, values := range h {
		for _, v := range values {
			out = append(out, sdk.Pair{Name: strings.ToLower(name), Value: v})
		}
	}
	return out
}

// Transport returns an http.RoundTripper that makes requests through Host.Fetch, with its
// grant and its limits. Redirects are left to the client.
func Transport(h *sdk.Host) http.RoundTripper { return transport{h} }

type transport struct{ host *sdk.Host }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := sdk.FetchRequest{URL: r.URL.String(), Method: r.Method, Headers: pairs(r.Header), NoRedirects: true, MaxResponseBytes: maxBody}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close() // all of it has been read, or the read has failed
		if err != nil {
			return nil, err
		}
		in.Body = body
	}
	out, err := t.host.Fetch(r.Context(), in)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for _, p := range out.Headers {
		header.Add(p.Name, p.Value)
	}
	status := int(out.Status)
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(bytes.NewReader(out.Body)), ContentLength: int64(len(out.Body)), Request: r,
	}, nil
}
