package services

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// someSessions makes sessions in three namespaces, in no order.
func someSessions(n int) []hook.SessionInfo {
	rng := rand.New(rand.NewPCG(1, 2))
	var out []hook.SessionInfo
	for i := range n {
		info := hook.SessionInfo{
			Client: &hook.Client{
				ID: fmt.Sprintf("c%03d", i), Namespace: []string{"", "one", "two"}[i%3], Username: []string{"ann", "bob"}[i%2], Connection: uint64(i + 1),
			},
			Connected: i%4 != 0, SessionExpiry: 60, Inflight: i, Queued: 2, QueuedBytes: 30,
		}
		for j := range i % 5 {
			info.Subscriptions = append(info.Subscriptions, packet.Subscription{Filter: fmt.Sprintf("%s/%d", []string{"a", "$share/g/a", "b/+"}[(i+j)%3], 9-j), QoS: 1})
			info.Identifiers = append(info.Identifiers, uint32(j))
		}
		out = append(out, info)
	}
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestClientsPageByPage(t *testing.T) {
	w := newWorld(t)
	w.broker.sessions = someSessions(200)
	s := w.plugin(t, pluginv1.Grant{Name: "clients", Namespaces: []string{"", "two"}})
	for name, c := range map[string]struct {
		request pluginv1.ClientsRequest
		want    func(i *hook.SessionInfo) bool
	}{
		"default":  {pluginv1.ClientsRequest{}, func(i *hook.SessionInfo) bool { return i.Client.Namespace == "" }},
		"one":      {pluginv1.ClientsRequest{Namespace: "two", PageSize: 1}, func(i *hook.SessionInfo) bool { return i.Client.Namespace == "two" }},
		"all":      {pluginv1.ClientsRequest{AllNamespaces: true, Namespace: "one", PageSize: 7}, func(i *hook.SessionInfo) bool { return i.Client.Namespace != "one" }},
		"username": {pluginv1.ClientsRequest{AllNamespaces: true, Username: "bob", PageSize: 10}, func(i *hook.SessionInfo) bool { return i.Client.Namespace != "one" && i.Client.Username == "bob" }},
		"prefix": {pluginv1.ClientsRequest{AllNamespaces: true, ClientIDPrefix: "c01", PageSize: 1000}, func(i *hook.SessionInfo) bool {
			return i.Client.Namespace != "one" && strings.HasPrefix(i.Client.ID, "c01")
		}},
	} {
		var want, got []string
		for i := range w.broker.sessions {
			if x := &w.broker.sessions[i]; x.Connected && c.want(x) {
				want = append(want, x.Client.Namespace+" "+x.Client.ID)
			}
		}
		slices.Sort(want)
		for pages := 0; ; pages++ {
			out, err := s.Clients(t.Context(), &c.request)
			if err != nil || pages > len(want)+1 || len(out.Clients) > cmp.Or(int(c.request.PageSize), 100) {
				t.Fatalf("%s: %v", name, err)
			}
			for i := range out.Clients {
				got = append(got, out.Clients[i].Namespace+" "+out.Clients[i].ClientID)
			}
			if c.request.Page = out.NextPage; len(out.NextPage) == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	_, err := s.Clients(t.Context(), &pluginv1.ClientsRequest{Namespace: "one"})
	wantCode(t, err, pluginv1.HostErrorCodeDenied, `the namespace "one"`)
	_, err = s.Clients(t.Context(), &pluginv1.ClientsRequest{PageSize: 1001})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, "page_size")
	_, err = s.Clients(t.Context(), &pluginv1.ClientsRequest{Page: []byte("nonsense")})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, "page")
}

func TestSessions(t *testing.T) {
	w := newWorld(t)
	w.broker.sessions = someSessions(40)
	s := w.plugin(t, grantsNamed("clients")...)
	out, err := s.Sessions(t.Context(), &pluginv1.SessionsRequest{AllNamespaces: true, Disconnected: true})
	if err != nil || len(out.Sessions) != 10 || out.NextPage != nil {
		t.Fatalf("got %d sessions, %v", len(out.Sessions), err)
	}
	for i := range out.Sessions {
		if x := &out.Sessions[i]; x.Connected || x.Queued != 2 || x.QueuedBytes != 30 || x.SessionExpiryInterval != 60 {
			t.Errorf("got %+v", x)
		}
	}
	one, err := s.Client(t.Context(), &pluginv1.ClientRequest{Namespace: "one", ClientID: "c004"})
	if err != nil || one.Session == nil || one.Session.Subscriptions != 4 || one.Session.Inflight != 4 || one.Session.Client.ClientID != "c004" {
		t.Errorf("got %+v, %v", one, err)
	}
	none, err := s.Client(t.Context(), &pluginv1.ClientRequest{Namespace: "two", ClientID: "c004"})
	if err != nil || none.Session != nil {
		t.Errorf("got %+v, %v", none, err)
	}
}

func TestSubscriptionsPageByPage(t *testing.T) {
	w := newWorld(t)
	w.broker.sessions = someSessions(100)
	s := w.plugin(t, pluginv1.Grant{Name: "clients", Namespaces: []string{"", "two"}})
	for name, c := range map[string]struct {
		request pluginv1.SubscriptionsRequest
		want    func(namespace, client, filter string) bool
	}{
		"all":      {pluginv1.SubscriptionsRequest{AllNamespaces: true, PageSize: 3}, func(n, c, f string) bool { return n != "one" }},
		"one page": {pluginv1.SubscriptionsRequest{Namespace: "two", PageSize: 1000}, func(n, c, f string) bool { return n == "two" }},
		"topic":    {pluginv1.SubscriptionsRequest{AllNamespaces: true, Topic: "a/9", PageSize: 2}, func(n, c, f string) bool { return n != "one" && strings.HasSuffix(f, "a/9") }},
		"client":   {pluginv1.SubscriptionsRequest{Namespace: "two", ClientID: "c014", PageSize: 1}, func(n, c, f string) bool { return c == "c014" }},
		"nobody":   {pluginv1.SubscriptionsRequest{Namespace: "two", ClientID: "c001", PageSize: 1}, func(n, c, f string) bool { return false }},
		"anywhere": {pluginv1.SubscriptionsRequest{AllNamespaces: true, ClientID: "c014", PageSize: 1}, func(n, c, f string) bool { return c == "c014" }},
	} {
		var want, got []string
		for _, i := range w.broker.sessions {
			for _, sub := range i.Subscriptions {
				if c.want(i.Client.Namespace, i.Client.ID, sub.Filter) {
					want = append(want, i.Client.Namespace+" "+i.Client.ID+" "+sub.Filter)
				}
			}
		}
		slices.Sort(want)
		for {
			out, err := s.Subscriptions(t.Context(), &c.request)
			if err != nil || len(got) > len(want) {
				t.Fatalf("%s: %v", name, err)
			}
			for i := range out.Subscriptions {
				x := &out.Subscriptions[i]
				got = append(got, x.Namespace+" "+x.ClientID+" "+x.Subscription.TopicFilter)
			}
			if c.request.Page = out.NextPage; len(out.NextPage) == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	_, err := s.Subscriptions(t.Context(), &pluginv1.SubscriptionsRequest{Topic: "a/+"})
	wantCode(t, err, pluginv1.HostErrorCodeInvalid, "topic")
}

// A search that finds next to nothing comes back in between.
func TestSubscriptionsOfManySessionsComeInShortPages(t *testing.T) {
	w := newWorld(t)
	for i := range maxExamined + 5 {
		filter := "a"
		if i == maxExamined+3 {
			filter = "b"
		}
		w.broker.sessions = append(w.broker.sessions, hook.SessionInfo{
			Client: &hook.Client{ID: fmt.Sprintf("%06d", i)}, Subscriptions: []packet.Subscription{{Filter: filter}},
		})
	}
	byID := map[string]hook.SessionInfo{}
	for _, i := range w.broker.sessions {
		byID[i.Client.ID] = i
	}
	w.o.Broker = &indexed{w.broker, byID}
	s := w.plugin(t, grantsNamed("clients")...)
	in := &pluginv1.SubscriptionsRequest{Topic: "b"}
	out, err := s.Subscriptions(t.Context(), in)
	if err != nil || len(out.Subscriptions) != 0 || out.NextPage == nil {
		t.Fatalf("got %+v, %v", out, err)
	}
	in.Page = out.NextPage
	if out, err = s.Subscriptions(t.Context(), in); err != nil || len(out.Subscriptions) != 1 || out.NextPage != nil {
		t.Fatalf("got %+v, %v", out, err)
	}
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 60_000)
	for i := range 30 {
		w.broker.sessions = append(w.broker.sessions, hook.SessionInfo{
			Client: &hook.Client{ID: fmt.Sprintf("%02d%s", i, long)}, Connected: true, Subscriptions: []packet.Subscription{{Filter: "a"}},
		})
		if _, _, err := w.AddBan(&pluginv1.Ban{ClientID: fmt.Sprintf("%d%s", i, long)}); err != nil {
			t.Fatal(err)
		}
	}
	s := w.plugin(t, grantsNamed("clients", "ban")...)
	for name, page := range map[string]func(token []byte) (n int, size int, next []byte, err error){
		"clients": func(token []byte) (int, int, []byte, error) {
			out, err := s.Clients(t.Context(), &pluginv1.ClientsRequest{Page: token})
			return len(out.Clients), out.Size(), out.NextPage, err
		},
		"sessions": func(token []byte) (int, int, []byte, error) {
			out, err := s.Sessions(t.Context(), &pluginv1.SessionsRequest{Page: token})
			return len(out.Sessions), out.Size(), out.NextPage, err
		},
		"subscriptions": func(token []byte) (int, int, []byte, error) {
			out, err := s.Subscriptions(t.Context(), &pluginv1.SubscriptionsRequest{Page: token})
			return len(out.Subscriptions), out.Size(), out.NextPage, err
		},
		"bans": func(token []byte) (int, int, []byte, error) {
			out, err := s.BanList(t.Context(), &pluginv1.BanListRequest{Page: token})
			return len(out.Bans), out.Size(), out.NextPage, err
		},
	} {
		all, pages := 0, 0
		for token := []byte(nil); pages == 0 || token != nil; pages++ {
			n, size, next, err := page(token)
			if err != nil || size > maxPageBytes+200_000 {
				t.Fatalf("%s: %d bytes, %v", name, size, err)
			}
			all, token = all+n, next
		}
		if all != 30 || pages != 2 {
			t.Errorf("%s: %d in %d pages", name, all, pages)
		}
	}
}

type indexed struct {
	*fakeBroker
	byID map[string]hook.SessionInfo
}

func (b *indexed) Session(_, client string) (hook.SessionInfo, bool) {
	i, ok := b.byID[client]
	return i, ok
}

func TestRetained(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		m := &packet.Message{Topic: fmt.Appendf(nil, "r/%02d", i*7%30), Payload: bytes.Repeat([]byte{'x'}, 10), Retain: true}
		if i == 3 {
			m.Expires = 1
		}
		w.broker.retained = append(w.broker.retained, m.Keep(uint64(i)))
	}
	big := &packet.Message{Topic: []byte("s/big"), Payload: make([]byte, maxPageBytes)}
	other := &packet.Message{Topic: []byte("s/other"), Payload: []byte("y"), Retain: true}
	w.broker.retained = append(w.broker.retained, big.Keep(100), other.Keep(101))
	s := w.plugin(t, grantsNamed("retained")...)
	in := &pluginv1.RetainedRequest{Namespace: "n", TopicFilter: "r/+", PageSize: 7}
	var got []string
	for {
		out, err := s.Retained(t.Context(), in)
		if err != nil || len(out.Messages) > 7 {
			t.Fatal(err)
		}
		for i := range out.Messages {
			x := &out.Messages[i]
			if x.Payload != nil || x.PayloadSize != 10 || x.Namespace != "n" || !x.Retain {
				t.Errorf("got %+v", x)
			}
			got = append(got, x.Topic)
		}
		if in.Page = out.NextPage; in.Page == nil {
			break
		}
	}
	if len(got) != 29 || !slices.IsSorted(got) || slices.Contains(got, "r/21") {
		t.Errorf("got %q", got)
	}
	in = &pluginv1.RetainedRequest{TopicFilter: "s/#", Fields: uint32(pluginv1.FieldPayload)}
	out, err := s.Retained(t.Context(), in)
	if err != nil || len(out.Messages) != 1 || len(out.Messages[0].Payload) != maxPageBytes || string(out.NextPage) != "s/big" {
		t.Fatalf("large ones: %d, %v", len(out.Messages), err)
	}
	in.Page = out.NextPage
	if out, err = s.Retained(t.Context(), in); err != nil || len(out.Messages) != 1 || string(out.Messages[0].Payload) != "y" || out.NextPage != nil {
		t.Fatalf("the last: %+v, %v", out, err)
	}
	for _, m := range w.broker.retained {
		m.Unref() // panics if a reference was given back that was not taken
	}
	if string(out.Messages[0].Topic) != "s/other" {
		t.Error("the answer has no memory of its own")
	}
	for _, filter := range []string{"", "a/#/b", "$share/g/a"} {
		_, err = s.Retained(t.Context(), &pluginv1.RetainedRequest{TopicFilter: filter})
		wantCode(t, err, pluginv1.HostErrorCodeInvalid, "topic_filter")
	}
}

func TestLowestKeepsTheSmallest(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		most, n, dropped := 1+rng.IntN(20), rng.IntN(60), 0
		low := lowest[int]{most: most, compare: func(a, b *int) int { return cmp.Compare(*a, *b) }, drop: func(int) { dropped++ }}
		var all []int
		for range n {
			v := rng.IntN(100)
			all = append(all, v)
			low.offer(v)
		}
		slices.Sort(all)
		if got := low.sorted(); !slices.Equal(got, all[:min(n, most)]) || low.more != (n > most) || dropped != max(0, n-most) {
			t.Fatalf("of %v the %d smallest are %v (more: %v, dropped: %d)", all, most, got, low.more, dropped)
		}
	}
}

