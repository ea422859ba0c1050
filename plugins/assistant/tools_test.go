package assistant

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/assistant/internal/fakeai"
	"github.com/patchbay-mq/patchbay/sdk"
)

// answering has a client be a device: it answers what comes on a topic.
func (c *client) answering(topic, payload string) *client {
	c.t.Helper()
	c.subscribe(topic)
	seen := 0
	go func() {
		for {
			select {
			case <-c.came:
			case <-c.t.Context().Done():
				return
			}
			for ; seen < len(c.received(topic)); seen++ {
				p := c.received(topic)[seen]
				if p.Properties.ResponseTopic == "" {
					continue
				}
				_, _ = c.c.Publish(c.t.Context(), &paho.Publish{ // the test has ended
					Topic: p.Properties.ResponseTopic, Payload: []byte(payload + string(p.Payload)),
					Properties: &paho.PublishProperties{CorrelationData: p.Properties.CorrelationData},
				})
			}
		}
	}()
	return c
}

// Each tool does what it says, for the client that asks.
func TestTools(t *testing.T) {
	runtimes(t, func(t *testing.T, rt pluginhost.Runtime) {
		f := &fence{masked: "masked/#", publish: map[string][]string{"thief": {"assistant/+/+/ask"}}}
		s := start(t, options{runtime: rt, answer: obey, grants: toolGrants(), plugins: []sdk.Plugin{f.plugin()}, config: allTools + "}"})
		watch := connect(t, s.addr, "watch").subscribe("#")
		ann := connect(t, s.addr, "ann").conversation("c")
		connect(t, s.addr, "device").answering("device/1", "did: ")
		watch.publish(&paho.Publish{Topic: "plant/t", Payload: []byte("21.5"), Retain: true, Properties: &paho.PublishProperties{ContentType: "text/plain"}})
		watch.publish(&paho.Publish{Topic: "plant/raw", Payload: []byte{0xff, 0}, Retain: true})
		watch.publish(&paho.Publish{Topic: "masked/x", Payload: []byte("for the owner"), Retain: true})
		watch.say("plant/log", "first")
		watch.say("plant/log", "second")
		connect(t, s.addr, "thief").say("plant/stolen", "not published")
		try := func(tool, args string, want ...string) string {
			t.Helper()
			got := ann.ask(order(tool, args))
			for _, w := range want {
				if !strings.Contains(got, w) {
					t.Errorf("%s %s: no %s in %s", tool, args, w, got)
				}
			}
			return got
		}
		if got := try("read_retained", `{"topic_filter":"plant/+"}`, `{"topic":"plant/t","payload":"21.5","content_type":"text/plain"`, `{"topic":"plant/raw","payload":"/wA=","base64":true`); strings.Contains(got, "plant/log") {
			t.Errorf("plant/log is not retained: %s", got)
		}
		try("read_retained", `{"topic_filter":"plant/+","limit":1}`, `"more":true`)
		try("read_retained", `{"topic_filter":"plant/t"}`, `"payload":"21.5"`)
		try("read_retained", `{"topic_filter":"a/#/b"}`, "failed: topic_filter")
		if got := try("read_retained", `{"topic_filter":"masked/#"}`, `"payload":"***"`); strings.Contains(got, "owner") {
			t.Errorf("the model has read what is masked for the client: %s", got)
		}
		eventually(t, "what was published is remembered", func() bool {
			got := ann.ask(order("read_recent", `{"topic_filter":"plant/#"}`))
			first, second := strings.Index(got, `"payload":"first"`), strings.Index(got, `"payload":"second"`)
			return first > 0 && second > 0 && !strings.Contains(got, "stolen")
		})
		if got := try("read_recent", `{"topic_filter":"#","limit":100}`, "***"); strings.Contains(got, "owner") || strings.Contains(got, "CALL") {
			t.Errorf("conversations, or what is masked, are remembered: %s", got)
		}
		try("list_topics", `{"topic_filter":"plant/#"}`, `"plant/log","plant/raw","plant/t"`)
		try("publish", `{"topic":"out/1","payload":"hello","qos":2,"retain":true}`, `"published":true,"receivers":1`)
		if p := watch.expect("out/1", 1); string(p.Payload) != "hello" || p.QoS != 1 || !p.Retain {
			t.Errorf("%+v", p)
		}
		try("request", `{"topic":"device/1","payload":"ping"}`, `"payload":"did: ping"`)
		try("set_lamp", `{"room":"hall","on":true}`, `"published":true`)
		if p := watch.expect("home/hall/lamp/set", 1); string(p.Payload) != `{"on": true, "by": "ann"}` {
			t.Errorf("%s", p.Payload)
		}
		try("set_lamp", `{"on":true}`, "failed: the arguments", "room")
		try("list_clients", `{"client_id_prefix":"dev"}`, `"client_id":"device"`)
		eventually(t, "the broker's figures", func() bool {
			return strings.Contains(ann.ask(order("broker_metrics", "{}")), `"topic":"$SYS/broker/`)
		})
		ann.say("typing/eror", "x")
		eventually(t, "the drops", func() bool {
			got := ann.ask(order("explain_drop", `{"limit":100}`))
			return strings.Contains(got, `"topic":"plant/stolen","reason":"not_authorized"`) && strings.Contains(got, `"publisher":"thief"`)
		})
		if got := offered(s.ai.Requests()[0]); !slices.Equal(got, []string{
			"read_retained", "read_recent", "list_topics", "broker_metrics", "explain_drop", "publish", "request", "set_lamp", "list_clients",
		}) {
			t.Errorf("%q", got)
		}
		if n := s.metric("tool_calls", "tool=publish", "outcome=ok"); n != 1 {
			t.Errorf("%g calls are counted", n)
		}
	})
}

