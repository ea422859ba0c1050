package assistant

import (
	"context"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/sdk"
)

// auditBody is an audit event as it is published.
type auditBody struct {
	Time         string `json:"time"`
	Ask          string `json:"ask"`
	Assistant    string `json:"assistant"`
	Namespace    string `json:"namespace,omitempty"`
	Client       string `json:"client,omitempty"`
	Username     string `json:"username,omitempty"`
	Conversation string `json:"conversation,omitempty"`
	Automation   string `json:"automation,omitempty"`
	Tool         string `json:"tool"`
	Arguments    string `json:"arguments"`
	Outcome      string `json:"outcome"`
	Result       string `json:"result"`
	Milliseconds int64  `json:"milliseconds"`
}

// audit writes down that a tool was called: into the log, and to the audit topic.
func (p *plugin) audit(e *tool.Event) {
	log := p.log.Info
	if e.Outcome != tool.Done {
		log = p.log.Warn
	}
	log("a tool was called", "ask", e.Ask.ID, "assistant", e.Ask.Assistant, "namespace", e.Ask.Namespace, "client", e.Ask.ClientID,
		"automation", e.Ask.Automation, "tool", cut(e.Tool, 100), "arguments", p.redact.redact(e.Arguments), "outcome", e.Outcome, "result", p.redact.redact(e.Result))
	if p.config.AuditTopic == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	body := encode(&auditBody{
		Time: time.Now().UTC().Format(time.RFC3339Nano), Ask: e.Ask.ID, Assistant: e.Ask.Assistant, Namespace: e.Ask.Namespace,
		Client: e.Ask.ClientID, Username: e.Ask.Username, Conversation: e.Ask.Conversation, Automation: e.Ask.Automation,
		Tool: e.Tool, Arguments: e.Arguments, Outcome: e.Outcome, Result: cut(e.Result, 64<<10), Milliseconds: e.Milliseconds,
	})
	res, err := p.host.Publish(ctx, sdk.Message{Topic: p.config.AuditTopic, Payload: body, QoS: 1, ContentType: typeJSON, PayloadFormat: 1, Hops: e.Ask.Hops})
	if err == nil && res[0].ReasonCode >= 0x80 {
		err = &sdk.ReasonError{Code: sdk.ReasonCode(res[0].ReasonCode), Reason: res[0].Reason}
	}
	if err != nil {
		p.log.Error("an audit event could not be published", "ask", e.Ask.ID, "topic", p.config.AuditTopic, "error", err)
	}
}
