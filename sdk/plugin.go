package sdk

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// Plugin is what a plugin says of itself. It must not be changed after Register.
type Plugin struct {
	// Name of the plugin: 1 to 64 of a-z, 0-9 and "-", beginning with a letter.
	Name string
	// Version for people; semantic versioning is a good idea.
	Version, Author string
	// Description in one sentence.
	Description string
	// New makes the value that implements interfaces of hooks.go. It is called for each
	// instance, and once before to see what it implements.
	New func() any
	// Config is made by ConfigOf. Nil: the plugin takes no config, and Start, if it has
	// it, is that of Starter[struct{}].
	Config ConfigType
	// Hooks lists points of observation for an Observer, and for the other interfaces
	// what is to be other than by default. Points of interfaces that are implemented
	// need not be listed, but for PointAuthorizeReceive.
	Hooks []Hook
	// Queues of a Consumer. One whose name ends with "*" is none, but allows those of
	// Narrowed whose names begin with what is before it: for queues that the config makes.
	Queues []Queue
	// Routes of an HTTPHandler, below /plugins/NAME/ of the admin listener.
	Routes []HTTPRoute
	// Grants that the plugin asks for.
	Grants []Grant
	// Features that the host must have; see HostInfo.Features.
	Features []string
	// Workers is how many calls may run at once where they may block, 64 by default.
	Workers int
	// SingleInstance has all calls made to one WebAssembly instance, one after the other,
	// instead of one instance for each of the broker's event loops.
	SingleInstance bool
	// Preemptible asks for WebAssembly that can be interrupted anywhere: slower, but a
	// call may take as long as its deadline.
	Preemptible bool
}

// Hook says how one point is wanted. Zero values stand for the contract's defaults.
type Hook struct {
	Point Point
	// TopicFilters, MinQoS and Namespaces restrict what comes.
	TopicFilters []string
	MinQoS       uint32
	Namespaces   []string
	// Fields is a sum of Field values, in place of the default of the interface, which
	// counts if it is 0.
	Fields Field
	// MaxBatch is the largest number of events in a batch.
	MaxBatch uint32
	// MaxDelay is how long observations may wait to fill a batch.
	MaxDelay time.Duration
	// Deadline for a batch; then the failure policy answers.
	Deadline time.Duration
	Failure  FailurePolicy
	// OnlyRefuses is for PointAuthenticate: the plugin continues or refuses, and lets nobody
	// in. Accept and Challenge are failures then. If no other plugin decides who may connect,
	// those that it does not refuse get in where the listener has allow_anonymous, as without
	// any plugin. Brokers of before (HostInfo.Features has no "only_refuses") let nobody in.
	OnlyRefuses bool
	// Blocking says that the method may block: a builtin plugin's is then called on a
	// goroutine of its own and not on the broker's event loop. Without meaning where
	// the interface says that it may block anyway.
	Blocking bool
}

// Queue is what the host keeps for a Consumer. Zero values stand for the contract's
// defaults.
type Queue struct {
	// Name, unique in the plugin. Another name begins anew.
	Name         string
	TopicFilters []string
	MinQoS       uint32
	Namespaces   []string
	// Fields is a sum of Field values; 0 stands for FieldPayload.
	Fields        Field
	MaxBatch      uint32
	MaxBatchBytes Size
	Deadline      time.Duration
	// MaxAttempts before a message becomes a dead letter; 0 is without end.
	MaxAttempts     uint32
	DeadLetterTopic string
	RetryAfter      time.Duration
}

// registered is what this program's packages have registered in their init functions.
var registered []Plugin

// Register makes a plugin known to the program that it is linked into: to sdk.Main, to
// the WebAssembly exports, or to a broker that lists it as builtin. Call it in init. It
// panics if p cannot work, since that is an error in the program.
func Register(p Plugin) {
	if _, err := p.Manifest(); err != nil {
		panic("sdk.Register: " + err.Error())
	}
	if _, ok := Lookup(p.Name); ok {
		panic("sdk.Register: plugin " + p.Name + " is registered twice")
	}
	registered = append(registered, p)
	export(p)
}

// Registered returns all plugins, in the order of Register.
func Registered() []Plugin { return append([]Plugin(nil), registered...) }

// Lookup finds a registered plugin.
func Lookup(name string) (Plugin, bool) {
	for _, p := range registered {
		if p.Name == name {
			return p, true
		}
	}
	return Plugin{}, false
}

// only returns the plugin of a program that has one.
func only() (Plugin, error) {
	if len(registered) != 1 {
		return Plugin{}, errors.New("the program has " + strconv.Itoa(len(registered)) + " registered plugins, not one")
	}
	return registered[0], nil
}

var _ instance.Open = Plugin{}.Open

// Open makes an instance of the builtin runtime: the host's calls reach the plugin's
// methods directly, with nothing encoded or copied.
//
// What must be quick (see hooks.go) runs on the caller's goroutine. What may block runs
// on goroutines of the instance, and the host is told later; until then it must leave
// the batch alone, after Close too: a method that hangs may still be reading it. What
// an Answer holds belongs to the host.
func (p Plugin) Open(_ context.Context, host v1host.Service) (instance.Plugin, error) {
	return open(p, host, builtin)
}

// hook returns what Plugin.Hooks says of a point.
func (p *Plugin) hook(point Point) Hook {
	for _, h := range p.Hooks {
		if h.Point == point {
			return h
		}
	}
	return Hook{Point: point}
}

func (h Hook) proto() pluginv1.Hook {
	return pluginv1.Hook{
		Point: h.Point, TopicFilters: h.TopicFilters, MinQoS: h.MinQoS, Namespaces: h.Namespaces,
		Fields: uint32(h.Fields), MaxBatch: h.MaxBatch, MaxDelayMs: millis(h.MaxDelay), DeadlineMs: millis(h.Deadline),
		Failure: h.Failure, OnlyRefuses: h.OnlyRefuses,
	}
}

func (q Queue) proto() pluginv1.Consumer {
	if q.Fields == 0 {
		q.Fields = FieldPayload
	}
	return pluginv1.Consumer{
		Name: q.Name, TopicFilters: q.TopicFilters, MinQoS: q.MinQoS, Namespaces: q.Namespaces,
		Fields: uint32(q.Fields), MaxBatch: q.MaxBatch, MaxBatchBytes: uint32(q.MaxBatchBytes),
		DeadlineMs: millis(q.Deadline), MaxAttempts: q.MaxAttempts, DeadLetterTopic: q.DeadLetterTopic,
		RetryAfterMs: millis(q.RetryAfter),
	}
}

// millis rounds up, so that a short time does not become none.
func millis(d time.Duration) uint32 {
	return uint32((d + time.Millisecond - 1) / time.Millisecond)
}
