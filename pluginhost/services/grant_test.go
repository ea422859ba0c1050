package services

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// opOf finds the HostOp of a method of v1host.Service.
func opOf(t *testing.T, method string) pluginv1.HostOp {
	t.Helper()
	for op := pluginv1.HostOp(1); op < 1000; op++ {
		if strings.EqualFold(strings.ReplaceAll(strings.TrimPrefix(op.String(), "HOST_OP_"), "_", ""), method) {
			return op
		}
	}
	t.Fatalf("no op for %s", method)
	return 0
}

// callAll calls every method of the host with an empty request.
func callAll(t *testing.T, s v1host.Service, each func(op pluginv1.HostOp, name string, err error)) {
	t.Helper()
	service := reflect.TypeFor[v1host.Service]()
	for i := range service.NumMethod() {
		m := service.Method(i)
		out := reflect.ValueOf(s).MethodByName(m.Name).Call([]reflect.Value{
			reflect.ValueOf(t.Context()), reflect.New(m.Type.In(1).Elem()),
		})
		err, _ := out[1].Interface().(error)
		if (err == nil) == out[0].IsNil() {
			t.Errorf("%s: result %v with error %v", m.Name, out[0], err)
		}
		each(opOf(t, m.Name), m.Name, err)
	}
}

func TestEveryCallIsRefusedWithoutItsGrant(t *testing.T) {
	w := newWorld(t)
	s := w.with(t, Config{Name: "tester", Revoked: []string{"log", "metrics", "timers"}}, &fakeInstance{})
	refused := map[string]int64{}
	callAll(t, s, func(op pluginv1.HostOp, name string, err error) {
		var e *pluginv1.HostError
		switch grant := op.Grant(); {
		case grant == "":
			if err != nil {
				t.Errorf("%s needs no grant: %v", name, err)
			}
		case !errors.As(err, &e) || e.Code != pluginv1.HostErrorCodeDenied || e.Grant != grant:
			t.Errorf("%s: got %v, want a refusal that names %q", name, err, grant)
		default:
			refused[grant]++
			for _, part := range []string{`"` + grant + `"`, `"tester"`, "grants: [" + grant + "]"} {
				if !strings.Contains(e.Message, part) {
					t.Errorf("%s: %q does not say %s", name, e.Message, part)
				}
			}
		}
	})
	_, err := s.Publish(t.Context(), &pluginv1.PublishRequest{AsClient: "c", Messages: []pluginv1.Message{{Topic: "a"}}})
	wantCode(t, err, pluginv1.HostErrorCodeDenied, "grants: [publish_as_client]")
	refused["publish_as_client"]++
	if got := s.p.Refused(); !reflect.DeepEqual(got, refused) {
		t.Errorf("counted %v, want %v", got, refused)
	}
	if len(w.broker.published)+len(w.broker.gone) > 0 {
		t.Error("something has happened")
	}
}

func TestNoCallIsRefusedWithEveryGrant(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed(allGrants...)...)
	callAll(t, s, func(op pluginv1.HostOp, name string, err error) {
		// An empty request is in order or invalid; two grants are nothing without a scope.
		if c := code(err); c != pluginv1.HostErrorCodeNone && c != pluginv1.HostErrorCodeInvalid &&
			!(c == pluginv1.HostErrorCodeDenied && op == pluginv1.HostOpSecret) {
			t.Errorf("%s: %v", name, err)
		}
	})
}

func TestCallsAfterCloseAreUnavailable(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed(allGrants...)...)
	s.Close()
	callAll(t, s, func(_ pluginv1.HostOp, name string, err error) {
		if code(err) != pluginv1.HostErrorCodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	})
}

func TestPanicsDoNotCross(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed(allGrants...)...)
	w.o.Broker, w.o.Values = nil, nil
	s.p.metrics.families = map[string]*family{"x": nil}
	_, err := s.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: "k"})
	wantCode(t, err, pluginv1.HostErrorCodeInternal, "HOST_OP_KV_GET")
	_, err = s.Publish(t.Context(), &pluginv1.PublishRequest{Messages: []pluginv1.Message{{Topic: "a"}}})
	wantCode(t, err, pluginv1.HostErrorCodeInternal, "HOST_OP_PUBLISH")
	_, err = s.KVGet(t.Context(), nil)
	wantCode(t, err, pluginv1.HostErrorCodeInternal, "HOST_OP_KV_GET")
	if !strings.Contains(w.log.String(), "stack") {
		t.Errorf("not logged: %s", w.log)
	}
}

