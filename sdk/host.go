package sdk

import (
	"context"
	"iter"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// Codes of HostError, for errors.Is(err, sdk.ErrDenied).
var (
	ErrDenied      error = &HostError{Code: pluginv1.HostErrorCodeDenied}
	ErrNotFound    error = &HostError{Code: pluginv1.HostErrorCodeNotFound}
	ErrTooLarge    error = &HostError{Code: pluginv1.HostErrorCodeTooLarge}
	ErrUnavailable error = &HostError{Code: pluginv1.HostErrorCodeUnavailable}
	ErrInvalid     error = &HostError{Code: pluginv1.HostErrorCodeInvalid}
	ErrLimit       error = &HostError{Code: pluginv1.HostErrorCodeLimit}
	ErrTimeout     error = &HostError{Code: pluginv1.HostErrorCodeTimeout}
	ErrUnsupported error = &HostError{Code: pluginv1.HostErrorCodeUnsupported}
	ErrWorkerOnly  error = &HostError{Code: pluginv1.HostErrorCodeWorkerOnly}
)

// Host is what a plugin may ask of the broker. A Starter gets it. It is safe for
// concurrent use, and good until Stop has returned.
//
// Each method that needs a grant says so; without it the error is a *HostError (also
// ErrDenied) whose Grant names it. Methods that "wait" work in WebAssembly in the worker
// instance only (see Worker); elsewhere they are ErrWorkerOnly.
type Host struct {
	service v1host.Service
	start   *pluginv1.StartRequest
	log     *Logger
	samples *outbox[pluginv1.Sample]
}

func newHost(s v1host.Service, in *pluginv1.StartRequest, async bool) *Host {
	h := &Host{service: s, start: Clone(in)}
	h.start.Config = "" // it may hold secrets, and the plugin has it already
	h.log = newLogger(s, async)
	h.samples = &outbox[pluginv1.Sample]{async: async, send: func(list []pluginv1.Sample) error {
		_, err := s.Metric(context.Background(), &pluginv1.MetricRequest{Samples: list})
		return err
	}}
	return h
}

// flush waits until log lines and samples are with the host.
func (h *Host) flush(ctx context.Context) {
	h.samples.flush(ctx)
	h.log.core.flush(ctx)
}

// Name is the name under which the operator has configured the plugin.
func (h *Host) Name() string { return h.start.Name }

// Info describes the broker. Do not change it.
func (h *Host) Info() *HostInfo {
	if h.start.Host == nil {
		return &HostInfo{}
	}
	return h.start.Host
}

// Worker reports whether this is the instance that gets everything but decisions and
// gates, and that may make calls that wait. It always is, but in WebAssembly.
func (h *Host) Worker() bool { return h.start.Worker }

// StateDir is a folder for the plugin's files; "" if there is none, as in WebAssembly.
func (h *Host) StateDir() string { return h.start.StateDir }

// Namespaces are those that the operator gives the plugin; none stands for all.
func (h *Host) Namespaces() []string { return h.start.Namespaces }

// Granted returns the grant of a name, nil if the operator has not given it. Do not
// change it.
func (h *Host) Granted(name string) *Grant {
	for i := range h.start.Grants {
		if h.start.Grants[i].Name == name {
			return &h.start.Grants[i]
		}
	}
	return nil
}

// Service returns the contract's own interface, for what Host does not wrap.
func (h *Host) Service() v1host.Service { return h.service }

// Now is the host's time: in tests with plugintest it is virtual.
func (h *Host) Now(ctx context.Context) (time.Time, error) {
	out, err := h.service.Now(ctx, &pluginv1.NowRequest{})
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(out.UnixMs), nil
}

// PublishResult says what has become of a message.
type PublishResult = pluginv1.PublishResult

// Publish publishes messages as the plugin, in order; up to 1,024. It answers when they
// are routed and as safe as PUBACK promises. Each result has a Reason Code of its own.
// Waits. Grant: publish.
func (h *Host) Publish(ctx context.Context, messages ...Message) ([]PublishResult, error) {
	return h.PublishAs(ctx, "", messages...)
}

// PublishAs publishes as a client, connected or with a session, with its permissions and
// through all plugins. Waits. Grant: publish_as_client.
func (h *Host) PublishAs(ctx context.Context, clientID string, messages ...Message) ([]PublishResult, error) {
	out, err := h.service.Publish(ctx, &pluginv1.PublishRequest{Messages: messages, AsClient: clientID})
	if err != nil {
		return nil, err
	}
	return out.Results, nil
}

// DisconnectRequest names a client and says how to close its connection.
type DisconnectRequest = pluginv1.DisconnectRequest

// Disconnect closes a client's connection, and reports whether there was one. Grant:
// disconnect.
func (h *Host) Disconnect(ctx context.Context, r DisconnectRequest) (found bool, err error) {
	out, err := h.service.Disconnect(ctx, &r)
	return err == nil && out.Found, err
}

// Ban keeps clients out that fit all that it gives.
type Ban = pluginv1.Ban

// AddBan adds a ban and closes the connections that it fits. Waits. Grant: ban.
func (h *Host) AddBan(ctx context.Context, b Ban) (id string, disconnected int, err error) {
	out, err := h.service.BanAdd(ctx, &pluginv1.BanAddRequest{Ban: &b})
	if err != nil {
		return "", 0, err
	}
	return out.ID, int(out.Disconnected), nil
}

// RemoveBan lifts a ban, and reports whether there was one. Waits. Grant: ban.
func (h *Host) RemoveBan(ctx context.Context, id string) (found bool, err error) {
	out, err := h.service.BanRemove(ctx, &pluginv1.BanRemoveRequest{ID: id})
	return err == nil && out.Found, err
}

// Bans lists bans, page by page. Iteration ends after the first error. Waits. Grant:
// ban.
func (h *Host) Bans(ctx context.Context) iter.Seq2[*Ban, error] {
	return pages(func(page []byte) ([]Ban, []byte, error) {
		out, err := h.service.BanList(ctx, &pluginv1.BanListRequest{Page: page})
		if err != nil {
			return nil, nil, err
		}
		return out.Bans, out.NextPage, nil
	})
}

// pages goes through a list that comes in pages.
func pages[T any](get func(page []byte) (items []T, next []byte, err error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		var page []byte
		for {
			items, next, err := get(page)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range items {
				if !yield(&items[i], nil) {
					return
				}
			}
			if len(next) == 0 {
				return
			}
			page = next
		}
	}
}

// Requests of lists, whose Page is set by the methods.
type (
	ClientsRequest       = pluginv1.ClientsRequest
	SessionsRequest      = pluginv1.SessionsRequest
	SubscriptionsRequest = pluginv1.SubscriptionsRequest
	RetainedRequest      = pluginv1.RetainedRequest
	Session              = pluginv1.Session
	ClientSubscription   = pluginv1.ClientSubscription
)

// Clients lists connected clients. Iteration ends after the first error. Grant: clients.
func (h *Host) Clients(ctx context.Context, r ClientsRequest) iter.Seq2[*Client, error] {
	return pages(func(page []byte) ([]Client, []byte, error) {
		r.Page = page
		out, err := h.service.Clients(ctx, &r)
		if err != nil {
			return nil, nil, err
		}
		return out.Clients, out.NextPage, nil
	})
}

// Session describes one session and its client, nil if there is none. Fields is a sum of
// Field values. Grant: clients.
func (h *Host) Session(ctx context.Context, namespace, clientID string, fields Field) (*Session, error) {
	out, err := h.service.Client(ctx, &pluginv1.ClientRequest{
		Namespace: namespace, ClientID: clientID, Fields: uint32(fields),
	})
	if err != nil {
		return nil, err
	}
	return out.Session, nil
}

// Sessions lists sessions, connected or not. Iteration ends after the first error.
// Grant: clients.
func (h *Host) Sessions(ctx context.Context, r SessionsRequest) iter.Seq2[*Session, error] {
	return pages(func(page []byte) ([]Session, []byte, error) {
		r.Page = page
		out, err := h.service.Sessions(ctx, &r)
		if err != nil {
			return nil, nil, err
		}
		return out.Sessions, out.NextPage, nil
	})
}

// Subscriptions lists subscriptions. Iteration ends after the first error. Grant:
// clients.
func (h *Host) Subscriptions(ctx context.Context, r SubscriptionsRequest) iter.Seq2[*ClientSubscription, error] {
	return pages(func(page []byte) ([]ClientSubscription, []byte, error) {
		r.Page = page
		out, err := h.service.Subscriptions(ctx, &r)
		if err != nil {
			return nil, nil, err
		}
		return out.Subscriptions, out.NextPage, nil
	})
}

// Retained lists retained messages that match a Topic Filter. Iteration ends after the
// first error. Grant: retained.
func (h *Host) Retained(ctx context.Context, r RetainedRequest) iter.Seq2[*Message, error] {
	return pages(func(page []byte) ([]Message, []byte, error) {
		r.Page = page
		out, err := h.service.Retained(ctx, &r)
		if err != nil {
			return nil, nil, err
		}
		return out.Messages, out.NextPage, nil
	})
}

// ScreenResult says whether and as what a client would be shown a message.
type ScreenResult = pluginv1.ScreenResult

// Screen says what a client would be shown of up to 1,000 messages of a namespace if it
// subscribed to their topics: with its permissions, and as plugins change what is delivered
// to it. A result without an error whose Message is nil stands for the message as it was
// given. For plugins that read for a client. Waits. Grant: clients.
func (h *Host) Screen(ctx context.Context, namespace, clientID string, messages ...Message) ([]ScreenResult, error) {
	out, err := h.service.Screen(ctx, &pluginv1.ScreenRequest{Namespace: namespace, ClientID: clientID, Messages: messages})
	if err != nil {
		return nil, err
	}
	return out.Results, nil
}

// InvalidateDecisionsRequest says whose answers to forget.
type InvalidateDecisionsRequest = pluginv1.InvalidateDecisionsRequest

// InvalidateDecisions makes the host forget answers that Decision.Cached let it keep, and
// ask a Permitter again about clients that are connected.
func (h *Host) InvalidateDecisions(ctx context.Context, r InvalidateDecisionsRequest) error {
	_, err := h.service.InvalidateDecisions(ctx, &r)
	return err
}
