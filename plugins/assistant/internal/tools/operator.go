package tools

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/tool"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

// operating are the tools about the broker itself.
func (s *Set) operating() []*entry {
	return []*entry{
		{
			Tool: tool.Tool{
				Name: listClients, Description: "Lists the clients that are connected.",
				Parameters: json.RawMessage(`{"type":"object","properties":{"client_id_prefix":{"type":"string"},"username":{"type":"string"},` +
					`"limit":{"type":"integer","minimum":1,"maximum":100}},"additionalProperties":false}`),
			},
			guarded: true, prepare: s.listClients,
		},
		{
			Tool: tool.Tool{
				Name: explainDrop, Description: "Says which messages were dropped lately and why: those that the user has sent, or should have got.",
				Parameters: json.RawMessage(`{"type":"object","properties":{"topic_filter":{"type":"string","description":"Topic Filter of the messages"},` +
					`"client_id":{"type":"string","description":"who should have got them, or has sent them"},` +
					`"limit":{"type":"integer","minimum":1,"maximum":100}},"additionalProperties":false}`),
			},
			prepare: s.explainDrop,
		},
	}
}

// client is a client as the model is told.
type client struct {
	ClientID  string `json:"client_id"`
	Username  string `json:"username,omitempty"`
	Address   string `json:"address,omitempty"`
	Protocol  uint32 `json:"protocol_version,omitempty"`
	Connected string `json:"connected_at,omitempty"`
}

func (s *Set) listClients(_ context.Context, a *tool.Ask, args json.RawMessage) (deed, error) {
	var in struct {
		Prefix   string `json:"client_id_prefix"`
		Username string `json:"username"`
		Limit    int    `json:"limit"`
	}
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (tool.Result, error) {
		list, more := []client{}, false
		for c, err := range s.h.Clients(ctx, sdk.ClientsRequest{
			Namespace: a.Namespace, Username: in.Username, ClientIDPrefix: in.Prefix, Fields: uint32(sdk.FieldConnection),
		}) {
			if err != nil {
				return tool.Result{}, fmt.Errorf("list clients: %w", err)
			}
			if more = len(list) == limited(in.Limit); more {
				break
			}
			one := client{ClientID: c.ClientID, Username: c.Username, Address: c.RemoteAddress, Protocol: c.ProtocolVersion}
			if c.ConnectedMs > 0 {
				one.Connected = time.UnixMilli(c.ConnectedMs).UTC().Format(time.RFC3339)
			}
			list = append(list, one)
		}
		return encode(map[string]any{"clients": list, "more": more})
	}, nil
}

// drop is a message that somebody did not get.
type drop struct {
	at                    int64
	topic, reason, plugin string
	// client should have got it, publisher has sent it; "": nobody, or not known.
	client, publisher string
}

// drops remembers the last drops of each namespace.
type drops struct {
	mu     sync.Mutex
	spaces map[string][]drop
	total  int
}

// maxDrops is how many drops are remembered: of one namespace, and in all.
const maxDrops, maxAllDrops = 500, 20_000

