package pluginhost

import (
	"context"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Seen is a call of a plugin that has ended, for those who watch one at work.
type Seen struct {
	// Plugin is its name.
	Plugin string
	// In is a *pluginv1.Batch, ConsumeBatch, HTTPRequest or TimerFired, and Out what belongs
	// to it; it is empty if Err is set. Both are valid during the call only.
	In, Out pluginv1.Proto
	Took    time.Duration
	Err     error
}

// watched is an instance whose calls somebody watches (Options.Watch).
type watched struct {
	instance.Plugin
	name  string
	watch func(Seen)
}

// watched returns the instance itself where nobody watches.
func (h *Host) watched(name string, p instance.Plugin) instance.Plugin {
	if h.o.Watch == nil {
		return p
	}
	return &watched{p, name, h.o.Watch}
}

// bare is the instance of a runtime.
func bare(p instance.Plugin) instance.Plugin {
	if w, ok := p.(*watched); ok {
		return w.Plugin
	}
	return p
}

// Exited implements instance.Exited; one that does not end by itself never does.
func (w *watched) Exited() <-chan struct{} {
	if e, ok := w.Plugin.(instance.Exited); ok {
		return e.Exited()
	}
	return nil
}

// Err is why the instance has ended by itself.
func (w *watched) Err() error {
	if e, ok := w.Plugin.(interface{ Err() error }); ok {
		return e.Err()
	}
	return nil
}

func (w *watched) end(begin time.Time, in, out pluginv1.Proto, err error) {
	w.watch(Seen{Plugin: w.name, In: in, Out: out, Took: time.Since(begin), Err: err})
}

// Process implements instance.Plugin, as the methods below do.
func (w *watched) Process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	begin := time.Now()
	answered, err := w.Plugin.Process(b, a, func(err error) {
		w.end(begin, b, a, err)
		done(err)
	})
	if answered {
		w.end(begin, b, a, err)
	}
	return answered, err
}

func (w *watched) Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (bool, error) {
	begin := time.Now()
	answered, err := w.Plugin.Consume(b, r, func(err error) {
		w.end(begin, b, r, err)
		done(err)
	})
	if answered {
		w.end(begin, b, r, err)
	}
	return answered, err
}

func (w *watched) HTTP(ctx context.Context, in *pluginv1.HTTPRequest) (*pluginv1.HTTPResponse, error) {
	begin := time.Now()
	out, err := w.Plugin.HTTP(ctx, in)
	w.end(begin, in, out, err)
	return out, err
}

func (w *watched) Timer(ctx context.Context, in *pluginv1.TimerFired) (*pluginv1.TimerResponse, error) {
	begin := time.Now()
	out, err := w.Plugin.Timer(ctx, in)
	w.end(begin, in, out, err)
	return out, err
}
