package services

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/sdk/password"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Values keeps small values by key, in buckets that do not see each other. It is the
// method set of core/store's Values.
type Values interface {
	Get(bucket, key string) (value []byte, version uint64, err error)
	Set(bucket, key string, value []byte, ttl time.Duration) (version uint64, err error)
	CompareAndSet(bucket, key string, value []byte, ttl time.Duration, version uint64) (newVersion uint64, err error)
	Delete(bucket, key string) error
	Scan(bucket, prefix string, fn func(key string, value []byte, version uint64) bool) error
}

// Options are what all plugins share. Broker and Values with their errors are required.
type Options struct {
	Broker hook.Broker
	Values Values
	// ErrNotFound and ErrConflict are errors of Values: there is no such key, and the
	// version was another.
	ErrNotFound, ErrConflict error
	// Logger gets plugins' lines, and refusals. Nil: none.
	Logger *slog.Logger
	// Secrets returns what the operator has put into the config under a name.
	Secrets func(name string) (value []byte, ok bool)
	// PublishRate is how many messages a second each plugin may publish; as many may come
	// at once. 0: 100,000.
	PublishRate int
	// KVBytes is what each plugin may store whose grant does not say, keys and values
	// together. 0: 16 MiB.
	KVBytes uint64
	// BansChanged is told when the first ban comes, and when the last one has gone. Calls
	// come one at a time, the last one with the truth. It must not block.
	BansChanged func(any bool)
	// Invalidated is told after a plugin has asked to forget decisions, and the broker has
	// forgotten its own.
	Invalidated func(plugin string, in *pluginv1.InvalidateDecisionsRequest)
}

// Defaults of Options.
const (
	defaultPublishRate = 100_000
	defaultKVBytes     = 16 << 20
)

// Services serves all plugins. Close it when no plugin is left.
type Services struct {
	o         Options
	log       *slog.Logger
	started   time.Time
	passwords *password.Hasher
	fetcher   *fetcher
	bans      bans

	mu      sync.Mutex
	plugins map[string]*Plugin
	// families are the names of metrics in /metrics, with the plugin that has each.
	families map[string]*Plugin
}

// New reads the bans that are stored, and is ready.
func New(o Options) (*Services, error) {
	if o.Broker == nil || o.Values == nil || o.ErrNotFound == nil || o.ErrConflict == nil {
		return nil, errors.New("services: Broker, Values, ErrNotFound and ErrConflict are required")
	}
	o.PublishRate = cmp.Or(o.PublishRate, defaultPublishRate)
	o.KVBytes = cmp.Or(o.KVBytes, defaultKVBytes)
	s := &Services{
		o: o, log: o.Logger, started: time.Now(), passwords: password.New(password.Options{}), fetcher: newFetcher(),
		plugins: map[string]*Plugin{}, families: map[string]*Plugin{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.loadBans(); err != nil {
		return nil, fmt.Errorf("services: reading the bans: %w", err)
	}
	return s, nil
}

// Close gives up resources. Instances must have been closed before.
func (s *Services) Close() {
	s.bans.close()
	s.fetcher.close()
}

// Plugin returns the plugin of a name, with c in force from now on. There is one for each
// name, however often it is asked for: what it counts and stores goes on through reloads.
// An error says what is wrong with the grants; then nothing has changed.
func (s *Services) Plugin(c Config) (*Plugin, error) {
	g, err := newGiven(c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.plugins[c.Name]
	if p == nil {
		p = newPlugin(s, c.Name)
		s.plugins[c.Name] = p
	}
	p.given.Store(g)
	return p, nil
}

// Forget ends what is counted of a plugin that is not configured any more. What it has
// stored stays; see Purge.
func (s *Services) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.plugins[name]
	if p == nil {
		return
	}
	delete(s.plugins, name)
	for family, owner := range s.families {
		if owner == p {
			delete(s.families, family)
		}
	}
}

// list returns the plugins in the order of their names.
func (s *Services) list() []*Plugin {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Plugin, 0, len(s.plugins))
	for _, p := range s.plugins {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *Plugin) int { return cmp.Compare(a.name, b.name) })
	return list
}
