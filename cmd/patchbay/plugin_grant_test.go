package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// hostOp is a method of the host's services.
type hostOp struct {
	name  string
	op    pluginv1.HostOp
	grant string // that it needs; empty: none
}

// hostOps are all methods there are.
func hostOps(t *testing.T) (all []hostOp) {
	t.Helper()
	service := reflect.TypeFor[v1host.Service]()
	for i := range service.NumMethod() {
		h := hostOp{name: service.Method(i).Name}
		for op := pluginv1.HostOp(1); op < 256; op++ {
			if strings.EqualFold(strings.ReplaceAll(strings.TrimPrefix(op.String(), "HOST_OP_"), "_", ""), h.name) {
				h.op, h.grant = op, op.Grant()
			}
		}
		if h.op == 0 {
			t.Fatalf("the method %s has no op", h.name)
		}
		all = append(all, h)
	}
	return all
}

// free are the methods that need no grant.
var free = []string{"Complete", "InvalidateDecisions", "Now"}

// grantPlugins are the test plugin three times in each runtime: without grants, with all,
// and with all but for a few topics, names and namespaces only. The plugin who lets
// clients in.
func grantPlugins(built *builtPlugins) string {
	const hooks = ", hooks: {authenticate: off}"
	var all strings.Builder
	all.WriteString(oneListener + "secrets: {token: t, other: o}\nplugins:\n" +
		built.entry("who", pluginhost.Builtin, "hooks: {intercept_publish: off, gate_publish: off}"))
	for _, r := range runtimes {
		for name, rest := range map[string]string{
			"none": "revoke: [log, metrics, timers]",
			"all":  `grants: [publish, publish_as_client, disconnect, ban, clients, retained, kv, password, {http: ["http://127.0.0.1:1"]}, {secrets: [token]}]`,
			"some": `grants: [{publish: [a/#]}, {publish_as_client: [a/#, "$SYS/#"]}, {retained: [a/#]}, {http: ["http://127.0.0.1:1"]}, {secrets: [token]}, ` +
				`{clients: {namespaces: [tenant]}}, {disconnect: {namespaces: [tenant]}}, {ban: {namespaces: [tenant]}}]`,
		} {
			name += "-" + r.letter
			all.WriteString(built.entry(name, r.runtime, rest+hooks+", config: {only: "+name+"}"))
		}
	}
	return all.String()
}

