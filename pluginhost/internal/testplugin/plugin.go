// Package testplugin is a plugin for the tests of pluginhost. What it does is told to it
// by user names and topics, so that a test needs no more than a client.
package testplugin

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	// Version goes into what it changes, so that a test sees which one has.
	Version string `json:"version" default:"1" doc:"What the plugin calls itself."`
	// Refuse has Start refuse the config.
	Refuse bool `json:"refuse"`
	// Sick has Health say that it cannot do its work.
	Sick bool `json:"sick"`
	// Log is a file to append consumed and gated payloads to.
	Log string `json:"log"`
	// Only narrows the plugin to topics and user names with this as a level of its own:
	// edit/ONLY/#, gate/ONLY/#, watch/ONLY/#, consume/ONLY/#, and ONLY/… as user name.
	Only string `json:"only"`
	// OnlyRefuses leaves of the plugin its hook for authentication, as one that lets nobody in;
	// what the plugin answers stays as it is.
	OnlyRefuses bool `json:"only_refuses"`
	// Restart has Configure say that it cannot take the config while running.
	Restart bool `json:"restart"`
	// From and To have what is observed or consumed with From as its last level published
	// again with To in its place; Fresh as if it answered to nothing.
	From  string `json:"from"`
	To    string `json:"to"`
	Fresh bool   `json:"fresh"`
}

type plugin struct {
	mu   sync.Mutex
	cfg  Config
	host *sdk.Host
	seen []string

	built string // the version of the program or module
}

// Plugin returns what is registered by Register. Its interceptor may take long, so that a
// busy machine does not make its verdicts late.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "test", Version: "1.0.0", Config: sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Hooks: []sdk.Hook{
			{
				Point: sdk.PointInterceptPublish, Fields: sdk.FieldPayload | sdk.FieldUserProperties, TopicFilters: []string{"edit/#"},
				Deadline: 10 * time.Second,
			},
			{Point: sdk.PointAuthorizePublish, TopicFilters: []string{"guarded/#"}},
			{Point: sdk.PointGatePublish, TopicFilters: []string{"gate/#"}, Fields: sdk.FieldPayload, Deadline: 2 * time.Second},
			{Point: sdk.PointConnected}, {Point: sdk.PointPublished, TopicFilters: []string{"watch/#"}},
		},
		Queues: []sdk.Queue{{Name: "all", TopicFilters: []string{"consume/#"}, MaxAttempts: 3, DeadLetterTopic: "dead", RetryAfter: time.Millisecond}},
		Routes: []sdk.HTTPRoute{{Path: "seen"}, {Path: "call", Methods: []string{"POST"}}},
		Grants: []sdk.Grant{{Name: "publish", Optional: true}},
	}
}

