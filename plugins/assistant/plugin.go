package assistant

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/automation"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/chat"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/engine"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fair"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fault"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/mcp"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tools"
	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// fields are those of questions.
const fields = sdk.FieldPayload | sdk.FieldProperties

// Plugin is what is registered.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "assistant", Version: "1.0.0", Author: "Patchbay",
		Description: "Clients ask a language model by MQTT.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		// The topics of both depend on the config; see Narrow.
		Queues: []sdk.Queue{{Name: "*", TopicFilters: []string{"#"}, Fields: fields | sdk.FieldUserProperties}},
		Hooks: []sdk.Hook{
			{Point: sdk.PointInterceptPublish, TopicFilters: []string{"#"}, Fields: sdk.FieldProperties},
			{Point: sdk.PointPublished, TopicFilters: []string{"#"}, Fields: fields},
			{Point: sdk.PointDropped},
		},
		Grants: []sdk.Grant{
			{Name: "publish", Reason: "Publishes answers."},
			{Name: "kv", Reason: "Keeps conversations, and what was spent."},
			{Name: "publish_as_client", Optional: true, Reason: "Answers on Response Topics that answers.response_topics does not name, with the client's permissions; tools that publish."},
			{Name: "clients", Optional: true, Reason: "Tools that read: asks what the client may be shown. The tool that lists clients."},
			{Name: "retained", Optional: true, Reason: "Tools that read retained messages, and images that a topic has retained."},
		},
	}
}

func init() { sdk.Register(Plugin()) }

type plugin struct {
	host   *sdk.Host
	log    *sdk.Logger
	config Config
	engine *engine.Engine
	chats  *chat.Store
	// tools are what models may call; nil: nothing.
	tools       tool.Source
	set         *tools.Set
	servers     *mcp.Servers // nil: none
	automations *automation.Set
	redact      redactor
	// held is the size of all questions that wait or are being answered.
	held atomic.Int64
}

var (
	_ sdk.Starter[Config]    = (*plugin)(nil)
	_ sdk.Consumer           = (*plugin)(nil)
	_ sdk.PublishInterceptor = (*plugin)(nil)
	_ sdk.Narrower           = (*plugin)(nil)
	_ sdk.Healther           = (*plugin)(nil)
	_ sdk.Stopper            = (*plugin)(nil)
)

// Start implements sdk.Starter. It does not ask the endpoint anything. A change of the
// config starts another instance beside this one, which ends when it has answered.
func (p *plugin) Start(_ context.Context, h *sdk.Host, c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	list, err := c.assistants()
	if err != nil {
		return err
	}
	p.host, p.log, p.config = h, h.Logger(), c
	p.chats = chat.NewStore(h.KV(), c.Conversations.Keep.Std())
	if p.redact, err = newRedactor(c.Log.Redact); err != nil {
		return err
	}
	o := engine.Options{
		Host: h, Assistants: list, Client: c.Limits.Client.limits(), Namespace: c.Limits.Namespace.limits(), Audit: p.audit,
		Queue: fair.Options{Running: c.Limits.MaxRunning, PerNamespace: c.Limits.MaxRunningPerNamespace, Waiting: c.Limits.MaxWaiting},
	}
	if c.Log.Prompts != "off" {
		o.Trace = p.trace
	}
	if err := p.startTools(); err != nil {
		return err
	}
	p.engine = engine.New(o)
	p.startAutomations()
	return nil
}

// askQueue is the queue of questions.
const askQueue = "ask"

// Narrow implements sdk.Narrower: the config says which topics are questions.
func (p *plugin) Narrow() *sdk.Narrowed {
	filters := []string{p.config.Prefix + "/+/+/" + askVerb, p.config.Prefix + "/+/+/" + resetVerb}
	asks := sdk.Queue{Name: askQueue, TopicFilters: filters, Fields: fields, MaxBatch: 64}
	return &sdk.Narrowed{
		Queues: slices.Concat([]sdk.Queue{asks}, p.automations.Queues(), p.set.Queues()),
		Hooks:  append(p.set.Hooks(), sdk.Hook{Point: sdk.PointInterceptPublish, TopicFilters: filters, Fields: sdk.FieldProperties}),
	}
}

