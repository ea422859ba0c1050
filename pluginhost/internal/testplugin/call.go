package testplugin

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// Built is the plugin as a program or module of some version.
func Built(version string) sdk.Plugin {
	p := Plugin()
	p.Version = version
	p.New = func() any { return &plugin{built: version} }
	return p
}

// stamp says which plugin this is: "NAME=BUILT.VERSION".
func (p *plugin) stamp() string { return p.host.Name() + "=" + p.built + "." + p.version() }

// Narrow narrows the plugin to Config.Only, or to what Config.OnlyRefuses says.
func (p *plugin) Narrow() *sdk.Narrowed {
	if p.config().OnlyRefuses {
		return &sdk.Narrowed{Hooks: []sdk.Hook{{Point: sdk.PointAuthenticate, OnlyRefuses: true, Deadline: 30 * time.Second}}}
	}
	only := p.config().Only
	if only == "" {
		return nil
	}
	n := &sdk.Narrowed{Hooks: []sdk.Hook{{Point: sdk.PointAuthenticate}}}
	plugin := Plugin()
	for _, h := range plugin.Hooks {
		root := map[sdk.Point]string{sdk.PointInterceptPublish: "edit", sdk.PointGatePublish: "gate", sdk.PointPublished: "watch"}[h.Point]
		if root != "" {
			h.TopicFilters = []string{root + "/" + only + "/#"}
			n.Hooks = append(n.Hooks, h)
		}
	}
	for _, q := range plugin.Queues {
		q.TopicFilters = []string{"consume/" + only + "/#"}
		n.Queues = append(n.Queues, q)
	}
	return n
}

// call makes a call of the host, whatever it is: of op=NUMBER, with the body as its
// request. The answer is the response, or with status 500 a HostError.
func (p *plugin) call(ctx context.Context, r *sdk.HTTPRequest) *sdk.HTTPResponse {
	op, _ := strconv.Atoi(strings.TrimPrefix(r.Query, "op="))
	out, failure := p.serve(ctx, pluginv1.HostOp(op), r.Body)
	if failure != nil {
		return &sdk.HTTPResponse{Status: 500, Body: failure.AppendTo(nil)}
	}
	return &sdk.HTTPResponse{Body: out}
}

// callInline is call while a client waits: the first byte of a payload is the op. The
// answer has a byte 0 before it, or 1 before a HostError.
func (p *plugin) callInline(ctx context.Context, in []byte) []byte {
	if len(in) == 0 {
		return nil
	}
	out, failure := p.serve(ctx, pluginv1.HostOp(in[0]), in[1:])
	if failure != nil {
		return failure.AppendTo([]byte{1})
	}
	return append([]byte{0}, out...)
}

func (p *plugin) serve(ctx context.Context, op pluginv1.HostOp, request []byte) ([]byte, *sdk.HostError) {
	out, err := v1host.Serve(ctx, p.host.Service(), op, request, nil)
	var e *sdk.HostError
	if err != nil && !errors.As(err, &e) {
		e = &sdk.HostError{Code: pluginv1.HostErrorCodeInternal, Message: err.Error()}
	}
	return out, e
}
