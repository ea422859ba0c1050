package authhttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// result is what an answer says.
type result int

const (
	ignore result = iota
	allow
	deny
	challenge
)

func (r result) String() string { return [...]string{"ignore", "allow", "deny", "challenge"}[r] }

// answer is what a service has said.
type answer struct {
	result   result
	identity sdk.Identity // of allow and challenge
	code     sdk.ReasonCode
	reason   string
	ttl      time.Duration // how long it may be used again; negative: not said
}

// invalid is the error of an answer that cannot be read, or cannot be meant.
type invalid struct{ err error }

func (e *invalid) Error() string { return "the answer of the service: " + e.err.Error() }

func (e *invalid) Unwrap() error { return e.err }

// dialect puts questions and reads answers. Methods are called for what has an endpoint.
type dialect interface {
	login(ctx context.Context, q *question) (answer, error)
	permit(ctx context.Context, q *question) (answer, error)
	authorize(ctx context.Context, q *question) (answer, error)
}

// service is what is in force with a config. It is immutable but for its connections.
type service struct {
	host      *sdk.Host
	metrics   metrics
	client    *http.Client
	timeout   time.Duration
	retries   int
	endpoints map[string]*endpoint
	dialect   dialect
	config    Config
	// What is left to the next plugin if there is no answer. A login that nobody answers is
	// refused in the end; a topic is allowed where the operator has not said otherwise
	// (authorize_default), so that this has to be asked for.
	leaveLogins, leaveTopics bool
	logins                   *cache
}

// newService makes a service of a config. Errors are problems with pointers.
func newService(h *sdk.Host, m metrics, c *Config) (*service, error) {
	var p problems
	c.check(&p)
	tc, err := c.TLS.config()
	if err != nil {
		p = append(p, err)
	}
	if err := sdk.Problems(p...); err != nil {
		return nil, err
	}
	s := &service{
		host: h, metrics: m, timeout: c.Timeout.Std(), retries: c.Retries, config: *c, endpoints: map[string]*endpoint{},
		leaveLogins: c.OnError == "ignore" || c.OnError == "" && c.Mode == modeEMQX, leaveTopics: c.OnError == "ignore",
	}
	s.client = &http.Client{
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: c.Timeout.Std()}).DialContext, TLSClientConfig: tc, ForceAttemptHTTP2: true,
			MaxIdleConns: 4 * c.Connections, MaxIdleConnsPerHost: 2 * c.Connections, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: c.Timeout.Std(), MaxResponseHeaderBytes: 64 << 10,
		},
		// A redirect would carry passwords to somebody who was not asked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for name, e := range c.endpoints() {
		s.endpoints[name] = &endpoint{name: name, config: e, service: s, slots: make(chan struct{}, c.Connections)}
	}
	if c.LoginTTL > 0 {
		s.logins = newCache(c.LoginTTL.Std(), c.LoginSize)
	}
	switch c.Mode {
	case modeEMQX:
		s.dialect = &emqx{s}
	case modeGoAuth:
		s.dialect = newGoAuth(s)
	default:
		s.dialect = &native{s}
	}
	return s, nil
}

// close ends connections that nobody uses; those in use end with their answers.
func (s *service) close() { s.client.CloseIdleConnections() }

// health says how the other side is.
func (s *service) health() error {
	var errs []error
	for name := range s.config.endpoints() {
		errs = append(errs, s.endpoints[name].health())
	}
	return errors.Join(errs...)
}
