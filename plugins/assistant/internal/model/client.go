package model

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
)

// Settings of an endpoint.
type Settings struct {
	// BaseURL as "https://api.openai.com/v1", without credentials.
	BaseURL string
	// Key is sent as a bearer token; "" sends none.
	Key          string
	Organization string
	Headers      map[string]string
	// Transport makes the connections.
	Transport http.RoundTripper
	// Whole asks for answers in one piece; else they are streamed.
	Whole bool
	// NoUsage leaves out stream_options, for servers that refuse what they do not know.
	NoUsage bool
	// FirstToken bounds the time up to the first piece of an answer, Idle that between pieces.
	FirstToken, Idle time.Duration
	// Retries is how often a request is made again.
	Retries            int
	RetryMin, RetryMax time.Duration
	// BreakerFailures in a row open the breaker for BreakerPause. 0: no breaker.
	BreakerFailures int
	BreakerPause    time.Duration
}

// Client is safe for concurrent use.
type Client struct {
	s       Settings
	api     *openai.Client
	breaker breaker
	// Retried is told about each further attempt, if it is not nil. Set it before the
	// first call.
	Retried func(why error)
}

// New makes a client; nothing is sent.
func New(s Settings) *Client {
	c := openai.DefaultConfig(s.Key)
	c.BaseURL, c.OrgID = s.BaseURL, s.Organization
	c.EmptyMessagesLimit = maxEmpty
	c.HTTPClient = &transport{client: &http.Client{Transport: s.Transport, CheckRedirect: noRedirects}, headers: s.Headers, key: s.Key}
	return &Client{s: s, api: openai.NewClientWithConfig(c), breaker: breaker{limit: s.BreakerFailures, pause: s.BreakerPause}}
}

// noRedirects: a redirect would take the key and the question elsewhere.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Completion is what a model has answered.
type Completion struct {
	Text  string
	Calls []openai.ToolCall
	// Finish is "stop", "length" or "tool_calls".
	Finish string
	// In and Out are tokens, those of failed attempts included. Estimated says that the endpoint
	// has not told them.
	In, Out   int
	Estimated bool
	// FirstToken is how long the first piece took, from the call; 0 if none came.
	FirstToken time.Duration
}

// Chat asks the model. If part is not nil it gets the text piece by piece, as it comes;
// an error of it ends the call and is returned. The completion is never nil: with an error
// it says what was used up.
func (c *Client) Chat(ctx context.Context, r openai.ChatCompletionRequest, part func(string) error) (*Completion, error) {
	adapt(&r)
	out := &Completion{}
	pause := c.s.RetryMin
	began := time.Now()
	for n := 0; ; n++ {
		if left := c.breaker.enter(time.Now()); left > 0 {
			return out, fault.New(fault.Unavailable, "the model's endpoint has failed too often and is left alone for a while").After(left)
		}
		a := &attempt{c: c, request: r, part: part, out: out, began: began}
		err := a.run(ctx)
		if err == nil {
			c.breaker.leave(time.Now(), healthy)
			return out, nil
		}
		v := judge(ctx, err)
		c.breaker.leave(time.Now(), v.health)
		if !v.again || a.passed || n >= c.s.Retries {
			if a.passed && v.again {
				v.fault.Code, v.fault.Message = fault.Interrupted, "the answer broke off: "+v.fault.Message
			}
			return out, v.fault
		}
		wait := max(v.fault.RetryAfter, pause/2+rand.N(pause/2+1))
		if d, ok := ctx.Deadline(); ok && time.Until(d) <= wait {
			return out, v.fault // it would be too late
		}
		if c.Retried != nil {
			c.Retried(v.fault)
		}
		pause = min(2*pause, c.s.RetryMax)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return out, judge(ctx, context.Cause(ctx)).fault
		}
	}
}

// Moderate asks whether a text is unwanted, and why.
func (c *Client) Moderate(ctx context.Context, model, text string) (unwanted bool, why string, err error) {
	if left := c.breaker.enter(time.Now()); left > 0 {
		return false, "", fault.New(fault.Unavailable, "the moderation endpoint has failed too often and is left alone for a while").After(left)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.s.FirstToken, errStalled)
	defer cancel()
	res, err := c.api.Moderations(ctx, openai.ModerationRequest{Input: text, Model: model})
	if err == nil && len(res.Results) == 0 {
		err = errors.New("no results")
	}
	if err != nil {
		v := judge(ctx, err)
		c.breaker.leave(time.Now(), v.health)
		return false, "", v.fault
	}
	c.breaker.leave(time.Now(), healthy)
	return res.Results[0].Flagged, categories(&res.Results[0].Categories), nil
}

// Health says whether the endpoint is in use; nil if it is.
func (c *Client) Health() error { return c.breaker.health(time.Now()) }

// Close ends idle connections.
func (c *Client) Close() {
	if t, ok := c.s.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
