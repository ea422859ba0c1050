package testplugin

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config of the plugin.
type Config struct {
	// Password is what clients must have.
	Password sdk.Secret `json:"password" required:"true" doc:"What clients must have." min:"3"`
	// Prefix of the topics that may be published to.
	Prefix string `json:"prefix" default:"ok/" doc:"What topics must begin with." example:"site/"`
	// TTL of permissions.
	TTL sdk.Duration `json:"ttl" default:"1m" min:"1s" max:"1h" doc:"How long permissions last."`
}

type plugin struct {
	mu    sync.Mutex
	cfg   Config
	host  *sdk.Host
	later func(sdk.AuthResult)
	seen  *sdk.Metric
}

// Plugin returns what is registered by Register.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "testplugin", Version: "1.2.3", Description: "Tests the SDK.",
		Config: sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		Hooks: []sdk.Hook{
			{Point: sdk.PointInterceptPublish, Fields: sdk.FieldPayload | sdk.FieldProperties, Failure: sdk.FailureDrop},
			{Point: sdk.PointConnected}, {Point: sdk.PointTick},
		},
		Queues:         []sdk.Queue{{Name: "all", TopicFilters: []string{"#"}, MaxAttempts: 3}},
		Routes:         []sdk.HTTPRoute{{Path: "seen", Description: "Which clients have connected."}},
		SingleInstance: true,
		Grants: []sdk.Grant{
			{Name: "publish", Reason: "Tells of clients."}, {Name: "kv", Reason: "Remembers clients."},
		},
	}
}

func (p *plugin) Start(_ context.Context, h *sdk.Host, c Config) error {
	if c.Password.Reveal() == "password" {
		return sdk.NewProblem("/password", "must not be the first that everybody tries")
	}
	p.cfg, p.host = c, h
	p.seen = h.Counter("seen_total", "Clients that have connected.")
	h.Logger().Info("started", "prefix", c.Prefix, "ttl", c.TTL)
	return nil
}

