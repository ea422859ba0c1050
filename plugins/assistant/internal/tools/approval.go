package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/sdk"
)

// approvalRequest is what a person has to decide.
type approvalRequest struct {
	ID           string `json:"id"`
	Tool         string `json:"tool"`
	Arguments    string `json:"arguments"`
	Assistant    string `json:"assistant"`
	Client       string `json:"client"`
	Username     string `json:"username,omitempty"`
	Conversation string `json:"conversation,omitempty"`
	Expires      string `json:"expires"`
	Decide       string `json:"decide"`
}

func (s *Set) approvalTopic() string {
	if t := s.c.Approval.Topic; t != "" {
		return t
	}
	return s.o.Prefix + "/approval"
}

// decisionLevel is behind the topic of a request.
const decisionLevel = "/decision"

// decision is what a person says.
type decision struct {
	Approve bool   `json:"approve"`
	Reason  string `json:"reason"`
}

// read reads "yes", "no", or a decision in JSON. What is neither is no decision.
func (d *decision) read(payload []byte) error {
	switch text := strings.ToLower(strings.TrimSpace(string(payload))); text {
	case "yes", "approve", "approved", "true":
		d.Approve = true
		return nil
	case "no", "deny", "denied", "false":
		return nil
	}
	var in struct {
		Approve *bool  `json:"approve"`
		Reason  string `json:"reason"`
	}
	if err := json.Unmarshal(payload, &in); err != nil {
		return err
	}
	if in.Approve == nil {
		return errors.New("approve is missing")
	}
	d.Approve, d.Reason = *in.Approve, in.Reason
	return nil
}

// approve has a person decide about a call, and returns who has said yes. The client that
// asks does not decide, by no connection of its user's: else a model could have what it
// wants from whom it has fooled.
func (s *Set) approve(ctx context.Context, a *tool.Ask, name string, args json.RawMessage) (by string, err error) {
	timeout := s.c.Approval.Timeout.Std()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	id := secret()
	topic := s.approvalTopic() + "/" + id
	var d decision
	w := &waiter{fits: func(g *got) bool {
		if g.client == a.ClientID || a.Username != "" && g.username == a.Username {
			s.h.Logger().Warn("who asks for a tool cannot approve its use", "ask", a.ID, "tool", name, "client", g.client)
			return false
		}
		if err := d.read(g.Payload); err != nil {
			s.h.Logger().Warn("a decision cannot be read", "ask", a.ID, "tool", name, "client", g.client, "error", err)
			return false
		}
		return true
	}}
	defer s.desk.wait(place{a.Namespace, topic + decisionLevel}, w)()
	body, err := json.Marshal(&approvalRequest{
		ID: id, Tool: name, Arguments: string(args), Assistant: a.Assistant, Client: a.ClientID, Username: a.Username, Conversation: a.Conversation,
		Expires: time.Now().Add(timeout).UTC().Format(time.RFC3339), Decide: topic + decisionLevel,
	})
	if err != nil {
		return "", err
	}
	res, err := s.h.Publish(ctx, sdk.Message{
		Topic: topic, Payload: body, QoS: 1, Namespace: a.Namespace, Hops: a.Hops, ContentType: "application/json", PayloadFormat: 1,
		ResponseTopic: topic + decisionLevel, MessageExpiryInterval: uint32(timeout/time.Second) + 1,
	})
	if err == nil {
		err = refused(res)
	}
	var g *got
	if err == nil {
		g, err = w.get(ctx)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return "", tool.Refuse("nobody has approved this within %s", timeout)
	case err != nil:
		return "", fmt.Errorf("ask for approval: %w", err)
	case !d.Approve && d.Reason != "":
		return "", tool.Refuse("%s has not approved this: %s", who(g), d.Reason)
	case !d.Approve:
		return "", tool.Refuse("%s has not approved this", who(g))
	}
	return who(g), nil
}

// who names who has decided.
func who(g *got) string {
	switch {
	case g.username != "" && g.client != "":
		return g.username + " (client " + g.client + ")"
	case g.client != "":
		return "client " + g.client
	}
	return "the broker or a plugin"
}

// refused is the error of a message that was not published.
func refused(res []sdk.PublishResult) error {
	if len(res) != 1 {
		return fmt.Errorf("%d results for one message", len(res))
	}
	if code := res[0].ReasonCode; code >= 0x80 {
		return &sdk.ReasonError{Code: sdk.ReasonCode(code), Reason: res[0].Reason}
	}
	return nil
}