func TestDisconnect(t *testing.T) {
	w := newWorld(t)
	w.broker.sessions = []hook.SessionInfo{{Client: &hook.Client{ID: "c"}, Connected: true}}
	s := w.plugin(t, grantsNamed("disconnect")...)
	out, err := s.Disconnect(t.Context(), &pluginv1.DisconnectRequest{ClientID: "c", Reason: "bye", EndSession: true, Connection: 5})
	want := hook.DisconnectRequest{ClientID: "c", Code: packet.AdministrativeAction, Reason: "bye", EndSession: true, Connection: 5}
	if err != nil || !out.Found || w.broker.gone[0] != want {
		t.Errorf("got %+v, %v; asked %+v", out, err, w.broker.gone)
	}
	if out, err = s.Disconnect(t.Context(), &pluginv1.DisconnectRequest{ClientID: "x", ReasonCode: 0x87}); err != nil || out.Found || w.broker.gone[1].Code != 0x87 {
		t.Errorf("got %+v, %v", out, err)
	}
	for says, in := range map[string]*pluginv1.DisconnectRequest{
		"client_id": {}, "0x01": {ClientID: "c", ReasonCode: 1}, "0x04": {ClientID: "c", ReasonCode: 4}, "0x86": {ClientID: "c", ReasonCode: 0x86},
		"0x187": {ClientID: "c", ReasonCode: 0x187}, "U+0000": {ClientID: "c", Reason: "\x00"},
	} {
		_, err := s.Disconnect(t.Context(), in)
		wantCode(t, err, pluginv1.HostErrorCodeInvalid, says)
	}
	_, err = s.Disconnect(t.Context(), &pluginv1.DisconnectRequest{ClientID: "c", Reason: strings.Repeat("x", 1025)})
	wantCode(t, err, pluginv1.HostErrorCodeTooLarge, "1025")
}