// add remembers a drop. Nothing of the event is kept.
func (d *drops) add(e *sdk.Event) {
	one := drop{at: e.TimeMs, topic: e.Message.Topic, reason: e.Reason, plugin: e.Plugin, client: e.Client.ClientID, publisher: e.Message.Publisher}
	if one.publisher == "" && e.Message.Origin == "" && !strings.HasPrefix(one.topic, "$") {
		one.client, one.publisher = "", one.client // the client of the event is who has sent it
	}
	for _, s := range []*string{&one.topic, &one.reason, &one.plugin, &one.client, &one.publisher} {
		*s = strings.Clone(*s)
	}
	namespace := e.Client.Namespace
	if e.Message.Namespace != "" {
		namespace = e.Message.Namespace
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= maxAllDrops || d.spaces == nil {
		d.spaces, d.total = map[string][]drop{}, 0 // thousands of namespaces: they begin anew
	}
	list := d.spaces[namespace]
	if len(list) == maxDrops {
		list = append(list[:0:0], list[maxDrops/10:]...)
		d.total -= maxDrops / 10
	}
	d.spaces[strings.Clone(namespace)] = append(list, one)
	d.total++
}

// newest returns the drops of a namespace, newest first.
func (d *drops) newest(namespace string) []drop {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.spaces[namespace]
	out := make([]drop, 0, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		out = append(out, list[i])
	}
	return out
}

// why says what a reason means, and what can be done.
var why = map[string]string{
	"not_authorized":    "the permissions, or a plugin, do not allow the publisher to publish this or the receiver to receive it",
	"no_subscriber":     "nobody had subscribed to the topic when it came: look for a typing error in the topic or the filter, and whether the subscriber's session had ended",
	"expired":           "its Message Expiry Interval ran out before the receiver came to get it",
	"queue_full":        "the receiver's session had too many messages waiting: it is too slow, or was away too long",
	"out_buffer_full":   "the receiver's connection does not take messages as fast as they come (QoS 0 is dropped then)",
	"packet_too_large":  "the receiver has said in its CONNECT that it takes no packets of that size (Maximum Packet Size)",
	"plugin":            "a plugin has decided so",
	"quota":             "a limit of the namespace or of retained messages is reached",
	"offline":           "the receiver was not connected, and QoS 0 is not kept for it",
	"session_ended":     "the receiver's session ended with the message in it",
	"refused_by_client": "the receiver has answered with an error",
	"store_full":        "the broker's disk is full, or what it may take of it",
}

// dropped is a drop as the model is told.
type dropped struct {
	At     string `json:"at"`
	Topic  string `json:"topic"`
	Reason string `json:"reason"`
	Means  string `json:"means"`
	Plugin string `json:"plugin,omitempty"`
	Sent   bool   `json:"sent_by_user,omitempty"`
	Missed bool   `json:"missed_by_user,omitempty"`
	Client string `json:"client,omitempty"`
	From   string `json:"publisher,omitempty"`
}

// explainDrop shows drops of messages that the client has sent itself, or should have got;
// those of others to clients that may have the tool's topic.
func (s *Set) explainDrop(ctx context.Context, a *tool.Ask, args json.RawMessage) (deed, error) {
	in := struct {
		TopicFilter string `json:"topic_filter"`
		ClientID    string `json:"client_id"`
		Limit       int    `json:"limit"`
	}{TopicFilter: "#"}
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	if err := bridge.CheckFilter(in.TopicFilter); err != nil {
		return nil, fmt.Errorf("topic_filter: %w", err)
	}
	shown, err := s.screen(ctx, a, []sdk.Message{{Topic: s.guard(explainDrop)}})
	if err != nil {
		return nil, err
	}
	all := shown[0] != nil
	if in.ClientID != "" && in.ClientID != a.ClientID && !all {
		return nil, tool.Refuse("the client may not be told about other clients")
	}
	return func(ctx context.Context) (tool.Result, error) {
		var found []drop
		for _, d := range s.drops.newest(a.Namespace) {
			sent, missed := d.roles(a.ClientID)
			if (all || sent || missed) && bridge.Match(in.TopicFilter, d.topic) && (in.ClientID == "" || in.ClientID == d.client || in.ClientID == d.publisher) {
				found = append(found, d)
			}
		}
		return s.dropped(ctx, a, found, all, limited(in.Limit))
	}, nil
}

// roles says what a client had to do with it.
func (d *drop) roles(clientID string) (sent, missed bool) {
	return d.publisher == clientID, d.client == clientID
}

// dropped is the result. A client that missed something it may not read is not told what.
func (s *Set) dropped(ctx context.Context, a *tool.Ask, found []drop, all bool, limit int) (tool.Result, error) {
	topics := make([]sdk.Message, len(found))
	for i := range found {
		topics[i].Topic = found[i].topic
	}
	readable, err := s.screen(ctx, a, topics)
	if err != nil {
		return tool.Result{}, err
	}
	list, more := []dropped{}, false
	for i, d := range found {
		sent, missed := d.roles(a.ClientID)
		if !sent && !all && readable[i] == nil {
			continue
		}
		if more = len(list) == limit; more {
			break
		}
		one := dropped{
			At: time.UnixMilli(d.at).UTC().Format(time.RFC3339), Topic: d.topic, Reason: d.reason, Means: why[d.reason], Plugin: d.plugin, Sent: sent, Missed: missed,
		}
		if all {
			one.Client, one.From = d.client, d.publisher
		}
		list = append(list, one)
	}
	return encode(map[string]any{"dropped": list, "more": more})
}