func TestConfigOfGrantsIsChecked(t *testing.T) {
	w := newWorld(t)
	for want, c := range map[string]Config{
		`there is no grant "kvs"`:            {Grants: grantsNamed("kvs")},
		`there is no grant "x" to revoke`:    {Revoked: []string{"x"}},
		`topic filter "a/#/b"`:               {Grants: []pluginv1.Grant{{Name: "publish", TopicFilters: []string{"a/#/b"}}}},
		`without $share`:                     {Grants: []pluginv1.Grant{{Name: "publish", TopicFilters: []string{"$share/g/a"}}}},
		`origin "example.com"`:               {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"example.com"}}}},
		`origin "https://example.com/api"`:   {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"https://example.com/api"}}}},
		`origin "ftp://example.com"`:         {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"ftp://example.com"}}}},
		`origin "https://*.10.0.0.1"`:        {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"https://*.10.0.0.1"}}}},
		`origin "https://u:p@example.com"`:   {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"https://u:p@example.com"}}}},
		`origin "https://*"`:                 {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"https://*"}}}},
		`origin "https://a.*.example.com"`:   {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"https://a.*.example.com"}}}},
		`origin "https://[fe80::1%25eth0]"`:  {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"https://[fe80::1%25eth0]"}}}},
		`origin "https://example.com:99999"`: {Grants: []pluginv1.Grant{{Name: "http", Origins: []string{"https://example.com:99999"}}}},
	} {
		c.Name = "x"
		if _, err := w.Plugin(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}
	s := w.plugin(t)
	if err := s.p.SetGrants(Config{Grants: grantsNamed("nonsense")}); err == nil || !strings.Contains(err.Error(), `"tester"`) {
		t.Errorf("got %v", err)
	}
}