func (p *plugin) Start(_ context.Context, h *sdk.Host, c Config) error {
	if c.Refuse {
		return sdk.NewProblem("/refuse", "must be false")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg, p.host = c, h
	return nil
}

func (p *plugin) Configure(_ context.Context, c Config) error {
	if c.Refuse {
		return sdk.NewProblem("/refuse", "must be false")
	}
	if c.Restart {
		return sdk.ErrRestart
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg = c
	return nil
}

func (p *plugin) config() Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

func (p *plugin) version() string { return p.config().Version }

func (p *plugin) Health(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Sick {
		return errors.New("sick")
	}
	return nil
}

// Authenticate acts on the user name.
func (p *plugin) Authenticate(ctx context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	user := r.Client.Username
	if only := p.config().Only; only != "" {
		name, rest, _ := strings.Cut(user, "/")
		if name != only {
			return sdk.AuthResult{}, nil
		}
		user = rest
	}
	switch user {
	case "":
		return sdk.AuthResult{}, nil
	case "bad":
		return sdk.Refuse(sdk.BadUserNameOrPassword, "no"), nil
	case "panic":
		panic("told to")
	case "hang":
		<-ctx.Done()
		return sdk.AuthResult{}, ctx.Err()
	case "exit":
		os.Exit(3)
	case "limited":
		return sdk.Accept(sdk.Identity{HasPermissions: true, Permissions: []sdk.Permission{
			{Allow: true, Actions: uint32(sdk.AccessPublish | sdk.AccessSubscribe), TopicFilter: "mine/#"},
		}}), nil
	case "fail", "eat", "spin":
		return sdk.AuthResult{}, p.misbehave(ctx, user)
	}
	return sdk.Accept(sdk.Identity{Attributes: []sdk.Pair{{Name: "version", Value: p.version()}}}), nil
}

// Authorize acts on the last level of the topic.
func (p *plugin) Authorize(_ context.Context, r *sdk.AuthorizeRequest) (sdk.Decision, error) {
	if r.Access == sdk.AccessPublish && strings.HasSuffix(r.Topic, "/no") {
		return sdk.Deny(sdk.NotAuthorized, "no"), nil
	}
	return sdk.Allow(), nil
}

// Publish acts on the last level of the topic.
func (p *plugin) Publish(ctx context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	switch word := last(r.Message.Topic); word {
	case "panic":
		panic("told to")
	case "fail":
		return sdk.Continue(), errors.New("told to")
	case "hang":
		<-ctx.Done()
		return sdk.Continue(), ctx.Err()
	case "exit":
		os.Exit(3)
	case "drop":
		return sdk.Drop("told to"), nil
	case "deny":
		return sdk.Deny(sdk.QuotaExceeded, "told to"), nil
	case "disconnect":
		return sdk.Disconnect(0, "told to"), nil
	case "version":
		r.SetPayload([]byte(p.version()))
	case "topic":
		r.SetTopic("edited/" + r.Message.Topic)
	case "wrong":
		r.SetTopic("a/#")
	case "twice":
		r.Add(sdk.Message{Topic: "edited/second", Payload: []byte("second")})
	case "stamp":
		r.SetPayload([]byte(p.stamp() + " " + string(r.Message.Payload)))
	case "call":
		r.SetPayload(p.callInline(ctx, r.Message.Payload))
	case "eat", "spin", "flood":
		return sdk.Continue(), p.misbehave(ctx, word)
	case "later":
		return sdk.Later(func(complete func(sdk.Decision)) {
			time.AfterFunc(10*time.Millisecond, func() { complete(sdk.Drop("later")) })
		}), nil
	}
	return sdk.Continue(), nil
}

// Gate refuses what ends with "no" and notes the rest in the log.
func (p *plugin) Gate(ctx context.Context, b *sdk.GateBatch) error {
	var lines []string
	for i := range b.Len() {
		if err := p.misbehave(ctx, last(b.Message(i).Topic)); err != nil {
			return err
		}
		if m := b.Message(i); strings.HasSuffix(m.Topic, "/no") {
			b.Decide(i, sdk.Deny(sdk.QuotaExceeded, "no"))
		} else {
			lines = append(lines, "gate "+string(m.Payload))
		}
	}
	return p.note(lines)
}

// Observe remembers topics and clients.
func (p *plugin) Observe(ctx context.Context, b *sdk.EventBatch) error {
	if b.Point == sdk.PointPublished {
		for i := range b.Len() {
			m := b.At(i).Message
			if err := p.misbehave(ctx, last(m.Topic)); err != nil {
				return err
			}
			if err := p.answer(ctx, m); err != nil {
				return err
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range b.Len() {
		e := b.At(i)
		if b.Point == sdk.PointConnected {
			p.seen = append(p.seen, "connected "+strings.Clone(e.Client.ClientID))
		} else {
			p.seen = append(p.seen, "published "+strings.Clone(e.Message.Topic))
		}
	}
	return nil
}

// Consume notes payloads in the log; "poison" fails.
func (p *plugin) Consume(ctx context.Context, b *sdk.ConsumeBatch) error {
	var lines []string
	for i := range b.Len() {
		if err := p.answer(ctx, b.At(i).Message); err != nil {
			return err
		}
		if string(b.At(i).Message.Payload) == "poison" {
			b.StopAt(i, 0, "poison")
			break
		}
		lines = append(lines, "consume "+string(b.At(i).Message.Payload))
	}
	return p.note(lines)
}

func (p *plugin) note(lines []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, lines...)
	if p.cfg.Log == "" || len(lines) == 0 {
		return nil
	}
	f, err := os.OpenFile(p.cfg.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		return err
	}
	return f.Sync()
}

// HTTP shows what was seen, or makes a call of the host.
func (p *plugin) HTTP(ctx context.Context, r *sdk.HTTPRequest) (*sdk.HTTPResponse, error) {
	if r.Path == "call" {
		return p.call(ctx, r), nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &sdk.HTTPResponse{Body: []byte(strings.Join(p.seen, "\n"))}, nil
}