// callHost has a plugin make a call of the host.
func callHost(t *testing.T, b *broker, plugin string, op pluginv1.HostOp, in, out pluginv1.Proto) *pluginv1.HostError {
	t.Helper()
	c := http.Client{Timeout: patience}
	defer c.CloseIdleConnections()
	var request []byte
	if in != nil {
		request = in.AppendTo(nil)
	}
	r, err := c.Post(fmt.Sprintf("http://%s/plugins/%s/call?op=%d", b.addr["admin"], plugin, op), "application/protobuf", bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch r.StatusCode {
	case http.StatusOK:
		if out == nil {
			return nil
		}
		if err := out.Unmarshal(answer); err != nil {
			t.Fatal(err)
		}
		return nil
	case http.StatusInternalServerError:
		e := new(pluginv1.HostError)
		if err := e.Unmarshal(answer); err != nil {
			t.Fatal(err)
		}
		return e
	}
	t.Fatalf("%s: %s: %d %s", plugin, op, r.StatusCode, answer)
	return nil
}

// namesGrant demands that an error is a refusal that says for want of which grant, and what to
// write to give it.
func namesGrant(t *testing.T, what string, e *pluginv1.HostError, plugin, grant string) {
	t.Helper()
	if e == nil || e.Code != pluginv1.HostErrorCodeDenied || e.Grant != grant ||
		!strings.Contains(e.Message, fmt.Sprintf("%q", grant)) || !strings.Contains(e.Message, fmt.Sprintf("%q", plugin)) || !strings.Contains(e.Message, "grants: [") {
		t.Errorf("%s by %s: %+v, want a refusal that names the grant %q", what, plugin, e, grant)
	}
}

// TestPluginGrants: what plugins may ask of the host is what their operator has granted.
func TestPluginGrants(t *testing.T) {
	t.Parallel()
	b := startWithPlugins(t, grantPlugins(plugins(t)), nil)
	for _, c := range []struct {
		name string
		test func(*testing.T, *broker)
	}{{"without", refusedWithout}, {"inline", refusedInline}, {"scopes", scopes}, {"as a client", publishAsClient}} {
		t.Run(c.name, func(t *testing.T) { c.test(t, b.in(t)) })
	}
}

// refusedWithout: without its grant each call of the host is refused, in each runtime,
// with an error that names the grant; with it, it is not.
func refusedWithout(t *testing.T, b *broker) {
	ops := hostOps(t)
	without := 0
	for _, h := range ops {
		if h.grant == "" {
			without++
		}
	}
	if without != len(free) {
		t.Errorf("%d methods need no grant, want %v", without, free)
	}
	asClient := &pluginv1.PublishRequest{AsClient: "c", Messages: []pluginv1.Message{{Topic: "t"}}}
	for _, r := range runtimes {
		none, all := "none-"+r.letter, "all-"+r.letter
		refusals := map[string]float64{"publish_as_client": 1}
		for _, h := range ops {
			e := callHost(t, b, none, h.op, nil, nil)
			if h.grant == "" {
				if e != nil && e.Code == pluginv1.HostErrorCodeDenied {
					t.Errorf("%s: %s: %v", none, h.name, e)
				}
				continue
			}
			refusals[h.grant]++
			namesGrant(t, h.name, e, none, h.grant)
			if e := callHost(t, b, all, h.op, granted[h.name], nil); e != nil && e.Code == pluginv1.HostErrorCodeDenied {
				t.Errorf("%s: %s: %v", all, h.name, e)
			}
		}
		namesGrant(t, "Publish as a client", callHost(t, b, none, pluginv1.HostOpPublish, asClient, nil), none, "publish_as_client")
		if e := callHost(t, b, all, pluginv1.HostOpPublish, asClient, nil); e != nil {
			t.Errorf("%s: publish as a client: %v", all, e)
		}

		m, info := b.metrics(), b.operator("plugin", "info", none, "--json").stdout
		for grant, n := range refusals {
			if got := m[pluginMetric(t, "refused_calls_total", fmt.Sprintf("grant=%q,plugin=%q", grant, none))]; got != n {
				t.Errorf("%s: %v refusals for want of %s in /metrics, want %v", none, got, grant, n)
			}
			if !strings.Contains(strings.ReplaceAll(info, " ", ""), fmt.Sprintf("%q:%.0f", grant, n)) {
				t.Errorf("%s: no refusals for want of %s in plugin info:\n%s", none, grant, info)
			}
		}
	}
}

// granted are requests that do nothing.
var granted = map[string]pluginv1.Proto{
	"BanRemove": &pluginv1.BanRemoveRequest{ID: "nobody"}, "Client": &pluginv1.ClientRequest{ClientID: "nobody"},
	"Disconnect": &pluginv1.DisconnectRequest{ClientID: "nobody"}, "KVGet": &pluginv1.KVGetRequest{Key: "k"},
	"KVSet": &pluginv1.KVSetRequest{Key: "k"}, "Secret": &pluginv1.SecretRequest{Name: "token"},
	"Retained": &pluginv1.RetainedRequest{TopicFilter: "a/#"}, "HTTPFetch": &pluginv1.HTTPFetchRequest{Method: "GET", URL: "http://127.0.0.1:1/"},
}

// refusedInline: the same where a plugin calls while a client waits, in
// WebAssembly by an instance that may not make calls that wait at all.
func refusedInline(t *testing.T, b *broker) {
	got := make(chan message, 1)
	c := mustConnect5(t, b.target("tcp", nil), "caller", as("me", "x"))
	if err := c.subscribe("edit/+/call", func(m message) { got <- m }); err != nil {
		t.Fatal(err)
	}
	for _, r := range runtimes {
		none := "none-" + r.letter
		for _, h := range hostOps(t) {
			if h.grant == "" {
				continue
			}
			if err := c.publish("edit/"+none+"/call", 1, string([]byte{byte(h.op)})); err != nil {
				t.Fatal(err)
			}
			m := <-got
			e := new(pluginv1.HostError)
			if m.Payload == "" || m.Payload[0] != 1 || e.Unmarshal([]byte(m.Payload[1:])) != nil {
				t.Errorf("%s: %s: %q", none, h.name, m.Payload)
				continue
			}
			if r.runtime == pluginhost.WASM && h.op.Waits() && e.Code == pluginv1.HostErrorCodeWorkerOnly {
				continue
			}
			namesGrant(t, h.name, e, none, h.grant)
		}
	}
}

// scopes: a grant covers the topics, names, origins and namespaces that it
// was given for, and nothing else.
func scopes(t *testing.T, b *broker) {
	publish := func(as, topic string) *pluginv1.PublishRequest {
		return &pluginv1.PublishRequest{AsClient: as, Messages: []pluginv1.Message{{Topic: topic}}}
	}
	for _, r := range runtimes {
		some := "some-" + r.letter
		for _, c := range []struct {
			op    pluginv1.HostOp
			in    pluginv1.Proto
			grant string // empty: it is covered
		}{
			{pluginv1.HostOpPublish, publish("", "a/b"), ""},
			{pluginv1.HostOpPublish, publish("", "b/b"), "publish"},
			{pluginv1.HostOpPublish, publish("", "$SYS/b"), "publish"},
			{pluginv1.HostOpPublish, publish("c", "a/b"), ""},
			{pluginv1.HostOpPublish, publish("c", "b/b"), "publish_as_client"},
			{pluginv1.HostOpRetained, &pluginv1.RetainedRequest{TopicFilter: "a/+"}, ""},
			{pluginv1.HostOpRetained, &pluginv1.RetainedRequest{TopicFilter: "#"}, "retained"},
			{pluginv1.HostOpSecret, &pluginv1.SecretRequest{Name: "token"}, ""},
			{pluginv1.HostOpSecret, &pluginv1.SecretRequest{Name: "other"}, "secrets"},
			{pluginv1.HostOpHTTPFetch, &pluginv1.HTTPFetchRequest{Method: "GET", URL: "http://127.0.0.1:2/"}, "http"},
			{pluginv1.HostOpClients, &pluginv1.ClientsRequest{Namespace: "tenant"}, ""},
			{pluginv1.HostOpClient, &pluginv1.ClientRequest{ClientID: "c"}, "clients"},
			{pluginv1.HostOpDisconnect, &pluginv1.DisconnectRequest{ClientID: "c"}, "disconnect"},
			{pluginv1.HostOpBanAdd, &pluginv1.BanAddRequest{Ban: &pluginv1.Ban{ClientID: "c"}}, "ban"},
		} {
			e := callHost(t, b, some, c.op, c.in, nil)
			if c.grant != "" {
				namesGrant(t, fmt.Sprintf("%s %+v", c.op, c.in), e, some, c.grant)
			} else if e != nil && e.Code == pluginv1.HostErrorCodeDenied {
				t.Errorf("%s %+v by %s: %v", c.op, c.in, some, e)
			}
		}
	}
}

// publishAsClient: what a plugin publishes as a client may be what that client
// may publish, and goes through all plugins but the one that it comes from.
func publishAsClient(t *testing.T, b *broker) {
	all := &watcher{n: map[string]int{}, of: map[string]string{}}
	limited := mustConnect5(t, b.target("tcp", nil), "limited", as("limited", "x")) // may use mine/#
	mustConnect5(t, b.target("tcp", nil), "anybody", as("me", "x"))
	w := mustConnect5(t, b.target("tcp", nil), "watcher", as("me", "x"))
	if err := w.subscribe("#", all.got); err != nil {
		t.Fatal(err)
	}
	if err := w.subscribe("$SYS/x/#", all.got); err != nil {
		t.Fatal(err)
	}
	if err := limited.publish("other/own", 1, "x"); err == nil {
		t.Error("the client has permissions that it should not have")
	}
	for _, r := range runtimes {
		letter := r.letter
		other := map[string]string{"b": "p", "p": "w", "w": "b"}[letter]
		for _, c := range []struct {
			plugin, as, topic string
			hops              uint32
			code              uint32
			payload           string // that arrives; empty: none does
		}{
			{"all", "limited", "mine/" + letter, 0, 0, "x"},
			{"all", "limited", "other/" + letter, 0, 0x87, ""},
			{"all", "limited", "mine/+", 0, 0x90, ""},
			{"all", "limited", "mine/#", 0, 0x90, ""},
			{"all", "limited", "", 0, 0x90, ""},
			{"some", "limited", "$SYS/x/limited", 0, 0x87, ""},
			{"some", "anybody", "$SYS/x/anybody", 0, 0x87, ""},
			{"all", "anybody", "other/any-" + letter, 0, 0, "x"},
			{"all", "anybody", "guarded/no", 0, 0x87, ""}, // says the plugin who
			{"all", "nobody", "mine/nobody-" + letter, 0, 0x87, ""},
			// Other plugins are asked about what comes from a client, and not about what a
			// plugin publishes as itself.
			{"all", "anybody", "edit/all-" + other + "/stamp", 0, 0, "all-" + other + "=" + firstVersion + ".1 x"},
			{"all", "anybody", "edit/all-" + letter + "/stamp", 0, 0, "x"},
			{"all", "", "edit/some-" + letter + "/stamp", 7, 0, "x"},
			{"all", "", "edit/hops-" + letter, 8, 0x97, ""},
			{"all", "anybody", "edit/hops-" + letter, 8, 0x97, ""},
		} {
			before, _ := all.last(c.topic)
			in := &pluginv1.PublishRequest{AsClient: c.as, Messages: []pluginv1.Message{{Topic: c.topic, QoS: 1, Payload: []byte("x"), Hops: c.hops}}}
			out := new(pluginv1.PublishResponse)
			if e := callHost(t, b, c.plugin+"-"+letter, pluginv1.HostOpPublish, in, out); e != nil {
				t.Errorf("%s-%s, as %s to %s: %v", c.plugin, letter, c.as, c.topic, e)
				continue
			}
			if len(out.Results) != 1 || out.Results[0].ReasonCode != c.code {
				t.Errorf("%s-%s, as %s to %s: %+v, want 0x%02X", c.plugin, letter, c.as, c.topic, out.Results, c.code)
			}
			if c.payload != "" {
				all.await(t, c.topic, func(n int, payload string) bool { return n == before+1 && payload == c.payload })
			} else if c.code != 0 && out.Results[0].Reason == "" {
				t.Errorf("%s-%s, as %s to %s: no reason is given", c.plugin, letter, c.as, c.topic)
			}
		}
	}
	// A message after all others has passed them.
	roundTrip(t, w, "last")
	for topic := range all.n {
		if strings.HasPrefix(topic, "other/") && !strings.HasPrefix(topic, "other/any-") || strings.HasPrefix(topic, "$SYS/x") ||
			strings.HasPrefix(topic, "guarded/") || strings.HasPrefix(topic, "mine/nobody") || strings.HasPrefix(topic, "edit/hops") {
			t.Errorf("something has arrived at %s", topic)
		}
	}
}
