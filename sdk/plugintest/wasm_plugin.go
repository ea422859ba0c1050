package plugintest

import (
	"context"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// ask makes one call with an answer of its own.
func ask[T any, P interface {
	*T
	pluginv1.Proto
}](ctx context.Context, m *module, op pluginv1.PluginOp, in pluginv1.Proto) (*T, error) {
	out := new(T)
	if err := m.do(ctx, op, in, P(out)); err != nil {
		return nil, err
	}
	return out, nil
}

// Describe implements instance.Plugin, as the methods below do.
func (m *module) Describe(ctx context.Context, in *pluginv1.DescribeRequest) (*pluginv1.Manifest, error) {
	return ask[pluginv1.Manifest](ctx, m, pluginv1.PluginOpDescribe, in)
}

func (m *module) Start(ctx context.Context, in *pluginv1.StartRequest) (*pluginv1.StartResponse, error) {
	return ask[pluginv1.StartResponse](ctx, m, pluginv1.PluginOpStart, in)
}

func (m *module) Configure(ctx context.Context, in *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	return ask[pluginv1.ConfigureResponse](ctx, m, pluginv1.PluginOpConfigure, in)
}

func (m *module) Stop(ctx context.Context, in *pluginv1.StopRequest) (*pluginv1.StopResponse, error) {
	return ask[pluginv1.StopResponse](ctx, m, pluginv1.PluginOpStop, in)
}

func (m *module) Health(ctx context.Context, in *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error) {
	return ask[pluginv1.HealthResponse](ctx, m, pluginv1.PluginOpHealth, in)
}

func (m *module) HTTP(ctx context.Context, in *pluginv1.HTTPRequest) (*pluginv1.HTTPResponse, error) {
	return ask[pluginv1.HTTPResponse](ctx, m, pluginv1.PluginOpHTTP, in)
}

func (m *module) Timer(ctx context.Context, in *pluginv1.TimerFired) (*pluginv1.TimerResponse, error) {
	return ask[pluginv1.TimerResponse](ctx, m, pluginv1.PluginOpTimer, in)
}

func (m *module) Process(b *pluginv1.Batch, a *pluginv1.Answer, _ func(error)) (bool, error) {
	return true, m.do(context.Background(), pluginv1.PluginOpProcess, b, a)
}

func (m *module) Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, _ func(error)) (bool, error) {
	return true, m.do(context.Background(), pluginv1.PluginOpConsume, b, r)
}

func (m *module) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	return m.runtime.Close(context.Background())
}