func (p *plugin) Configure(_ context.Context, c Config) error {
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

func (p *plugin) Stop(context.Context, sdk.StopReason) error {
	p.host.Logger().Info("stopped")
	return nil
}

// Authenticate allows the password, takes two steps with the method "twice", puts off the
// user "later" until the timer "later" has run out, and fails for others as their names
// say.
func (p *plugin) Authenticate(ctx context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	switch r.Client.Username {
	case "panic":
		panic("asked for it")
	case "fail":
		return sdk.AuthResult{}, errors.New("asked for it")
	case "other":
		return sdk.AuthResult{}, nil
	case "banned":
		return sdk.AuthResult{}, &sdk.ReasonError{Code: sdk.Banned, Reason: "not you"}
	case "later":
		if err := p.host.SetTimer(ctx, sdk.Timer{Name: "later", Delay: time.Second}); err != nil {
			return sdk.AuthResult{}, err
		}
		return sdk.Later(func(complete func(sdk.AuthResult)) {
			p.mu.Lock()
			p.later = complete
			p.mu.Unlock()
		}), nil
	}
	if r.Method == "twice" && r.Step == 0 {
		return sdk.Challenge([]byte("say "+r.Client.ClientID), []byte(r.Client.ClientID)), nil
	}
	if r.Method == "twice" && bytes.Equal(r.Data, r.State) {
		return sdk.Accept(sdk.Identity{Username: "twice"}), nil
	}
	cfg := p.config()
	if string(r.Password) != cfg.Password.Reveal() {
		return sdk.Refuse(sdk.BadUserNameOrPassword, "wrong password"), nil
	}
	return sdk.Accept(sdk.Identity{
		HasPermissions: true,
		Permissions: []sdk.Permission{{
			Allow: true, Actions: uint32(sdk.AccessPublish | sdk.AccessSubscribe), TopicFilter: cfg.Prefix + "#",
			TTLMs: uint64(cfg.TTL.Std().Milliseconds()),
		}},
		Attributes: []sdk.Pair{{Name: "instance", Value: p.host.Name()}},
	}), nil
}

// Permit gives the attribute "group" a prefix, and fails as names say.
func (p *plugin) Permit(_ context.Context, r *sdk.PermitRequest) (sdk.AuthResult, error) {
	switch r.Client.Username {
	case "fail":
		return sdk.AuthResult{}, errors.New("asked for it")
	case "banned":
		return sdk.Refuse(sdk.Banned, "not you"), nil
	}
	for _, a := range r.Client.Attributes {
		if a.Name == "group" {
			return sdk.Permit(sdk.Permission{
				Allow: true, Actions: uint32(sdk.AccessPublish), TopicFilter: a.Value + "/" + r.Client.Username + "/#",
				Retain: sdk.RetainNotRetained,
			}), nil
		}
	}
	return sdk.AuthResult{}, nil
}

func (p *plugin) Authorize(_ context.Context, r *sdk.AuthorizeRequest) (sdk.Decision, error) {
	if strings.HasPrefix(r.Topic, "secret/") {
		return sdk.Deny(0, "secret").Cached(time.Minute), nil
	}
	if r.Access == sdk.AccessPublish && r.Retain {
		return sdk.Deny(sdk.QuotaExceeded, ""), nil
	}
	return sdk.Allow(), nil
}

// Publish does what the topic says.
func (p *plugin) Publish(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	switch r.Message.Topic {
	case "panic":
		var none *sdk.Message
		_ = none.Topic
	case "fail":
		return sdk.Continue(), errors.New("asked for it")
	case "drop":
		return sdk.Drop("unwanted"), nil
	case "disconnect":
		return sdk.Disconnect(0, "go away"), nil
	case "challenge":
		return sdk.Challenge(nil, nil).Decision, nil
	case "upper":
		r.SetPayload(bytes.ToUpper(r.Message.Payload))
		r.SetContentType("text/plain")
	case "twice":
		r.Add(sdk.Message{Topic: "twice/again", Payload: bytes.Clone(r.Message.Payload)})
	case "now":
		return sdk.Later(func(complete func(sdk.Decision)) { complete(sdk.Deny(sdk.ServerBusy, "now")) }), nil
	}
	return sdk.Continue(), nil
}

func (p *plugin) Subscribe(_ context.Context, r *sdk.SubscribeRequest) (sdk.Decision, error) {
	for i, s := range r.Subscriptions {
		switch {
		case s.TopicFilter == "#":
			r.Refuse(i, 0)
		case s.QoS == 2:
			s.QoS = 1
			r.Replace(i, s)
		}
	}
	return sdk.Continue(), nil
}

func (p *plugin) Will(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	if len(r.Message.Payload) == 0 {
		return sdk.Drop(""), nil
	}
	r.SetRetain(false)
	return sdk.Allow(), nil
}

func (p *plugin) Gate(_ context.Context, b *sdk.GateBatch) error {
	for i := range b.Len() {
		switch b.Message(i).Topic {
		case "full":
			return &sdk.ReasonError{Code: sdk.QuotaExceeded, Reason: "full"}
		case "odd":
			b.Decide(i, sdk.Deny(sdk.PayloadFormatInvalid, "odd"))
		}
	}
	return nil
}

// Observe remembers who has connected.
func (p *plugin) Observe(ctx context.Context, b *sdk.EventBatch) error {
	if b.Point != sdk.PointConnected {
		return nil
	}
	for i := range b.Len() {
		e := b.At(i)
		p.seen.Add(1, sdk.Pair{Name: "namespace", Value: e.Client.Namespace})
		if _, err := p.host.KV().Set(ctx, "seen/"+e.Client.ClientID, []byte("1"), time.Hour); err != nil {
			return err
		}
	}
	return nil
}

// Consume does what the payload says.
func (p *plugin) Consume(_ context.Context, b *sdk.ConsumeBatch) error {
	for i := range b.Len() {
		switch string(b.At(i).Message.Payload) {
		case "retry":
			b.Retry(i, 5*time.Second, "not now")
		case "dead":
			b.DeadLetter(i, "hopeless")
		case "ack":
			b.Ack(i)
		case "stop":
			b.StopAt(i, 0, "in order")
			return nil
		case "fail":
			return errors.New("asked for it")
		}
	}
	return nil
}

func (p *plugin) HTTP(ctx context.Context, r *sdk.HTTPRequest) (*sdk.HTTPResponse, error) {
	if r.Path != "seen" {
		return &sdk.HTTPResponse{Status: 404}, nil
	}
	var body []byte
	for e, err := range p.host.KV().Scan(ctx, "seen/", true) {
		var denied *sdk.HostError
		if errors.As(err, &denied) {
			return &sdk.HTTPResponse{Status: 403, Body: []byte("no grant " + strconv.Quote(denied.Grant))}, nil
		}
		if err != nil {
			return nil, err
		}
		body = append(append(body, e.Key...), '\n')
	}
	return &sdk.HTTPResponse{Headers: []sdk.Pair{{Name: "content-type", Value: "text/plain"}}, Body: body}, nil
}

func (p *plugin) Timer(ctx context.Context, t *sdk.TimerFired) error {
	p.mu.Lock()
	complete := p.later
	p.later = nil
	p.mu.Unlock()
	if complete != nil {
		complete(sdk.Accept(sdk.Identity{Username: "late"}))
	}
	_, err := p.host.Publish(ctx, sdk.Message{Topic: "timers/" + t.Name, Payload: t.Data})
	return err
}
