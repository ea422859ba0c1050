// Package idle is a plugin for benchmarks: it is asked and told as its config says, and
// does nothing about it.
package idle

import (
	"context"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	// What it wants: "decide", "observe", "consume", or "nothing" that happens to messages.
	What string `json:"what"`
	// Batch is how many events it takes at once.
	Batch int `json:"batch"`
	// Payload has it get payloads.
	Payload bool `json:"payload"`
}

type plugin struct{ cfg Config }

// Plugin returns the plugin.
func Plugin() sdk.Plugin {
	p := sdk.Plugin{
		Name: "idle", Version: "1", Config: sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Hooks: []sdk.Hook{
			{Point: sdk.PointInterceptPublish, Fields: sdk.FieldPayload, Deadline: time.Minute},
			{Point: sdk.PointPublished, Fields: sdk.FieldPayload}, {Point: sdk.PointSessionExpired},
		},
		Queues: []sdk.Queue{{Name: "all", TopicFilters: []string{"#"}}},
	}
	return p
}

func (p *plugin) Start(_ context.Context, _ *sdk.Host, c Config) error {
	p.cfg = c
	return nil
}

// Narrow makes of all that the plugin can do what its config says.
func (p *plugin) Narrow() *sdk.Narrowed {
	h := sdk.Hook{Point: sdk.PointSessionExpired, MaxBatch: uint32(p.cfg.Batch), Deadline: time.Minute}
	switch p.cfg.What {
	case "decide":
		h.Point = sdk.PointInterceptPublish
	case "observe":
		h.Point = sdk.PointPublished
	case "consume":
		return &sdk.Narrowed{Queues: []sdk.Queue{{Name: "all", TopicFilters: []string{"#"}, MaxBatch: uint32(p.cfg.Batch)}}}
	}
	if p.cfg.Payload {
		h.Fields = sdk.FieldPayload
	}
	return &sdk.Narrowed{Hooks: []sdk.Hook{h}}
}

func (p *plugin) Publish(context.Context, *sdk.PublishRequest) (sdk.Decision, error) {
	return sdk.Continue(), nil
}

func (p *plugin) Observe(context.Context, *sdk.EventBatch) error { return nil }

func (p *plugin) Consume(context.Context, *sdk.ConsumeBatch) error { return nil }