// Clients that are told about drops are told of what they have sent or missed, and may read.
func TestExplainDrop(t *testing.T) {
	f := &fence{publish: map[string][]string{"ann": {"assistant/+/+/ask", "nobody/#"}}, subscribe: map[string][]string{"ann": {"assistant/+/+/answer", "assistant/+/+/answer/stream"}}}
	s := start(t, options{answer: obey, grants: toolGrants(), plugins: []sdk.Plugin{f.plugin()}, config: allTools + "}"})
	ann, bob := connect(t, s.addr, "ann").conversation("c"), connect(t, s.addr, "bob")
	ann.say("nobody/home", "x")
	ann.say("not/mine", "x")
	bob.say("bob/only", "x")
	eventually(t, "the drops", func() bool {
		got := ann.ask(order("explain_drop", "{}"))
		if strings.Contains(got, "bob") {
			t.Fatalf("the drops of others: %s", got)
		}
		return strings.Contains(got, `"topic":"nobody/home","reason":"no_subscriber"`) && strings.Contains(got, `"topic":"not/mine","reason":"not_authorized"`)
	})
}

// What is not given is not offered, and cannot be called.
func TestToolsAreOff(t *testing.T) {
	s := start(t, options{answer: obey, grants: toolGrants()})
	c := connect(t, s.addr, "ann").conversation("c")
	c.ask(order("publish", `{"topic":"a","payload":"b"}`))
	if r := s.ai.Requests()[0]; len(r.Tools) != 0 {
		t.Errorf("%+v", r.Tools)
	}
	s.configure(`"tools":{"use":["publish","read_retained"]},"assistants":[{"name":"reader","tools":["read_*"]},{"name":"mute","tools":["none"]}]`)
	for name, want := range map[string]string{"main": "read_retained publish", "reader": "read_retained", "mute": ""} {
		n := len(s.ai.Requests())
		got := c.askOf(name, order("publish", `{"topic":"out/`+name+`","payload":"b"}`))
		if list := strings.Join(offered(s.ai.Requests()[n]), " "); list != want || strings.Contains(got, "published") != (name == "main") {
			t.Errorf("%s is offered %q, want %q: %s", name, list, want, got)
		}
	}
}

