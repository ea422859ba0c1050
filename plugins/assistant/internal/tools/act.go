package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// acting are the tools that publish.
func (s *Set) acting() []*entry {
	return []*entry{
		{
			Tool: tool.Tool{
				Name: publish, Description: "Publishes an MQTT message as the user's client.",
				Parameters: json.RawMessage(`{"type":"object","properties":{"topic":{"type":"string"},"payload":{"type":"string"},` +
					`"qos":{"type":"integer","minimum":0,"maximum":2},"retain":{"type":"boolean"}},"required":["topic","payload"],"additionalProperties":false}`),
			},
			prepare: s.publish,
		},
		{
			Tool: tool.Tool{
				Name: request, Description: "Publishes an MQTT message as the user's client with a Response Topic, and waits for the answer of a device.",
				Parameters: json.RawMessage(`{"type":"object","properties":{"topic":{"type":"string"},"payload":{"type":"string"},` +
					`"qos":{"type":"integer","minimum":0,"maximum":2}},"required":["topic","payload"],"additionalProperties":false}`),
			},
			prepare: s.request,
		},
	}
}

// writeArgs are the arguments of publish and request.
type writeArgs struct {
	Topic   string  `json:"topic"`
	Payload *string `json:"payload"`
	QoS     *uint32 `json:"qos"`
	Retain  bool    `json:"retain"`
}

// message reads them.
func (w *writeArgs) message(s *Set, args json.RawMessage) (*sdk.Message, error) {
	if err := decode(args, w); err != nil {
		return nil, err
	}
	if w.Payload == nil {
		return nil, errors.New("the arguments: payload is missing")
	}
	m := &sdk.Message{Topic: w.Topic, Payload: []byte(*w.Payload), QoS: 1, Retain: w.Retain, PayloadFormat: 1}
	if w.QoS != nil {
		m.QoS = *w.QoS
	}
	return m, s.mayWrite(w.Topic)
}

// mayWrite refuses topics that are no topics of tools, whatever the client may.
func (s *Set) mayWrite(topic string) error {
	if err := bridge.CheckTopic(topic); err != nil {
		return fmt.Errorf("topic: %w", err)
	}
	if s.own(topic) {
		return tool.Refuse("tools do not publish to the assistant's own topics: %s", topic)
	}
	return nil
}

func (s *Set) publish(_ context.Context, a *tool.Ask, args json.RawMessage) (deed, error) {
	m, err := new(writeArgs).message(s, args)
	if err != nil {
		return nil, err
	}
	if !s.open(m.Topic) {
		return nil, tool.Refuse("tools are not used on the topic %s here", m.Topic)
	}
	return s.sending(a, m), nil
}

// sending publishes a message that nothing is to come back for.
func (s *Set) sending(a *tool.Ask, m *sdk.Message) deed {
	return func(ctx context.Context) (tool.Result, error) {
		receivers, err := s.send(ctx, a, m)
		if err != nil {
			return tool.Result{}, err
		}
		return encode(map[string]any{"published": true, "receivers": receivers})
	}
}

// send publishes as the client of an ask.
func (s *Set) send(ctx context.Context, a *tool.Ask, m *sdk.Message) (receivers uint32, err error) {
	if err := s.still(ctx, a); err != nil {
		return 0, err
	}
	m.Namespace, m.Hops = a.Namespace, a.Hops
	res, err := s.h.PublishAs(ctx, a.ClientID, *m)
	if err != nil {
		return 0, fmt.Errorf("publish to %s: %w", m.Topic, err)
	}
	if err := refused(res); err != nil {
		return 0, tool.Refuse("the client may not publish to %s: %v", m.Topic, err)
	}
	return res[0].Receivers, nil
}

// replyLevel is the level below Prefix of the topics on which devices answer.
const replyLevel = "/reply/"

func (s *Set) request(_ context.Context, a *tool.Ask, args json.RawMessage) (deed, error) {
	m, err := new(writeArgs).message(s, args)
	if err != nil {
		return nil, err
	}
	if m.Retain {
		return nil, errors.New("the arguments: a request is not retained")
	}
	if !s.open(m.Topic) {
		return nil, tool.Refuse("tools are not used on the topic %s here", m.Topic)
	}
	return func(ctx context.Context) (tool.Result, error) {
		return s.exchange(ctx, a, m, s.o.Prefix+replyLevel+secret(), true)
	}, nil
}

// exchange publishes a message and waits for its answer on a topic: private is one that was
// made up for it; what comes on any other must be the client's to read.
func (s *Set) exchange(ctx context.Context, a *tool.Ask, m *sdk.Message, on string, private bool) (tool.Result, error) {
	id := []byte(secret())
	m.ResponseTopic, m.CorrelationData = on, id
	if !private {
		if err := s.mayRead(ctx, a, on); err != nil {
			return tool.Result{}, err
		}
	}
	w := &waiter{correlation: id}
	defer s.desk.wait(place{a.Namespace, on}, w)()
	began := time.Now()
	receivers, err := s.send(ctx, a, m)
	if err != nil {
		return tool.Result{}, err
	}
	g, err := w.get(ctx)
	if err != nil {
		return tool.Result{}, fmt.Errorf("no answer within %s; the message went to %d receivers", time.Since(began).Round(time.Second/10), receivers)
	}
	answer := &g.Message
	if !private {
		list, err := s.screen(ctx, a, []sdk.Message{g.Message})
		if err != nil {
			return tool.Result{}, err
		}
		if answer = list[0]; answer == nil {
			return tool.Result{}, tool.Refuse("the client may not read the answer")
		}
	}
	return encode(s.describe(answer))
}