func TestScopes(t *testing.T) {
	w := newWorld(t)
	publish := func(namespace, topic, as string) func(context.Context, *Service) error {
		return func(ctx context.Context, s *Service) error {
			_, err := s.Publish(ctx, &pluginv1.PublishRequest{AsClient: as, Messages: []pluginv1.Message{{Topic: topic, Namespace: namespace}}})
			return err
		}
	}
	retained := func(namespace, filter string) func(context.Context, *Service) error {
		return func(ctx context.Context, s *Service) error {
			_, err := s.Retained(ctx, &pluginv1.RetainedRequest{Namespace: namespace, TopicFilter: filter})
			return err
		}
	}
	disconnect := func(namespace string) func(context.Context, *Service) error {
		return func(ctx context.Context, s *Service) error {
			_, err := s.Disconnect(ctx, &pluginv1.DisconnectRequest{Namespace: namespace, ClientID: "c"})
			return err
		}
	}
	secret := func(name string) func(context.Context, *Service) error {
		return func(ctx context.Context, s *Service) error {
			_, err := s.Secret(ctx, &pluginv1.SecretRequest{Name: name})
			return err
		}
	}
	grant := func(name string, filters, namespaces []string) Config {
		return Config{Grants: []pluginv1.Grant{{Name: name, TopicFilters: filters, Namespaces: namespaces}}}
	}
	list := func(s ...string) []string { return s }
	both := Config{Grants: []pluginv1.Grant{
		{Name: "publish", TopicFilters: list("a/#"), Namespaces: list("one")},
		{Name: "publish", TopicFilters: list("b/#"), Namespaces: list("two")},
	}}
	narrowed := grant("publish", nil, list("one", "two"))
	narrowed.Namespaces = list("two", "three")
	for _, c := range []struct {
		config Config
		call   func(context.Context, *Service) error
		denied string // part of the refusal, empty if there is none
	}{
		{grant("publish", nil, nil), publish("", "a/b", ""), ""},
		{grant("publish", nil, nil), publish("any", "a/b", ""), ""},
		{grant("publish", nil, nil), publish("", "$SYS/x", ""), `grants: [{publish: ["$SYS/x"]}]`},
		{grant("publish", list("#"), nil), publish("", "$SYS/x", ""), `the topic "$SYS/x" in the default namespace`},
		{grant("publish", list("$SYS/#"), nil), publish("", "$SYS/x", ""), ""},
		{grant("publish", list("a/+"), nil), publish("", "a/b", ""), ""},
		{grant("publish", list("a/+"), nil), publish("", "a/b/c", ""), `grants: [{publish: ["a/b/c"]}]`},
		{grant("publish", nil, list("")), publish("", "a", ""), ""},
		{grant("publish", nil, list("")), publish("x", "a", ""), `the namespace "x"`},
		{grant("publish", nil, list("x")), publish("", "a", ""), `grants: [{publish: {namespaces: [""]}}]`},
		{grant("publish", nil, nil), publish("", "a", "client"), `grants: [publish_as_client]`},
		{grant("publish_as_client", nil, nil), publish("", "a", "client"), ""},
		{grant("publish_as_client", nil, nil), publish("", "a", ""), `grants: [publish]`},
		{grant("publish_as_client", list("c/#"), nil), publish("", "a", "client"), `grants: [{publish_as_client: ["a"]}]`},
		{both, publish("one", "a/x", ""), ""},
		{both, publish("two", "b/x", ""), ""},
		{both, publish("one", "b/x", ""), `grants: [{publish: {topic_filters: ["b/x"], namespaces: ["one"]}}]`},
		{both, publish("", "a/x", ""), "the default namespace"},
		{narrowed, publish("two", "a", ""), ""},
		{narrowed, publish("one", "a", ""), `and namespaces: ["one"]`},
		{narrowed, publish("three", "a", ""), `grants: [{publish: {namespaces: ["three"]}}]`},
		{Config{Grants: grantsNamed("disconnect"), Namespaces: list("x")}, disconnect("x"), ""},
		{Config{Grants: grantsNamed("disconnect"), Namespaces: list("x")}, disconnect(""), "the default namespace"},
		{grant("retained", nil, nil), retained("", "#"), ""},
		{grant("retained", nil, nil), retained("", "$SYS/#"), `the topic "$SYS/#"`},
		{grant("retained", list("a/#"), nil), retained("", "a/+/c"), ""},
		{grant("retained", list("a/+"), nil), retained("", "a/#"), `grants: [{retained: ["a/#"]}]`},
		{grant("retained", list("a/+"), nil), retained("", "+/b"), `grants: [{retained: ["+/b"]}]`},
		{Config{Grants: []pluginv1.Grant{{Name: "secrets", Names: list("token")}}}, secret("token"), ""},
		{Config{Grants: []pluginv1.Grant{{Name: "secrets", Names: list("token")}}}, secret("other"), `grants: [{secrets: ["other"]}]`},
		{Config{Grants: grantsNamed("secrets")}, secret("token"), `grants: [{secrets: ["token"]}]`},
		{Config{Grants: grantsNamed("kv"), Revoked: list("kv")}, func(ctx context.Context, s *Service) error {
			_, err := s.KVGet(ctx, &pluginv1.KVGetRequest{Key: "k"})
			return err
		}, `grants: [kv]`},
	} {
		c.config.Name = "tester"
		err := c.call(t.Context(), w.with(t, c.config, &fakeInstance{}))
		if c.denied == "" && err != nil {
			t.Errorf("%+v: %v", c.config.Grants, err)
		}
		if c.denied != "" {
			wantCode(t, err, pluginv1.HostErrorCodeDenied, c.denied)
		}
	}
}

func TestSetGrantsIsInForceAtOnce(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t)
	_, err := s.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: "k"})
	wantCode(t, err, pluginv1.HostErrorCodeDenied, "kv")
	if err := s.p.SetGrants(Config{Grants: grantsNamed("kv")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: "k"}); err != nil {
		t.Error(err)
	}
	again, err := w.Plugin(Config{Name: "tester"})
	if err != nil || again != s.p {
		t.Errorf("another plugin of the same name: %v", err)
	}
	_, err = s.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: "k"})
	wantCode(t, err, pluginv1.HostErrorCodeDenied, "kv")
}

func TestRefusalsAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.plugin(t, grantsNamed("publish")...)
		try := func() {
			for range 50 {
				_, _ = s.KVGet(t.Context(), &pluginv1.KVGetRequest{Key: "k"})
				_, _ = s.Publish(t.Context(), &pluginv1.PublishRequest{Messages: []pluginv1.Message{{Topic: "$x"}}})
			}
		}
		try()
		time.Sleep(59 * time.Second)
		try()
		if n := w.log.count("was refused"); n != 2 {
			t.Errorf("%d lines: %s", n, w.log)
		}
		time.Sleep(2 * time.Second)
		try()
		if n := w.log.count("was refused"); n != 4 {
			t.Errorf("%d lines after a minute: %s", n, w.log)
		}
		if got := s.p.Refused(); got["kv"] != 150 || got["publish"] != 150 {
			t.Errorf("counted %v", got)
		}
		if !strings.Contains(w.log.String(), "plugin=tester grant=kv scope=grant") {
			t.Errorf("the line says %s", w.log)
		}
	})
}