// Tools see and do nothing outside of the client's namespace.
func TestToolsByNamespace(t *testing.T) {
	s := start(t, options{answer: obey, grants: toolGrants(), config: allTools + `,"approve":["set_lamp"]}`})
	one, two := s.listen("one"), s.listen("two")
	watch := map[string]*client{"one": connect(t, one, "watch").subscribe("#"), "two": connect(t, two, "watch").subscribe("#")}
	connect(t, one, "device").answering("device/1", "of one: ")
	connect(t, two, "device").answering("device/1", "of two: ")
	for name, w := range watch {
		w.publish(&paho.Publish{Topic: "plant/" + name, Payload: []byte("in " + name), Retain: true})
		w.say("nobody/"+name, "x")
	}
	ann := connect(t, one, "ann").conversation("c") // there is no ann in two
	try := func(tool, args, want string) {
		t.Helper()
		got := ""
		eventually(t, tool, func() bool {
			got = ann.ask(order(tool, args))
			return strings.Contains(got, want)
		})
		if strings.Contains(got, "two") {
			t.Errorf("%s: %s", tool, got)
		}
	}
	try("read_retained", `{"topic_filter":"plant/#"}`, "in one")
	try("read_recent", `{"topic_filter":"plant/#"}`, "in one")
	try("list_topics", `{"topic_filter":"plant/#"}`, "plant/one")
	try("request", `{"topic":"device/1","payload":"x"}`, "of one: x")
	try("publish", `{"topic":"out","payload":"x"}`, `"receivers":1`)
	try("list_clients", `{}`, `"client_id":"ann"`)
	watch["one"].expect("out", 1)
	n := len(ann.received("assistant/main/c/answer"))
	ann.say("assistant/main/c/ask", order("set_lamp", `{"room":"hall"}`))
	eventually(t, "the request for approval", func() bool { return len(approvals(watch["one"])) == 1 })
	decide := approvals(watch["one"])[0].Topic + "/decision"
	watch["two"].say(decide, "yes")
	watch["one"].say(decide, "no")
	if p := ann.expect("assistant/main/c/answer", n+1); !strings.Contains(string(p.Payload), "client watch has not approved") || len(watch["one"].received("home/hall/lamp/set")) != 0 {
		t.Errorf("approved from another namespace: %s", p.Payload)
	}
	for _, p := range watch["two"].received("out") {
		t.Errorf("in the other namespace: %s", p.Payload)
	}
	if list := approvals(watch["two"]); len(list) != 1 || list[0].Topic != decide {
		t.Errorf("requests for approval in the other namespace: %d", len(list))
	}
}

