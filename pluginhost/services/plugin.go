package services

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Config is what the operator gives a plugin.
type Config struct {
	// Name in the config. Version is the plugin's own, for the servers that it calls.
	Name, Version string
	// Grants given. A name may come several times: a call is covered if one of them covers it.
	Grants []pluginv1.Grant
	// Revoked are the names of grants that it does not have after all: of those that every
	// plugin has otherwise ("log", "metrics", "timers").
	Revoked []string
	// Namespaces in which it may act at all; none stands for all, "" for the default one.
	Namespaces []string
}

// maxHops is how many plugins, one by one, may publish what a message has led to.
const maxHops = 8

// Plugin is one plugin of the config, through all its reloads.
type Plugin struct {
	s     *Services
	name  string
	given atomic.Pointer[given]

	// origins are those of its messages, by hops.
	origins   [maxHops + 1]*packet.Origin
	publishes bucket
	values    *values
	lines     lines
	metrics   registry
	fetching  chan struct{} // a token for each request under way

	mu       sync.Mutex
	refused  map[string]int64 // by grant
	reported map[report]time.Time
}

// report is what refusals are logged once a minute by.
type report struct{ grant, scope string }

func newPlugin(s *Services, name string) *Plugin {
	p := &Plugin{
		s: s, name: name, values: newValues(s, name), fetching: make(chan struct{}, maxFetches),
		refused: map[string]int64{}, reported: map[report]time.Time{},
	}
	for hops := range p.origins {
		p.origins[hops] = &packet.Origin{Plugin: name, Hops: uint8(hops)}
	}
	return p
}

// SetGrants puts other grants in force, also for instances that run. c.Name counts for
// nothing. An error says what is wrong with them; then nothing has changed.
func (p *Plugin) SetGrants(c Config) error {
	c.Name = p.name
	g, err := newGiven(c)
	if err != nil {
		return err
	}
	p.given.Store(g)
	return nil
}

// Refused returns how many calls were refused for want of a grant, by its name.
func (p *Plugin) Refused() map[string]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.refused)
}

// Instance is what a Service has to know of the instance that it serves. Its methods are
// safe for concurrent use.
type Instance interface {
	// Complete gives verdicts that were put off. It returns how many came too late. It must
	// not keep in.
	Complete(in *pluginv1.CompleteRequest) (late uint32)
	// Timer is called when a timer has run out, on a goroutine of its own; it may take its
	// time. Calls of one timer do not overlap.
	Timer(t *pluginv1.TimerFired)
	// Hops is the hop count of the message that the instance is being asked about, if the
	// runtime knows which one that is; else 0.
	Hops() uint32
}

// Service makes the host's side of one instance. Close it with the instance.
func (p *Plugin) Service(i Instance) *Service {
	s := &Service{p: p, instance: i, timers: map[string]*timer{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}
