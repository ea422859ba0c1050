package authhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// maxResponse bounds an answer, in bytes: 1,024 permissions are some 100 KiB.
	maxResponse = 1 << 20
	// firstPause is that before a request is repeated; it doubles.
	firstPause = 100 * time.Millisecond

	encodingJSON = "json"
	encodingForm = "form"

	contentJSON = "application/json"
	contentForm = "application/x-www-form-urlencoded"
)

// Why there is no answer. All other errors of endpoint.ask are about the service too.
var (
	errBusy = errors.New("too many questions at once")
	// errUnusable says that the client's own values cannot be sent: they could mean something
	// else to the service than what they are.
	errUnusable = errors.New("the client's name, id or password cannot be sent to the service")
)

// request is one that is ready to be sent, as often as needed.
type request struct {
	method, url, contentType string
	header                   http.Header
	body                     []byte
}

// response is what came back, whatever its status.
type response struct {
	status      int
	contentType string
	body        []byte
}

// endpoint is a URL that is asked. It is safe for concurrent use.
type endpoint struct {
	name    string
	config  *Endpoint
	service *service
	slots   chan struct{} // one for each request that may be under way
	failing atomic.Pointer[failure]
}

// failure is why a service does not answer.
type failure struct {
	since time.Time
	err   error
}

// ask sends a request and returns the answer; again if that has failed and there is time.
// Errors: errBusy, or that of the last try.
func (e *endpoint) ask(ctx context.Context, r *request) (*response, error) {
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, errBusy
	}
	defer func() { <-e.slots }()
	pause, last := firstPause, errBusy
	for retries := e.service.retries; ; retries-- {
		began := time.Now()
		res, err := e.try(ctx, r)
		if err != nil && ctx.Err() != nil && time.Since(began) < e.service.timeout/2 {
			// The client's time is up, most of which has gone by in the queue, or with other tries.
			if err = last; errors.Is(err, errBusy) {
				return nil, err
			}
		}
		if err == nil || retries <= 0 || ctx.Err() != nil {
			e.note(err)
			return res, err
		}
		last = err
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause *= 2
	}
}

// try makes one request. A status that says that the service is in trouble is an error.
func (e *endpoint) try(ctx context.Context, r *request) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, e.service.timeout)
	defer cancel()
	began := time.Now()
	res, err := e.send(ctx, r)
	result := "answered"
	switch {
	case err != nil:
		result = "failed"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			result = "timeout"
		}
		// The error of package http has the URL in it, and with that perhaps a password.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
	case res.status >= 500 || res.status == http.StatusTooManyRequests:
		result, err = "status", fmt.Errorf("it is answered with status %d", res.status)
	}
	m := &e.service.metrics
	m.requests.Add(1, sdk.Pair{Name: "endpoint", Value: e.name}, sdk.Pair{Name: "result", Value: result})
	m.seconds.Set(time.Since(began).Seconds(), sdk.Pair{Name: "endpoint", Value: e.name})
	if err != nil {
		return nil, err
	}
	return res, nil
}

func (e *endpoint) send(ctx context.Context, r *request) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	res, err := e.service.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxResponse {
		return nil, errors.New("the answer is larger than 1 MiB")
	}
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil {
		kind = "" // what is said of the content is not to be understood
	}
	return &response{res.StatusCode, kind, body}, nil
}

// note remembers how the service is, and tells when that changes.
func (e *endpoint) note(err error) {
	if errors.Is(err, context.Canceled) {
		return // the plugin ends
	}
	log := e.service.host.Logger()
	if err == nil {
		if f := e.failing.Swap(nil); f != nil {
			log.Info("the service answers again", "endpoint", e.name, "after", time.Since(f.since).Round(time.Second).String())
		}
		return
	}
	f := &failure{since: time.Now(), err: err}
	if old := e.failing.Load(); old != nil {
		f.since = old.since
		e.failing.Store(f)
		return
	}
	e.failing.Store(f)
	log.Error("the service does not answer", "endpoint", e.name, "error", err)
}

// health says how the other side is.
func (e *endpoint) health() error {
	f := e.failing.Load()
	if f == nil {
		return nil
	}
	return sdk.Degraded(fmt.Sprintf("%s: no answer since %s: %v", e.name, f.since.UTC().Format(time.RFC3339), f.err))
}

// headers are those of the config.
func (e *endpoint) headers(value func(string) string) (http.Header, error) {
	h := http.Header{"Accept": {contentJSON}, "User-Agent": {"patchbay-auth-http"}}
	for name, s := range e.config.Headers {
		v := value(s.Reveal())
		if badHeader(v) {
			return nil, errUnusable
		}
		h.Set(name, v)
	}
	return h, nil
}

// badHeader reports whether a text is more than one line.
func badHeader(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F })
}

// plain is a request whose URL and headers are those of the config.
func (e *endpoint) plain(contentType string, body []byte) (*request, error) {
	h, err := e.headers(asItIs)
	return &request{e.config.Method, e.config.URL, contentType, h, body}, err
}

// filled is a request with a client's values in it.
func (e *endpoint) filled(q *question, fields map[string]string) (*request, error) {
	address, query, _ := strings.Cut(e.config.URL, "?")
	path := q.fill(address, url.PathEscape)
	// A client named ".." must not choose another path.
	if path != address && slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return nil, errUnusable
	}
	query = q.fill(query, url.QueryEscape)
	h, err := e.headers(func(s string) string { return q.fill(s, asItIs) })
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(fields))
	for name, s := range fields {
		values[name] = q.fill(s, asItIs)
	}
	r := &request{method: e.config.Method, header: h}
	switch {
	case e.config.Method == http.MethodGet:
		if len(values) > 0 {
			query = strings.TrimPrefix(query+"&"+form(values), "&")
		}
	case e.config.Encoding == encodingForm:
		r.contentType, r.body = contentForm, []byte(form(values))
	default:
		r.contentType = contentJSON
		for _, v := range values {
			if !utf8.ValidString(v) {
				return nil, errUnusable // two passwords that differ must not look the same to the service
			}
		}
		if r.body, err = marshal(values); err != nil {
			return nil, err
		}
	}
	if r.url = path; query != "" {
		r.url += "?" + query
	}
	return r, nil
}

func form(values map[string]string) string {
	out := url.Values{}
	for name, v := range values {
		out.Set(name, v)
	}
	return out.Encode()
}