// Without its grant a tool is not started, and the config is told which is missing.
func TestToolGrants(t *testing.T) {
	s := start(t, options{grants: []sdk.Grant{{Name: "publish_as_client"}}})
	for config, want := range map[string]string{
		`"tools":{"use":["publish","read_retained"]}`:                                          "needs the grant retained",
		`"tools":{"use":["list_clients"]}`:                                                     "needs the grant clients",
		`"tools":{"mcp":[{"name":"x","url":"http://127.0.0.1:1"}]}`:                            "needs the grant clients",
		`"tools":{"custom":[{"name":"x","description":"y","topic":"a","response_topic":"b"}]}`: "needs the grant clients",
		`"tools":{"use":["publish"]}`:                                                          "needs the grant clients",
	} {
		s.spec.Config = []byte(s.config(config))
		_, err := s.host.Apply(t.Context(), append(slices.Clone(s.more), s.spec))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// A call that has to be approved is done when somebody else says yes.
func TestApproval(t *testing.T) {
	runtimes(t, func(t *testing.T, rt pluginhost.Runtime) {
		s := start(t, options{
			runtime: rt, answer: obey, grants: toolGrants(),
			config: `"audit_topic":"audit/assistant","tools":{"use":["publish","list_topics"],"approve":["pub*"],"approval":{"timeout":"30s"}}`,
		})
		boss := connect(t, s.addr, "boss").subscribe("assistant/approval/+", "out", auditTopic)
		ann := connect(t, s.addr, "ann").conversation("c")
		mallory := connect(t, s.addr, "ann2")
		for i, c := range []struct {
			decision string
			want     string
			done     bool
		}{
			{"yes", `"published":true`, true},
			{`{"approve":true}`, `"published":true`, true},
			{"no", "refused: client boss has not approved this", false},
			{`{"approve":false,"reason":"not today"}`, "has not approved this: not today", false},
		} {
			before := len(boss.received("out"))
			ann.say("assistant/main/c/ask", order("publish", `{"topic":"out","payload":"x"}`))
			var r struct{ Tool, Arguments, Client, Decide string }
			eventually(t, "the request", func() bool { return len(approvals(boss)) > i })
			p := approvals(boss)[i]
			if err := json.Unmarshal(p.Payload, &r); err != nil || r.Tool != "publish" || r.Arguments != `{"topic":"out","payload":"x"}` || r.Client != "ann" ||
				r.Decide != p.Topic+"/decision" || p.Properties.ResponseTopic != r.Decide {
				t.Fatalf("%s: %v", p.Payload, err)
			}
			ann.say(r.Decide, "yes")                // whoever asks does not decide
			boss.say(r.Decide, "perhaps")           // and this is no decision
			mallory.say(p.Topic+"x/decision", "no") // nor is this
			if n := len(boss.received("out")); n != before {
				t.Fatalf("%s: done before it was decided", c.decision)
			}
			boss.say(r.Decide, c.decision)
			got := string(ann.expect("assistant/main/c/answer", i+1).Payload)
			if !strings.Contains(got, c.want) {
				t.Errorf("%s: %s", c.decision, got)
			}
			if c.done {
				boss.expect("out", before+1)
			} else if n := len(boss.received("out")); n != before {
				t.Errorf("%s: it was done", c.decision)
			}
		}
		boss.expect(auditTopic, 4)
		if e := audits(t, boss)["c"]; !strings.HasPrefix(e[0].Result, "approved by client boss: {") || e[2].Outcome != "refused" {
			t.Errorf("%+v", e)
		}
		// What nobody decides is not done. Other tools do not wait.
		s.configure(`"tools":{"use":["publish","list_topics"],"approve":["publish"],"approval":{"topic":"ops/wishes","timeout":"50ms"}}`)
		if got := ann.ask(order("publish", `{"topic":"out","payload":"x"}`)); !strings.Contains(got, "nobody has approved this within 50ms") {
			t.Error(got)
		}
		if got := ann.ask(order("publish", `{"topic":"ops/wishes/x/decision","payload":"yes"}`)); !strings.Contains(got, "own topics") {
			t.Error(got)
		}
		if got := ann.ask(order("list_topics", `{"topic_filter":"x"}`)); !strings.Contains(got, `"topics":[]`) {
			t.Error(got)
		}
	})
}

// approvals are the requests for approval that have come.
func approvals(c *client) (list []*paho.Publish) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.in {
		if strings.HasPrefix(p.Topic, "assistant/approval/") {
			list = append(list, p)
		}
	}
	return list
}

// A dry run does nothing, and says so to the model and the audit.
func TestDryRun(t *testing.T) {
	s := start(t, options{answer: obey, grants: toolGrants(), config: allTools + `,"dry_run":["publish","set_*"]}`})
	watch := connect(t, s.addr, "watch").subscribe("out", "home/#", auditTopic)
	ann := connect(t, s.addr, "ann").conversation("c")
	for _, o := range []string{order("publish", `{"topic":"out","payload":"x"}`), order("set_lamp", `{"room":"hall","on":true}`)} {
		if got := ann.ask(o); !strings.Contains(got, "nothing was done") {
			t.Error(got)
		}
	}
	if got := ann.ask(order("set_lamp", `{"room":"a/b"}`)); !strings.Contains(got, "refused") {
		t.Errorf("a dry run of what could not be: %s", got)
	}
	watch.expect(auditTopic, 3)
	if e := audits(t, watch)["c"]; e[0].Outcome != "ok" || e[0].Result != "dry run: nothing was done" {
		t.Errorf("%+v", e)
	}
	if len(watch.received("out"))+len(watch.received("home/hall/lamp/set")) != 0 {
		t.Error("something was done")
	}
}

// A model that goes on calling tools is stopped, by rounds and by calls.
func TestToolLoop(t *testing.T) {
	again := func(*fakeai.Request) fakeai.Reply { return fakeai.Call("publish", `{"topic":"out","payload":"x"}`) }
	s := start(t, options{answer: again, grants: toolGrants(), config: `"audit_topic":"audit/assistant","tools":{"use":["publish"],"rounds":3}`})
	watch := connect(t, s.addr, "watch").subscribe("out", auditTopic)
	c := connect(t, s.addr, "ann").conversation("c")
	if got := code(c.ask("go")); got != "tool_limit" {
		t.Errorf("%q", got)
	}
	watch.expect(auditTopic, 4)
	if n := len(watch.received("out")); n != 3 {
		t.Errorf("it was done %d times", n)
	}
	if e := audits(t, watch)["c"]; e[3].Outcome != "refused" || !strings.Contains(e[3].Result, "limit") {
		t.Errorf("%+v", e)
	}
	s.configure(`"tools":{"use":["publish"],"calls":2}`)
	if got := code(c.ask("go")); got != "tool_limit" {
		t.Errorf("%q", got)
	}
	watch.expect("out", 5) // it may be told after the one who has asked
	if n := len(watch.received("out")); n != 5 {
		t.Errorf("it was done %d times", n)
	}
}

// Tools of one's own wait for answers, on a topic of the device's or one that is made up.
func TestCustomTools(t *testing.T) {
	runtimes(t, func(t *testing.T, rt pluginhost.Runtime) {
		f := &fence{subscribe: map[string][]string{"ann": {"assistant/+/+/answer", "assistant/+/+/answer/stream", "lamp/hall/state"}}}
		s := start(t, options{runtime: rt, answer: obey, grants: toolGrants(), plugins: []sdk.Plugin{f.plugin()}, config: `"tools":{"custom":[
			{"name":"lamp","description":"x","topic":"lamp/${payload.room}/set","payload":"on","response_topic":"lamp/${payload.room}/state","parameters":"{\"type\":\"object\"}"},
			{"name":"ask_device","description":"x","topic":"device/1","response":true,"parameters":"{\"type\":\"object\"}"},
			{"name":"nobody","description":"x","topic":"nobody","response":true,"timeout":"50ms"}]}`})
		connect(t, s.addr, "lamp").answering("lamp/+/set", "")
		connect(t, s.addr, "device").answering("device/1", "did ")
		lamp := connect(t, s.addr, "lamps").subscribe("lamp/hall/set", "lamp/attic/set")
		ann := connect(t, s.addr, "ann").conversation("c")
		ann.say("assistant/main/c/ask", order("lamp", `{"room":"hall"}`))
		p := lamp.expect("lamp/hall/set", 1)
		if string(p.Payload) != "on" || p.Properties.ResponseTopic != "lamp/hall/state" {
			t.Errorf("%+v", p)
		}
		lamp.publish(&paho.Publish{Topic: "lamp/hall/state", Payload: []byte("of another"), Properties: &paho.PublishProperties{CorrelationData: []byte("17")}})
		lamp.say("lamp/hall/state", "it is on") // devices need not know Correlation Data
		if p := ann.expect("assistant/main/c/answer", 1); !strings.Contains(string(p.Payload), `"payload":"it is on"`) {
			t.Errorf("%s", p.Payload)
		}
		if got := ann.ask(order("lamp", `{"room":"attic"}`)); !strings.Contains(got, "refused: the client may not read the topic lamp/attic/state") || len(lamp.received("lamp/attic/set")) != 0 {
			t.Error(got)
		}
		if got := ann.ask(order("ask_device", `{"a":1}`)); !strings.Contains(got, `"payload":"did {\"a\":1}"`) {
			t.Error(got)
		}
		if got := ann.ask(order("nobody", "")); !strings.Contains(got, "failed: ") {
			t.Error(got)
		}
		if got := ann.ask(order("nobody", `{"x":1}`)); !strings.Contains(got, "failed: the arguments") {
			t.Error(got)
		}
	})
}

// Many conversations wait for devices at once: each gets its own answer, and nothing is
// left.
func TestManyRequests(t *testing.T) {
	const clients, each = 10, 20
	s := start(t, options{answer: obey, grants: toolGrants(), config: `"tools":{"use":["request"],"timeout":"1m"},"limits":{"max_running":100}`})
	connect(t, s.addr, "device").answering("device/1", "for ")
	var all []*client
	for i := range clients {
		c := connect(t, s.addr, fmt.Sprint("c", i)).subscribe("assistant/main/+/answer")
		all = append(all, c)
		for k := range each {
			name := fmt.Sprintf("%d-%d", i, k)
			c.say("assistant/main/"+name+"/ask", order("request", `{"topic":"device/1","payload":"`+name+`"}`))
		}
	}
	for i, c := range all {
		for k := range each {
			name := fmt.Sprintf("%d-%d", i, k)
			if p := c.expect("assistant/main/"+name+"/answer", 1); !strings.Contains(string(p.Payload), `"payload":"for `+name+`"`) {
				t.Errorf("%s: %s", name, p.Payload)
			}
		}
	}
	s.idle()
	if n := s.metric("tool_calls", "outcome=ok"); n != clients*each {
		t.Errorf("%g calls", n)
	}
}

// Images may stand on topics that the client may read.
func TestImageByTopic(t *testing.T) {
	f := &fence{subscribe: map[string][]string{"ann": {"assistant/+/+/answer", "assistant/+/+/answer/stream", "cam/1", "cam/2", "cam/3"}}}
	s := start(t, options{config: `"images":true`, grants: toolGrants(), plugins: []sdk.Plugin{f.plugin()}})
	cam := connect(t, s.addr, "cam")
	for _, topic := range []string{"cam/1", "cam/secret"} {
		cam.publish(&paho.Publish{Topic: topic, Payload: []byte("\x89PNG"), Retain: true, Properties: &paho.PublishProperties{ContentType: "image/png"}})
	}
	cam.publish(&paho.Publish{Topic: "cam/2", Payload: []byte("x"), Retain: true})
	ann := connect(t, s.addr, "ann").conversation("c")
	for topic, want := range map[string]string{"cam/1": "", "cam/2": "bad_request", "cam/3": "bad_request", "cam/secret": "not_allowed", "cam/+": "bad_request"} {
		if got := code(ann.ask(fmt.Sprintf(`{"message":"what is it","image":{"topic":%q}}`, topic))); got != want {
			t.Errorf("%s: %q, want %q", topic, got, want)
		}
	}
	last := s.ai.Requests()[0].Messages
	if m := last[len(last)-1]; len(m.MultiContent) != 2 || m.MultiContent[1].ImageURL.URL != "data:image/png;base64,iVBORw==" {
		t.Errorf("%+v", m)
	}
}

// What is wrong with the config of tools is said where it is.
func TestToolsConfig(t *testing.T) {
	for config, want := range map[string]string{
		`"use":["delete"]`:                                                                                 `/tools/use/0 there is no tool "delete"; there are broker_metrics`,
		`"topics":["a/#/b"]`:                                                                               "/tools/topics/0",
		`"recent":{"topic_filters":["$SYS/#"]}`:                                                            "/tools/recent/topic_filters/0",
		`"approval":{"topic":"a/+"}`:                                                                       "/tools/approval/topic",
		`"use":["publish"],"approve":["read_*"]`:                                                           `/tools/approve/0 "read_*": there is no such tool`,
		`"use":["publish"],"dry_run":["publsh"]`:                                                           "/tools/dry_run/0",
		`"mcp":[{"name":"a_b","url":"http://x"}]`:                                                          "/tools/mcp/0/name",
		`"mcp":[{"name":"a","url":"ftp://x"}]`:                                                             "/tools/mcp/0/url",
		`"mcp":[{"name":"a","url":"http://u:p@x"}]`:                                                        "/tools/mcp/0/url a URL with a password",
		`"custom":[{"name":"a b"` + rest:                                                                   "/tools/custom/0/name",
		`"custom":[{"name":"publish"` + rest:                                                               `/tools/custom/0/name there is another tool "publish"`,
		`"use":["publish"],"approve":["publish"],"approval":{"timeout":"5m"}`:                              "/tools/approval/timeout",
		`"mcp":[{"name":"a","url":"http://x"},{"name":"a","url":"http://y"}]`:                              "/tools/mcp/1/name",
		`"mcp":[{"name":"a","url":"http://x","ca_file":"nowhere.pem"}]`:                                    "/tools/mcp/0/ca_file",
		`"custom":[{"name":"a","description":"d","topic":"a/#"}]`:                                          "/tools/custom/0/topic",
		`"custom":[{"name":"a","description":"d","topic":"$SYS/x"}]`:                                       "/tools/custom/0/topic",
		`"custom":[{"name":"a","description":"d","topic":"a","response_topic":"b/#/c"}]`:                   "/tools/custom/0/response_topic",
		`"custom":[{"name":"a","description":"d","topic":"a/${nothing}"}]`:                                 "/tools/custom/0/topic",
		`"custom":[{"name":"a","description":"d","topic":"a","payload":"{\"x\": "}]`:                       "/tools/custom/0/payload",
		`"custom":[{"name":"a","description":"d","topic":"a","parameters":"{\"type\":\"string\"}"}]`:       "/tools/custom/0/parameters",
		`"custom":[{"name":"a","description":"d","topic":"a","parameters":"{\"type\":\"object\",\"x\":"}]`: "/tools/custom/0/parameters",
		`"custom":[{"name":"a","description":"d","topic":"a","parameters":"{\"type\":\"object\",\"$ref\":\"http://127.0.0.1:1/x\"}"}]`: "/tools/custom/0/parameters",
	} {
		if got := refusal(t, `{"model":"m","tools":{`+config+`}}`); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", config, got)
		}
	}
	if got := refusal(t, `{"model":"m","assistants":[{"name":"x","tools":["publish"]}]}`); !strings.HasPrefix(got, "/assistants/0/tools/0") {
		t.Error(got)
	}
}

const rest = `,"description":"d","topic":"t"}]`
