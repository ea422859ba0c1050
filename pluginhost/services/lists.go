package services

import (
	"context"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// found is a session in a list.
type found struct {
	place
	info hook.SessionInfo
}

// walk goes through the sessions of a namespace, or of all that the grant covers.
func (s *Service) walk(namespace string, all bool, fn func(*hook.SessionInfo)) error {
	if !all {
		if err := s.p.mayIn(grantClients, namespace); err != nil {
			return err
		}
	}
	reach := s.p.given.Load().reach(grantClients)
	s.p.s.o.Broker.Sessions(namespace, all, func(i hook.SessionInfo) bool {
		if reach.has(i.Client.Namespace) {
			fn(&i)
		}
		return true
	})
	return nil
}

// sessionPage collects a page of the sessions that match.
func (s *Service) sessionPage(
	namespace string, all bool, page []byte, size int, match func(*hook.SessionInfo) bool,
) (list []found, next []byte, err error) {
	last, further, err := readPlace(page)
	if err != nil {
		return nil, nil, err
	}
	low := lowest[found]{most: size, compare: func(a, b *found) int { return a.compare(b.place) }}
	err = s.walk(namespace, all, func(i *hook.SessionInfo) {
		at := place{i.Client.Namespace, i.Client.ID, ""}
		if (!further || at.compare(last) > 0) && match(i) {
			low.offer(found{at, *i})
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if list = low.sorted(); low.more {
		next = list[len(list)-1].token()
	}
	return list, next, nil
}

// Clients implements v1host.Service.
func (s *Service) Clients(_ context.Context, in *pluginv1.ClientsRequest) (*pluginv1.ClientsResponse, error) {
	return serve(s, pluginv1.HostOpClients, func() (*pluginv1.ClientsResponse, error) {
		size, err := pageSize(in.PageSize)
		if err != nil {
			return nil, err
		}
		list, next, err := s.sessionPage(in.Namespace, in.AllNamespaces, in.Page, size, func(i *hook.SessionInfo) bool {
			return i.Connected && (in.Username == "" || i.Client.Username == in.Username) &&
				strings.HasPrefix(i.Client.ID, in.ClientIDPrefix)
		})
		if err != nil {
			return nil, err
		}
		out := &pluginv1.ClientsResponse{Clients: make([]pluginv1.Client, len(list)), NextPage: next}
		for i := range list {
			convert.Client(&out.Clients[i], list[i].info.Client, pluginv1.Field(in.Fields))
		}
		if n := fitting(len(list), func(i int) int { return out.Clients[i].Size() }); n < len(list) {
			out.Clients, out.NextPage = out.Clients[:n], list[n-1].token()
		}
		return out, nil
	})
}

// Client implements v1host.Service.
func (s *Service) Client(_ context.Context, in *pluginv1.ClientRequest) (*pluginv1.ClientResponse, error) {
	return serve(s, pluginv1.HostOpClient, func() (*pluginv1.ClientResponse, error) {
		if in.ClientID == "" {
			return nil, invalid("client_id is required")
		}
		if err := s.p.mayIn(grantClients, in.Namespace); err != nil {
			return nil, err
		}
		out := &pluginv1.ClientResponse{}
		if i, ok := s.p.s.o.Broker.Session(in.Namespace, in.ClientID); ok {
			out.Session = new(pluginv1.Session)
			convert.Session(out.Session, &i, pluginv1.Field(in.Fields))
		}
		return out, nil
	})
}

// Sessions implements v1host.Service.
func (s *Service) Sessions(_ context.Context, in *pluginv1.SessionsRequest) (*pluginv1.SessionsResponse, error) {
	return serve(s, pluginv1.HostOpSessions, func() (*pluginv1.SessionsResponse, error) {
		size, err := pageSize(in.PageSize)
		if err != nil {
			return nil, err
		}
		list, next, err := s.sessionPage(in.Namespace, in.AllNamespaces, in.Page, size, func(i *hook.SessionInfo) bool {
			return !(in.Disconnected && i.Connected) && strings.HasPrefix(i.Client.ID, in.ClientIDPrefix)
		})
		if err != nil {
			return nil, err
		}
		out := &pluginv1.SessionsResponse{Sessions: make([]pluginv1.Session, len(list)), NextPage: next}
		for i := range list {
			convert.Session(&out.Sessions[i], &list[i].info, pluginv1.Field(in.Fields))
		}
		if n := fitting(len(list), func(i int) int { return out.Sessions[i].Size() }); n < len(list) {
			out.Sessions, out.NextPage = out.Sessions[:n], list[n-1].token()
		}
		return out, nil
	})
}

// maxExamined is how many sessions one call of Subscriptions looks into: a page of
// subscriptions that few sessions have comes in several short pages, instead of taking
// the broker for as long as it likes.
const maxExamined = 10_000

// afterAll is an item behind all Topic Filters, which are UTF-8.
const afterAll = "\xFF"

// Subscriptions implements v1host.Service.
func (s *Service) Subscriptions(
	_ context.Context, in *pluginv1.SubscriptionsRequest,
) (*pluginv1.SubscriptionsResponse, error) {
	return serve(s, pluginv1.HostOpSubscriptions, func() (*pluginv1.SubscriptionsResponse, error) {
		size, err := pageSize(in.PageSize)
		if err != nil {
			return nil, err
		}
		if in.Topic != "" {
			if err := topic.ValidNameString(in.Topic); err != nil {
				return nil, invalid("topic %s: %v", quote(in.Topic), err)
			}
		}
		last, _, err := readPlace(in.Page)
		if err != nil {
			return nil, err
		}
		owners, err := s.owners(in, last)
		if err != nil {
			return nil, err
		}
		page := &subscriptionPage{out: &pluginv1.SubscriptionsResponse{}, topic: in.Topic, last: last, left: size, bytes: maxPageBytes}
		out := page.out
		for _, at := range owners.sorted() {
			info, ok := s.p.s.o.Broker.Session(at.namespace, at.client)
			if ok && page.add(&info) {
				return out, nil
			}
		}
		if owners.more {
			end := owners.list[len(owners.list)-1]
			end.item = afterAll
			out.NextPage = end.token()
		}
		return out, nil
	})
}

// owners are the sessions to look into, from that of the last page's end.
func (s *Service) owners(in *pluginv1.SubscriptionsRequest, last place) (*lowest[place], error) {
	low := &lowest[place]{most: maxExamined, compare: func(a, b *place) int { return a.compare(*b) }}
	if in.ClientID != "" && !in.AllNamespaces {
		low.list = []place{{in.Namespace, in.ClientID, ""}}
		return low, s.p.mayIn(grantClients, in.Namespace)
	}
	last.item = ""
	return low, s.walk(in.Namespace, in.AllNamespaces, func(i *hook.SessionInfo) {
		at := place{i.Client.Namespace, i.Client.ID, ""}
		if at.compare(last) >= 0 && (in.ClientID == "" || i.Client.ID == in.ClientID) &&
			max(i.SubscriptionCount, len(i.Subscriptions)) > 0 {
			low.offer(at)
		}
	})
}

// subscriptionPage is a page that is being filled.
type subscriptionPage struct {
	out   *pluginv1.SubscriptionsResponse
	topic string // that they must match; empty: any
	last  place  // after which to begin
	// left and bytes are what there is room for.
	left, bytes int
}

// add adds those of a session that match. It reports whether the page is full, and then
// sets where the next one begins.
func (p *subscriptionPage) add(info *hook.SessionInfo) (full bool) {
	order := make([]int, len(info.Subscriptions))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return strings.Compare(info.Subscriptions[a].Filter, info.Subscriptions[b].Filter)
	})
	for _, i := range order {
		sub := &info.Subscriptions[i]
		at := place{info.Client.Namespace, info.Client.ID, sub.Filter}
		if at.compare(p.last) <= 0 || p.topic != "" && !matches(sub.Filter, p.topic) {
			continue
		}
		if n := len(p.out.Subscriptions); p.left == 0 || p.bytes <= 0 {
			end := &p.out.Subscriptions[n-1]
			p.out.NextPage = place{end.Namespace, end.ClientID, end.Subscription.TopicFilter}.token()
			return true
		}
		var identifier uint32
		if i < len(info.Identifiers) {
			identifier = info.Identifiers[i]
		}
		c := pluginv1.ClientSubscription{Namespace: at.namespace, ClientID: at.client, Subscription: new(pluginv1.Subscription)}
		convert.Subscription(c.Subscription, sub, identifier)
		p.out.Subscriptions = append(p.out.Subscriptions, c)
		p.left--
		p.bytes -= c.Size()
	}
	return false
}

// matches reports whether a Topic Name matches a Topic Filter, which may be shared.
func matches(filter, name string) bool {
	f, err := topic.ParseFilter(filter)
	return err == nil && topic.Match(f.Filter, name)
}
