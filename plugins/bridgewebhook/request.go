package bridgewebhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// result is what has become of a request.
type result struct {
	action  action
	err     error // nil if done
	timeout bool  // the server has been too slow
	took    time.Duration
}

const (
	// drained is how much of a response is read so that its connection can be used again.
	drained = 64 << 10
	// quoted is how much of a response's text gets into errors.
	quoted = 200
)

// post makes one request with pieces that are alike.
func (r *route) post(ctx context.Context, pieces []piece) result {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, r.p.config.Timeout.Std())
	defer cancel()
	body := r.join(pieces)
	if r.Sign != nil {
		ctx = context.WithValue(ctx, signatureKey{}, canonicalHeader(r.Sign.Header))
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, pieces[0].url, bytes.NewReader(body))
	if err != nil {
		return result{action: giveUp, err: fmt.Errorf("url: %w", plain(err))}
	}
	for _, h := range pieces[0].pairs {
		req.Header.Set(h.name, h.value)
	}
	req.Header.Set("User-Agent", r.p.config.UserAgent)
	if r.Sign != nil {
		req.Header.Set(r.Sign.Header, r.Sign.value(time.Now(), body))
	}
	res, err := r.p.client.Do(req)
	switch {
	case err != nil && errors.Is(outer.Err(), context.Canceled): // the plugin ends
		return result{action: wait, err: context.Canceled}
	case err != nil && outer.Err() != nil: // there was less time than timeout
		return result{action: wait, err: bridge.Hold(errLater, time.Millisecond)}
	case err != nil:
		return r.unanswered(err)
	}
	return r.answered(res)
}

// answered is the result of a request with a response. What its text is does not matter,
// nor whether all of it comes.
func (r *route) answered(res *http.Response) result {
	text, _ := io.ReadAll(io.LimitReader(res.Body, drained))
	res.Body.Close()
	r.count(strconv.Itoa(res.StatusCode))
	out := result{action: actionOf(res.StatusCode, r.Statuses)}
	if out.action != done {
		out.err = fmt.Errorf("the server answers %s%s", res.Status, excerpt(text))
		if d := retryAfter(res.Header.Get("Retry-After"), time.Now(), r.RetryAfter.Std()); d > 0 && out.action != giveUp {
			out.err = bridge.Hold(out.err, d)
		}
	}
	if out.action == wait {
		r.remote.answers(out.err)
	} else {
		r.remote.answers(nil)
	}
	return out
}

// unanswered is the result of a request without a response.
func (r *route) unanswered(err error) result {
	var n net.Error
	timeout := errors.As(err, &n) && n.Timeout()
	if err = plain(err); errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", r.p.config.Timeout.Std())
	}
	r.count("error")
	r.remote.answers(err)
	return result{action: wait, err: err, timeout: timeout}
}

func (r *route) count(result string) {
	r.p.requests.Add(1, sdk.Pair{Name: "route", Value: r.Name}, sdk.Pair{Name: "result", Value: result})
}

// plain takes the URL out of an error, which may have a token in it.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// excerpt is the beginning of a response as a part of an error.
func excerpt(text []byte) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(text[:min(len(text), quoted)]), "")), " ")
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7F {
			return -1
		}
		return c
	}, s)
	if s == "" {
		return ""
	}
	return ": " + s
}

// join makes the body of a request.
func (r *route) join(pieces []piece) []byte {
	if r.Batch == batchNone {
		return pieces[0].body
	}
	n := 2 + len(pieces)
	for i := range pieces {
		n += len(pieces[i].body)
	}
	b := make([]byte, 0, n)
	if r.Batch == batchArray {
		b = append(b, '[')
	}
	for i := range pieces {
		if i > 0 && r.Batch == batchArray {
			b = append(b, ',')
		}
		b = append(b, pieces[i].body...)
		if r.Batch == batchLines {
			b = append(b, '\n')
		}
	}
	if r.Batch == batchArray {
		b = append(b, ']')
	}
	return b
}

// value is the header's: the time in seconds, and for each secret the HMAC-SHA256 of
// "TIME.BODY" in hex: t=1700000000,v1=5257a869….
func (s *Sign) value(now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	out := "t=" + t
	for _, secret := range s.Secrets {
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		mac.Write([]byte(t + "."))
		mac.Write(body)
		out += ",v1=" + hex.EncodeToString(mac.Sum(nil))
	}
	return out
}
