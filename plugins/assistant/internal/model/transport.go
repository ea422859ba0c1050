package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxError bounds what is read of a response that says no, in bytes.
	maxError = 64 << 10
	// maxBody bounds any other response, in bytes: a stream has some 200 for each token.
	maxBody = 16 << 20
)

// transport is what go-openai makes its requests with: it tells of a refusal what
// go-openai does not (Retry-After), and bounds what is read.
type transport struct {
	client  *http.Client
	headers map[string]string
	key     string
}

// statusError is a response that says no.
type statusError struct {
	status  int
	after   time.Duration
	code    string
	message string // of the endpoint, for the log
}

func (e *statusError) Error() string {
	return fmt.Sprintf("status %d: %s", e.status, e.message)
}

// Do implements openai.HTTPDoer.
func (t *transport) Do(r *http.Request) (*http.Response, error) {
	for k, v := range t.headers {
		r.Header.Set(k, v)
	}
	res, err := t.client.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		res.Body = struct {
			io.Reader
			io.Closer
		}{&bounded{res.Body, maxBody}, res.Body}
		return res, nil
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxError)) // whatever of it there is
	_ = res.Body.Close()                                      // it is of no more use
	return nil, t.refusal(res, body)
}

func (t *transport) refusal(res *http.Response, body []byte) error {
	e := &statusError{status: res.StatusCode, after: retryAfter(res.Header, time.Now())}
	var parsed struct {
		Error struct {
			Message string `json:"message"`
			Code    any    `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &parsed) == nil {
		e.message = parsed.Error.Message
		e.code, _ = parsed.Error.Code.(string)
	}
	if e.message == "" {
		e.message = string(bytes.TrimSpace(body))
	}
	if t.key != "" {
		e.message = strings.ReplaceAll(e.message, t.key, "***")
	}
	if len(e.message) > 500 {
		e.message = strings.ToValidUTF8(e.message[:500], "") + "…"
	}
	return e
}

// retryAfter is Retry-After (RFC 9110 §10.2.3), in seconds or as a date, or OpenAI's
// finer retry-after-ms; 0 if there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 && ms < 1e10 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 && s < 1e7 {
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// bounded is a reader that fails past a limit.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