// Publish implements sdk.PublishInterceptor: questions are not retained, since the next
// subscriber would read them.
func (p *plugin) Publish(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	if r.Message.Retain {
		r.SetRetain(false)
	}
	return sdk.Continue(), nil
}

// maxHeld bounds the size of all questions in memory, in bytes.
const maxHeld = 64 << 20

// Consume implements sdk.Consumer. It hands questions over and does not wait for answers:
// what has been handed over is answered, if not by an answer then by an error, unless the
// plugin dies.
func (p *plugin) Consume(ctx context.Context, b *sdk.ConsumeBatch) error {
	switch b.Queue {
	case askQueue:
	case tools.Queue:
		p.set.Consume(b)
		return nil
	default:
		return p.automations.Consume(ctx, b)
	}
	for i := range b.Len() {
		d := b.At(i)
		p.take(ctx, d.Client, d.Message)
	}
	return nil
}

// take takes a question. Nothing of m is kept.
func (p *plugin) take(ctx context.Context, c *sdk.Client, m *sdk.Message) {
	q, err := p.question(c, m)
	if q == nil {
		return // not a question
	}
	if err == nil {
		err = p.admit(q, m)
	}
	if err != nil {
		p.refuse(ctx, q, err)
		return
	}
	q.size = int64(len(m.Payload))
	if p.held.Add(q.size) > maxHeld {
		p.held.Add(-q.size)
		p.refuse(ctx, q, fault.New(fault.Busy, "too much waits for an answer; try again later").After(5*time.Second))
		return
	}
	p.engine.Submit(&engine.Job{
		Ask: q.ask, Lane: q.lane(), Deadline: time.Now().Add(p.config.Answers.Timeout.Std()),
		Run: func(ctx context.Context) {
			defer p.held.Add(-q.size)
			p.answer(ctx, q)
		},
		Drop: func(err error) {
			p.held.Add(-q.size)
			p.refuse(context.Background(), q, err)
		},
	})
}

// admit says what is wrong with a question before it waits for its turn.
func (p *plugin) admit(q *question, m *sdk.Message) error {
	if len(m.Payload) > int(p.config.Answers.MaxAsk) {
		return fault.New(fault.TooLarge, "a question has %d bytes at most", p.config.Answers.MaxAsk)
	}
	if age := time.Since(time.UnixMilli(m.ReceivedMs)); m.ReceivedMs > 0 && age > p.config.Answers.MaxAge.Std() {
		return fault.New(fault.Expired, "the question was asked %s ago, when nobody was there to answer it", age.Round(time.Second))
	}
	return p.read(q, m)
}

// Health implements sdk.Healther.
func (p *plugin) Health(context.Context) error { return p.engine.Health() }

// margin is what is kept of the time to stop for telling those who wait.
const margin = time.Second

// Stop implements sdk.Stopper. What runs gets the time that there is; so does what waits
// if another instance has taken over, else it gets an error.
func (p *plugin) Stop(ctx context.Context, reason sdk.StopReason) error {
	if p.engine == nil {
		return nil // Start was refused
	}
	if d, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, d.Add(-margin))
		defer cancel()
	}
	p.engine.Close(ctx, reason == pluginv1.StopReasonReplaced)
	p.stopTools()
	return nil
}

// trace logs what goes to a model and what comes back, at level debug.
func (p *plugin) trace(a *tool.Ask, what, text string) {
	if p.config.Log.Prompts == "redacted" {
		text = p.redact.redact(text)
	}
	p.log.Debug("model "+what, "ask", a.ID, "assistant", a.Assistant, "client", a.ClientID, "text", short(text))
}

// told logs an error that is the operator's to know, not the client's alone.
func (p *plugin) told(q *question, err error) {
	var f *fault.Error
	if !errors.As(err, &f) || f.Cause == nil {
		return
	}
	p.log.Warn("a question was not answered", "ask", q.ask.ID, "assistant", q.ask.Assistant, "client", q.ask.ClientID,
		"code", string(f.Code), "error", p.redact.redact(strings.ToValidUTF8(f.Cause.Error(), "")))
}
