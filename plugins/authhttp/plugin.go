package authhttp

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// grace is how much longer than a question the host waits, so that the plugin says what
// becomes of it, and not a failure policy.
const grace = 4 * time.Second

// What a dialect can send of a client.
const (
	clientFields = sdk.FieldConnection | sdk.FieldTLS
	loginFields  = clientFields | sdk.FieldPassword
	rightsFields = clientFields | sdk.FieldAttributes
)

// hooks are what is wanted with endpoints.
func hooks(authenticate, permit, authorize bool, certificate sdk.Field, wait time.Duration) (out []sdk.Hook) {
	deadline := wait + grace
	if authenticate {
		out = append(out, sdk.Hook{Point: sdk.PointAuthenticate, Fields: loginFields | certificate, MaxBatch: 1, Deadline: deadline})
	}
	if permit {
		out = append(out, sdk.Hook{Point: sdk.PointPermit, Fields: rightsFields, Deadline: deadline})
	}
	if authorize {
		out = append(out,
			sdk.Hook{Point: sdk.PointAuthorizePublish, Fields: rightsFields, Deadline: deadline},
			sdk.Hook{Point: sdk.PointAuthorizeSubscribe, Fields: rightsFields, Deadline: deadline})
	}
	return out
}

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "auth-http", Version: "1.0.0", Author: "Patchbay",
		Description: "Asks a service by HTTP who may connect and what clients may do.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Hooks:          hooks(true, true, true, sdk.FieldCertificate, time.Minute-grace),
		Routes:         []sdk.HTTPRoute{invalidateRoute},
		SingleInstance: true,
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	host    *sdk.Host
	metrics metrics
	service atomic.Pointer[service]
	waiting atomic.Int64

	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// metrics are in docs as patchbay_plugin_auth_http_NAME.
type metrics struct{ requests, seconds, answers, waiting, cached *sdk.Metric }

var (
	_ sdk.Starter[Config]    = (*plugin)(nil)
	_ sdk.Configurer[Config] = (*plugin)(nil)
	_ sdk.Narrower           = (*plugin)(nil)
	_ sdk.Authenticator      = (*plugin)(nil)
	_ sdk.Permitter          = (*plugin)(nil)
	_ sdk.Authorizer         = (*plugin)(nil)
	_ sdk.HTTPHandler        = (*plugin)(nil)
	_ sdk.Healther           = (*plugin)(nil)
	_ sdk.Stopper            = (*plugin)(nil)
)

// Start implements sdk.Starter. That the service cannot be reached now is no reason to fail:
// an outage of the service is not to be one of the broker.
func (p *plugin) Start(_ context.Context, h *sdk.Host, c Config) error {
	p.host = h
	p.metrics = metrics{
		requests: h.Counter("requests_total", "HTTP requests, by what became of them."),
		seconds:  h.Histogram("request_seconds", "How long HTTP requests have taken."),
		answers:  h.Counter("answers_total", "Questions, by answer."),
		waiting:  h.Gauge("waiting", "Questions that wait for an answer."),
		cached:   h.Counter("login_cache_total", "Logins, by whether the answer was remembered."),
	}
	s, err := newService(h, p.metrics, &c)
	if err != nil {
		return err
	}
	p.service.Store(s)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return nil
}

// Configure implements sdk.Configurer: questions that are under way end as they began.
func (p *plugin) Configure(ctx context.Context, c Config) error {
	s, err := newService(p.host, p.metrics, &c)
	if err != nil {
		return err
	}
	p.service.Swap(s).close()
	return p.host.InvalidateDecisions(ctx, sdk.InvalidateDecisionsRequest{AllNamespaces: true})
}

// Narrow implements sdk.Narrower.
func (p *plugin) Narrow() *sdk.Narrowed {
	s := p.service.Load()
	var certificate sdk.Field
	if s.config.Authenticate != nil && s.config.Mode == modeEMQX && s.config.Authenticate.uses("cert_pem") {
		certificate = sdk.FieldCertificate
	}
	c := &s.config
	return &sdk.Narrowed{Hooks: hooks(c.Authenticate != nil, c.Permit != nil, c.Authorize != nil, certificate, c.Wait.Std())}
}

// Stop implements sdk.Stopper.
func (p *plugin) Stop(context.Context, sdk.StopReason) error {
	p.cancel()
	p.tasks.Wait()
	p.service.Load().close()
	return nil
}

// Health implements sdk.Healther.
func (p *plugin) Health(context.Context) error { return p.service.Load().health() }

// begin has work done on a goroutine of its own, for as long as a client may wait. It
// reports false if too many wait already.
func (p *plugin) begin(s *service, work func(ctx context.Context)) bool {
	if p.waiting.Add(1) > int64(s.config.MaxWaiting) {
		p.waiting.Add(-1)
		return false
	}
	p.metrics.waiting.Add(1)
	p.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, s.config.Wait.Std())
		defer cancel()
		defer func() {
			p.waiting.Add(-1)
			p.metrics.waiting.Add(-1)
		}()
		work(ctx)
	})
	return true
}

// Authenticate implements sdk.Authenticator.
func (p *plugin) Authenticate(_ context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	s := p.service.Load()
	if s.config.Authenticate == nil || r.Method != "" && !slices.Contains(s.config.Methods, r.Method) {
		return sdk.AuthResult{}, nil
	}
	q := loginQuestion(r)
	remember := s.logins != nil && r.Method == ""
	var epoch uint64
	if remember {
		a, at, found := s.logins.find(q, time.Now())
		p.metrics.cached.Add(1, sdk.Pair{Name: "result", Value: map[bool]string{true: "hit", false: "miss"}[found]})
		if found {
			return a.auth(), nil
		}
		epoch = at
	}
	return sdk.Later(func(complete func(sdk.AuthResult)) {
		if !p.begin(s, func(ctx context.Context) {
			a, err := s.dialect.login(ctx, q)
			if err == nil && remember && a.result == allow {
				s.logins.keep(q, a, epoch, time.Now())
			}
			complete(s.auth("authenticate", a, err))
		}) {
			complete(s.auth("authenticate", answer{}, errBusy))
		}
	}), nil
}

// Permit implements sdk.Permitter.
func (p *plugin) Permit(_ context.Context, r *sdk.PermitRequest) (sdk.AuthResult, error) {
	s := p.service.Load()
	if s.config.Permit == nil {
		return sdk.AuthResult{}, nil
	}
	q := &question{client: sdk.Clone(r.Client)}
	return sdk.Later(func(complete func(sdk.AuthResult)) {
		if !p.begin(s, func(ctx context.Context) {
			a, err := s.dialect.permit(ctx, q)
			complete(s.auth("permit", a, err))
		}) {
			complete(s.auth("permit", answer{}, errBusy))
		}
	}), nil
}

// Authorize implements sdk.Authorizer.
func (p *plugin) Authorize(_ context.Context, r *sdk.AuthorizeRequest) (sdk.Decision, error) {
	s := p.service.Load()
	if s.config.Authorize == nil || r.Access == sdk.AccessReceive {
		return sdk.Continue(), nil
	}
	q := newTopicQuestion(r)
	return sdk.Later(func(complete func(sdk.Decision)) {
		if !p.begin(s, func(ctx context.Context) {
			a, err := s.dialect.authorize(ctx, q)
			complete(s.decision(q, a, err))
		}) {
			complete(s.decision(q, answer{}, errBusy))
		}
	}), nil
}
