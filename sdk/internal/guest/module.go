package guest

import (
	"context"
	"errors"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// Open makes the module's instance. It is called with the first call.
type Open func(host v1host.Service) (instance.Plugin, error)

// Module serves the calls of a host, one after the other.
type Module struct {
	// Open and Host make the plugin.
	Open Open
	Host v1host.Service

	plugin instance.Plugin
	input  []byte
	output []byte
	// These are used again, so that a batch allocates nothing.
	batch   pluginv1.Batch
	answer  pluginv1.Answer
	consume pluginv1.ConsumeBatch
	result  pluginv1.ConsumeResult
}

// minBuffer spares the first growing steps.
const minBuffer = 64 << 10

// Buffer returns memory of at least size bytes for the next request. It is valid until
// the next call of Buffer.
func (m *Module) Buffer(size int) []byte {
	if size > len(m.input) {
		m.input = make([]byte, max(size, 2*len(m.input), minBuffer))
	}
	return m.input
}

// Call serves a request of n bytes in the Buffer. The answer is valid until the next call.
func (m *Module) Call(op pluginv1.PluginOp, n int) ([]byte, error) {
	if uint(n) > uint(len(m.input)) {
		return nil, errors.New("the request is longer than the buffer")
	}
	if m.plugin == nil {
		p, err := m.Open(m.Host)
		if err != nil {
			return nil, err
		}
		m.plugin = p
	}
	in, p, ctx := m.input[:n], m.plugin, context.Background()
	switch op {
	case pluginv1.PluginOpProcess:
		return m.process(in)
	case pluginv1.PluginOpConsume:
		return m.consumed(in)
	case pluginv1.PluginOpDescribe:
		return serve(m, ctx, in, new(pluginv1.DescribeRequest), p.Describe)
	case pluginv1.PluginOpStart:
		return serve(m, ctx, in, new(pluginv1.StartRequest), p.Start)
	case pluginv1.PluginOpConfigure:
		return serve(m, ctx, in, new(pluginv1.ConfigureRequest), p.Configure)
	case pluginv1.PluginOpStop:
		return serve(m, ctx, in, new(pluginv1.StopRequest), p.Stop)
	case pluginv1.PluginOpHealth:
		return serve(m, ctx, in, new(pluginv1.HealthRequest), p.Health)
	case pluginv1.PluginOpHTTP:
		return serve(m, ctx, in, new(pluginv1.HTTPRequest), p.HTTP)
	case pluginv1.PluginOpTimer:
		return serve(m, ctx, in, new(pluginv1.TimerFired), p.Timer)
	}
	return nil, errors.New("unknown op " + op.String())
}

func (m *Module) process(in []byte) ([]byte, error) {
	if err := m.batch.Unmarshal(in); err != nil {
		return nil, err
	}
	m.answer.Reset()
	if _, err := m.plugin.Process(&m.batch, &m.answer, nil); err != nil {
		return nil, err
	}
	m.output = m.answer.AppendTo(m.output[:0])
	return m.output, nil
}

func (m *Module) consumed(in []byte) ([]byte, error) {
	if err := m.consume.Unmarshal(in); err != nil {
		return nil, err
	}
	m.result.Reset()
	if _, err := m.plugin.Consume(&m.consume, &m.result, nil); err != nil {
		return nil, err
	}
	m.output = m.result.AppendTo(m.output[:0])
	return m.output, nil
}

// serve is Call for what does not come often.
func serve[In pluginv1.Proto, Out pluginv1.Proto](
	m *Module, ctx context.Context, raw []byte, in In, method func(context.Context, In) (Out, error),
) ([]byte, error) {
	if err := in.Unmarshal(raw); err != nil {
		return nil, err
	}
	out, err := method(ctx, in)
	if err != nil {
		return nil, err
	}
	m.output = out.AppendTo(m.output[:0])
	return m.output, nil
}
