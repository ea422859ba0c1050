package assistant

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/sashabaranov/go-openai"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// fence is a plugin for permissions: clients that it knows may publish and subscribe to
// what matches their filters, others to everything. What it delivers on masked it masks.
type fence struct {
	publish, subscribe map[string][]string
	masked             string
}

func (f *fence) plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "fence", Version: "1.0.0", New: func() any { return f },
		Hooks: []sdk.Hook{{Point: sdk.PointInterceptDeliver, TopicFilters: []string{"masked/#"}, Fields: sdk.FieldPayload}},
	}
}

// Authorize implements sdk.Authorizer.
func (f *fence) Authorize(_ context.Context, r *sdk.AuthorizeRequest) (sdk.Decision, error) {
	rules := f.subscribe
	if r.Access == sdk.AccessPublish {
		rules = f.publish
	}
	filters, known := rules[r.Client.ClientID]
	for _, one := range filters {
		if bridge.Match(one, r.Topic) || one == r.Topic {
			return sdk.Allow(), nil
		}
	}
	if known {
		return sdk.Deny(sdk.NotAuthorized, "fenced off"), nil
	}
	return sdk.Allow(), nil
}

// Deliver implements sdk.DeliverInterceptor.
func (f *fence) Deliver(_ context.Context, r *sdk.PublishRequest) (sdk.Decision, error) {
	if f.masked != "" && bridge.Match(f.masked, r.Message.Topic) {
		r.SetPayload([]byte("***"))
	}
	return sdk.Continue(), nil
}

// order is an instruction that obey follows, wherever it stands.
func order(tool, args string) string { return "CALL " + tool + " " + args + " END" }

var orders = regexp.MustCompile(`(?s)CALL (\w[\w-]*) (.*?) END`)

// obey is a model without a will of its own: it calls what the last thing that it has read
// tells it to call, whoever has written that. If nothing does, it repeats what it has read.
func obey(r *fakeai.Request) fakeai.Reply {
	last := r.Messages[len(r.Messages)-1]
	text := fakeai.Plain(last.Content)
	for _, p := range last.MultiContent {
		text += fakeai.Plain(p.Text)
	}
	var reply fakeai.Reply
	for _, m := range orders.FindAllStringSubmatch(strings.ReplaceAll(text, `\"`, `"`), -1) {
		reply.Calls = append(reply.Calls, openai.ToolCall{
			ID: "call-" + string(rune('a'+len(reply.Calls))), Type: openai.ToolTypeFunction, Function: openai.FunctionCall{Name: m[1], Arguments: m[2]},
		})
	}
	if len(reply.Calls) == 0 {
		return fakeai.Reply{Chunks: []string{text}}
	}
	return reply
}

// offered are the names of the tools of a request.
func offered(r *fakeai.Request) (names []string) {
	for _, t := range r.Tools {
		names = append(names, t.Function.Name)
	}
	return names
}

// read is what all requests to the model had in them, their definitions of tools included.
func (s *site) read() string {
	var b strings.Builder
	for _, r := range s.ai.Requests() {
		text, err := json.Marshal(r)
		if err != nil {
			s.t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}

const auditTopic = "audit/assistant"

// audits returns the audit events that have come, by their conversation.
func audits(t testing.TB, c *client) map[string][]auditBody {
	t.Helper()
	out := map[string][]auditBody{}
	for _, p := range c.received(auditTopic) {
		var e auditBody
		if err := json.Unmarshal(p.Payload, &e); err != nil {
			t.Fatalf("%s: %v", p.Payload, err)
		}
		out[e.Conversation] = append(out[e.Conversation], e)
	}
	return out
}

// allTools is a config with every tool.
const allTools = `"audit_topic":"` + auditTopic + `","tools":{
	"use":["read_retained","read_recent","list_topics","publish","request","list_clients","broker_metrics","explain_drop"],
	"custom":[{"name":"set_lamp","description":"Switches a lamp.","topic":"home/${payload.room}/lamp/set","payload":"{\"on\": ${payload.on}, \"by\": ${client_id}}",
		"parameters":"{\"type\":\"object\",\"properties\":{\"room\":{\"type\":\"string\"},\"on\":{\"type\":\"boolean\"}},\"required\":[\"room\"],\"additionalProperties\":false}"}]`

// toolGrants are the grants of all tools.
func toolGrants() []sdk.Grant {
	return []sdk.Grant{{Name: "publish_as_client"}, {Name: "clients"}, {Name: "retained", TopicFilters: []string{"#", "$SYS/#"}}}
}
