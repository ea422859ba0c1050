package instance

import (
	"context"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// Plugin is a running plugin as its host sees it, whatever the runtime. The host
// calls Describe, Start, then everything else, then Stop, and Close in any case.
//
// All methods but Close are safe for concurrent use once Start has returned. Neither
// side keeps or changes what the other has passed after a call, or for Process and
// Consume after the answer. An error is a failure of the plugin (a crash, a bug, a
// deadline); what it refuses on purpose is said inside of the answer.
type Plugin interface {
	Describe(ctx context.Context, in *pluginv1.DescribeRequest) (*pluginv1.Manifest, error)
	Start(ctx context.Context, in *pluginv1.StartRequest) (*pluginv1.StartResponse, error)
	Configure(ctx context.Context, in *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error)
	Stop(ctx context.Context, in *pluginv1.StopRequest) (*pluginv1.StopResponse, error)
	Health(ctx context.Context, in *pluginv1.HealthRequest) (*pluginv1.HealthResponse, error)

	// Process asks for the verdicts about a batch and writes them to a, which is
	// empty. It returns true if that is done, and then err counts; or false, and
	// calls done later, once, from any goroutine. Seq is the runtime's own affair.
	// Batches of one client's events come, and are answered, in order. After a plugin has
	// called InvalidateDecisions, batches of PointPermit ask about all connected clients.
	Process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (answered bool, err error)
	// Consume is Process for a consumer's messages.
	Consume(b *pluginv1.ConsumeBatch, r *pluginv1.ConsumeResult, done func(error)) (answered bool, err error)

	HTTP(ctx context.Context, in *pluginv1.HTTPRequest) (*pluginv1.HTTPResponse, error)
	Timer(ctx context.Context, in *pluginv1.TimerFired) (*pluginv1.TimerResponse, error)

	// Close ends the plugin at once, with everything that is under way (done is
	// called with an error), and gives up its resources. It may be called more than
	// once, and while other methods run.
	Close() error
}

// Open makes an instance that calls host. It runs none of the plugin's code that
// could block for long; ctx bounds it.
type Open func(ctx context.Context, host v1host.Service) (Plugin, error)

// Exited is implemented by a Plugin that can end by itself, as a process does. The
// channel is closed when that happens.
type Exited interface {
	Exited() <-chan struct{}
}
