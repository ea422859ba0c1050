package sdk

import (
	"context"
	"errors"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Describe implements instance.Plugin.
func (r *running) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	return r.def.Manifest()
}

// Start implements instance.Plugin.
func (r *running) Start(ctx context.Context, in *pluginv1.StartRequest) (out *pluginv1.StartResponse, err error) {
	h := newHost(r.service, in, r.mode == inProcess)
	r.mu.Lock()
	r.host = h
	r.mu.Unlock()
	defer r.recovered(&err)
	if err := r.def.config().start(ctx, r.value, h, configText(in.Config)); err != nil {
		problems, err := problemsOf(err)
		return &pluginv1.StartResponse{Problems: problems}, err
	}
	return &pluginv1.StartResponse{Narrowed: r.narrowed()}, nil
}

// configText is "{}" where there is no config.
func configText(s string) string {
	if s == "" {
		return "{}"
	}
	return s
}

// problemsOf tells a config that cannot be from a failure.
func problemsOf(err error) ([]pluginv1.Problem, error) {
	var p *ParseError
	if !errors.As(err, &p) {
		return nil, err
	}
	for i := range p.Problems {
		p.Problems[i].Message = cut(p.Problems[i].Message)
	}
	return p.Problems, nil
}

// Configure implements instance.Plugin.
func (r *running) Configure(
	ctx context.Context, in *pluginv1.ConfigureRequest,
) (out *pluginv1.ConfigureResponse, err error) {
	defer r.recovered(&err)
	if err := r.def.config().configure(ctx, r.value, configText(in.Config)); err != nil {
		if errors.Is(err, ErrRestart) {
			return &pluginv1.ConfigureResponse{Restart: true}, nil
		}
		problems, err := problemsOf(err)
		return &pluginv1.ConfigureResponse{Problems: problems}, err
	}
	return &pluginv1.ConfigureResponse{Narrowed: r.narrowed()}, nil
}

func (r *running) narrowed() *pluginv1.Narrowed {
	if r.methods.narrower == nil {
		return nil
	}
	n := r.methods.narrower.Narrow()
	if n == nil {
		return nil
	}
	out := &pluginv1.Narrowed{}
	for _, h := range n.Hooks {
		out.Hooks = append(out.Hooks, withFields(h, &r.methods).proto())
	}
	for _, q := range n.Queues {
		out.Consumers = append(out.Consumers, q.proto())
	}
	return out
}

// Stop implements instance.Plugin.
func (r *running) Stop(ctx context.Context, in *pluginv1.StopRequest) (out *pluginv1.StopResponse, err error) {
	defer r.recovered(&err)
	r.releaseHeld()
	if in.DeadlineMs > 0 && r.mode != inGuest {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(in.DeadlineMs)*time.Millisecond)
		defer cancel()
	}
	if r.methods.stopper != nil {
		err = r.methods.stopper.Stop(ctx, in.Reason)
	}
	r.mu.Lock()
	h := r.host
	r.mu.Unlock()
	if h != nil {
		h.flush(ctx)
	}
	return &pluginv1.StopResponse{}, err
}

// Health implements instance.Plugin.
func (r *running) Health(ctx context.Context, _ *pluginv1.HealthRequest) (out *pluginv1.HealthResponse, err error) {
	defer r.recovered(&err)
	r.releaseHeld()
	if r.methods.healther == nil {
		return &pluginv1.HealthResponse{}, nil
	}
	problem := r.methods.healther.Health(ctx)
	if problem == nil {
		return &pluginv1.HealthResponse{}, nil
	}
	out = &pluginv1.HealthResponse{Status: pluginv1.HealthStatusNotServing, Message: cut(problem.Error())}
	if errors.As(problem, new(degraded)) {
		out.Status = pluginv1.HealthStatusDegraded
	}
	return out, nil
}

// HTTP implements instance.Plugin.
func (r *running) HTTP(ctx context.Context, in *pluginv1.HTTPRequest) (out *pluginv1.HTTPResponse, err error) {
	defer r.recovered(&err)
	r.releaseHeld()
	if r.methods.http == nil {
		return nil, errors.New("the plugin does not serve HTTP")
	}
	out, err = r.methods.http.HTTP(ctx, in)
	if out == nil {
		out = &pluginv1.HTTPResponse{}
	}
	return out, err
}

// Timer implements instance.Plugin.
func (r *running) Timer(ctx context.Context, in *pluginv1.TimerFired) (out *pluginv1.TimerResponse, err error) {
	defer r.recovered(&err)
	r.releaseHeld()
	if r.methods.timer == nil {
		return nil, errors.New("the plugin has no timers")
	}
	return &pluginv1.TimerResponse{}, r.methods.timer.Timer(ctx, in)
}
