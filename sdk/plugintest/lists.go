package plugintest

import (
	"context"
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Clients implements v1host.Service.
func (h *Host) Clients(_ context.Context, in *pluginv1.ClientsRequest) (*pluginv1.ClientsResponse, error) {
	if err := h.enter(pluginv1.HostOpClients, in); err != nil {
		return nil, err
	}
	list, next := page(h.State.Clients, in.Page, in.PageSize, func(c *pluginv1.Client) bool {
		return (in.AllNamespaces || c.Namespace == in.Namespace) && (in.Username == "" || c.Username == in.Username) &&
			strings.HasPrefix(c.ClientID, in.ClientIDPrefix)
	})
	return &pluginv1.ClientsResponse{Clients: list, NextPage: next}, nil
}

// Sessions implements v1host.Service.
func (h *Host) Sessions(_ context.Context, in *pluginv1.SessionsRequest) (*pluginv1.SessionsResponse, error) {
	if err := h.enter(pluginv1.HostOpSessions, in); err != nil {
		return nil, err
	}
	list, next := page(h.State.Sessions, in.Page, in.PageSize, func(s *pluginv1.Session) bool {
		return s.Client != nil && (in.AllNamespaces || s.Client.Namespace == in.Namespace) &&
			(!in.Disconnected || !s.Connected) && strings.HasPrefix(s.Client.ClientID, in.ClientIDPrefix)
	})
	return &pluginv1.SessionsResponse{Sessions: list, NextPage: next}, nil
}

// Subscriptions implements v1host.Service.
func (h *Host) Subscriptions(
	_ context.Context, in *pluginv1.SubscriptionsRequest,
) (*pluginv1.SubscriptionsResponse, error) {
	if err := h.enter(pluginv1.HostOpSubscriptions, in); err != nil {
		return nil, err
	}
	list, next := page(h.State.Subscriptions, in.Page, in.PageSize, func(s *pluginv1.ClientSubscription) bool {
		return (in.AllNamespaces || s.Namespace == in.Namespace) && (in.ClientID == "" || s.ClientID == in.ClientID) &&
			(in.Topic == "" || s.Subscription != nil && matches(s.Subscription.TopicFilter, in.Topic))
	})
	return &pluginv1.SubscriptionsResponse{Subscriptions: list, NextPage: next}, nil
}

// Retained implements v1host.Service.
func (h *Host) Retained(_ context.Context, in *pluginv1.RetainedRequest) (*pluginv1.RetainedResponse, error) {
	if err := h.enter(pluginv1.HostOpRetained, in); err != nil {
		return nil, err
	}
	list, next := page(h.State.Retained, in.Page, in.PageSize, func(m *pluginv1.Message) bool {
		return m.Namespace == in.Namespace && matches(in.TopicFilter, m.Topic)
	})
	return &pluginv1.RetainedResponse{Messages: list, NextPage: next}, nil
}

// Screen implements v1host.Service. It asks State.Screen.
func (h *Host) Screen(_ context.Context, in *pluginv1.ScreenRequest) (*pluginv1.ScreenResponse, error) {
	if err := h.enter(pluginv1.HostOpScreen, in); err != nil {
		return nil, err
	}
	out := &pluginv1.ScreenResponse{Results: make([]pluginv1.ScreenResult, len(in.Messages))}
	for i := range in.Messages {
		if h.State.Screen != nil {
			out.Results[i] = h.State.Screen(in.ClientID, &in.Messages[i])
		}
	}
	return out, nil
}

// matches reports whether a Topic Name matches a Topic Filter, "$share/NAME/" left out of
// account [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1].
func matches(filter, topic string) bool {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(rest, "/")
	}
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	levels, names := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, l := range levels {
		if l == "#" {
			return true
		}
		if i >= len(names) || l != "+" && l != names[i] {
			return false
		}
	}
	return len(levels) == len(names)
}
