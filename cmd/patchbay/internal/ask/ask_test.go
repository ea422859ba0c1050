package ask

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/acl"
	"github.com/patchbay-mq/patchbay/plugins/assistant"
	"github.com/patchbay-mq/patchbay/sdk"
)

const wait = time.Minute

// endpoint is an OpenAI-compatible server that streams, word by word, what answer says.
type endpoint struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string // the last message of each request
	sizes  []int    // the number of messages of each
	answer func(question string) string
}

func newEndpoint(t *testing.T, answer func(string) string) *endpoint {
	e := &endpoint{answer: answer}
	e.Server = httptest.NewServer(http.HandlerFunc(e.chat))
	t.Cleanup(e.Close)
	return e
}

// question is what a client has asked, without the marks around it.
var question = regexp.MustCompile(`(?s)<client-\w+>\n(.*)\n</client-`)

func (e *endpoint) chat(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Messages []struct{ Content any }
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	last, _ := json.Marshal(in.Messages[len(in.Messages)-1].Content)
	e.mu.Lock()
	e.asked, e.sizes = append(e.asked, string(last)), append(e.sizes, len(in.Messages))
	e.mu.Unlock()
	text, _ := in.Messages[len(in.Messages)-1].Content.(string)
	if m := question.FindStringSubmatch(text); m != nil {
		text = m[1]
	}
	answer := e.answer(text)
	if answer == "" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	for _, word := range strings.SplitAfter(answer, " ") {
		b, _ := json.Marshal(word)
		fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":%s}}]}\n\n", b)
		w.(http.Flusher).Flush()
	}
	fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
}

// start starts a broker with the assistant and others, and returns its port.
func start(t *testing.T, e *endpoint, config map[string]any, others ...pluginhost.Spec) string {
	t.Helper()
	st := new(store.Memory)
	quiet := slog.New(slog.DiscardHandler)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = quiet, st })
	if err != nil {
		t.Fatal(err)
	}
	h, err := pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) {
			if name == "acl" {
				return acl.Plugin(), true
			}
			return assistant.Plugin(), name == "assistant"
		},
		Logger: quiet, DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := errors.Join(h.Close(ctx), b.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	if config["base_url"] == nil {
		config["base_url"] = e.URL
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Apply(t.Context(), append(others, pluginhost.Spec{
		Name: "assistant", Plugin: "assistant", Source: "test", Config: text, Grants: []sdk.Grant{{Name: "kv"}, {Name: "publish"}},
	})); err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}, AllowAnonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// ask runs the command; code is its exit code.
func ask(t *testing.T, port, stdin string, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := Command()
	var o, e bytes.Buffer
	cmd.SetArgs(append([]string{"-h", "127.0.0.1", "-p", port}, args...))
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	err := cmd.ExecuteContext(ctx)
	if err != nil {
		code = 1
		if coded := (interface{ ExitCode() int })(nil); errors.As(err, &coded) {
			code = coded.ExitCode()
		}
		e.WriteString(err.Error())
	}
	return o.String(), e.String(), code
}

func echo(q string) string { return "You said: " + q }

func TestAsk(t *testing.T) {
	e := newEndpoint(t, echo)
	port := start(t, e, map[string]any{"model": "m"})
	for _, c := range []struct {
		stdin string
		args  []string
		out   string
	}{
		{"", []string{"how", "are", "you"}, "You said: how are you\n"},
		{"from a pipe\n", nil, "You said: from a pipe\n"},
		{"1 2 3", []string{"--stdin", "add up"}, "You said: add up\n\n1 2 3\n"},
		{"", []string{"--no-stream", "whole"}, "You said: whole\n"},
		{"", []string{"-V", "3.1.1", "old"}, "You said: old\n"},
		{"", []string{"--forget", "--conversation", "c"}, ""},
	} {
		out, errs, code := ask(t, port, c.stdin, c.args...)
		if out != c.out || code != 0 {
			t.Errorf("%q: %d %q %q", c.args, code, out, errs)
		}
	}
	out, _, code := ask(t, port, "", "--json", "x")
	var a answer
	if err := json.Unmarshal([]byte(out), &a); err != nil || a.Text != "You said: x" || a.Usage.Out == 0 || code != 0 {
		t.Errorf("%d %q", code, out)
	}
	if _, errs, _ := ask(t, port, "", "--usage", "x"); !strings.Contains(errs, "tokens read") {
		t.Errorf("%q", errs)
	}
}

// What a model says does not reach a terminal as anything but text.
func TestShown(t *testing.T) {
	const text = "a\x1b[2Jb\r\n\tc\u009bd\x07é"
	if got := (&exchange{terminal: true}).shown(text); got != "a[2Jb\n\tcdé" {
		t.Errorf("%q", got)
	}
	if got := (&toldError{Code: "filtered", Message: text}).Error(); got != "filtered: a[2Jb\n\tcdé" {
		t.Errorf("an error: %q", got)
	}
	if got := (&exchange{}).shown(text); got != text {
		t.Errorf("into a pipe: %q", got)
	}
}

// With --conversation the assistant remembers, with --forget it does not.
func TestConversation(t *testing.T) {
	e := newEndpoint(t, echo)
	port := start(t, e, map[string]any{"model": "m"})
	ask(t, port, "", "--conversation", "c", "first")
	ask(t, port, "", "--conversation", "c", "second")
	ask(t, port, "", "--conversation", "c", "--forget", "third")
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.sizes, []int{2, 4, 2}) { // the system's, the question, and what was said before
		t.Errorf("messages: %v", e.sizes)
	}
}

func TestImage(t *testing.T) {
	e := newEndpoint(t, echo)
	port := start(t, e, map[string]any{"model": "m", "images": true})
	dir := t.TempDir()
	png, text := filepath.Join(dir, "a.png"), filepath.Join(dir, "a.txt")
	for file, content := range map[string]string{png: "\x89PNG\r\n\x1a\n", text: "hello"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, errs, code := ask(t, port, "", "--image", png, "what is it"); code != 0 {
		t.Errorf("%d %q %q", code, out, errs)
	}
	e.mu.Lock()
	if len(e.asked) != 1 || !strings.Contains(e.asked[0], "data:image/png;base64,iVBORw0KGgo=") {
		t.Errorf("%q", e.asked)
	}
	e.mu.Unlock()
	if _, errs, code := ask(t, port, "", "--image", text, "x"); code != 1 || !strings.Contains(errs, "not an image") {
		t.Errorf("%d %q", code, errs)
	}
}

// What goes wrong is said in one line, with an exit code that tells it apart.
func TestErrors(t *testing.T) {
	e := newEndpoint(t, func(string) string { return "" })
	port := start(t, e, map[string]any{"model": "m"})
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"x"}, "upstream_refused: ", 1},
		{[]string{"--assistant", "nobody", "x"}, "unknown_assistant: ", 1},
		{[]string{"--prefix", "elsewhere", "x"}, "is the plugin assistant on", 1},
		{[]string{"--system", "x", "y"}, "not_allowed: ", 1},
		{[]string{"--assistant", "a/b", "x"}, "one level of a topic", 2},
		{[]string{"--timeout", "0s", "x"}, "--timeout", 2},
		{nil, "no question", 2},
		{[]string{"--no-such-flag", "x"}, "unknown flag", 2},
	} {
		if _, errs, code := ask(t, port, "", c.args...); code != c.code || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") > 0 {
			t.Errorf("%q: %d %q", c.args, code, errs)
		}
	}
}

func TestTimeout(t *testing.T) {
	hold := make(chan struct{})
	e := newEndpoint(t, func(q string) string { <-hold; return q })
	t.Cleanup(func() { close(hold) })
	port := start(t, e, map[string]any{"model": "m", "answers": map[string]any{"timeout": "2s"}})
	if _, errs, code := ask(t, port, "", "--timeout", "100ms", "x"); code != 27 || !strings.Contains(errs, "no answer within 100ms") {
		t.Errorf("%d %q", code, errs)
	}
}

// In a terminal it is a dialogue in one conversation; an error of the assistant's does not
// end it.
func TestTalk(t *testing.T) {
	e := newEndpoint(t, func(q string) string {
		if q == "fail" {
			return ""
		}
		return echo(q)
	})
	port := start(t, e, map[string]any{"model": "m"})
	cmd := &cobra.Command{}
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	o := &options{assistant: "main", prefix: "assistant", timeout: wait}
	o.AddTo(cmd)
	if err := cmd.ParseFlags([]string{"-h", "127.0.0.1", "-p", port}); err != nil {
		t.Fatal(err)
	}
	x, err := o.exchange(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.connect(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	if err := x.talk(t.Context(), strings.NewReader("one\n\nfail\ntwo\n")); err != nil {
		t.Fatal(err)
	}
	if err := x.session.Close(); err != nil {
		t.Error(err)
	}
	if out.String() != "You said: one\nYou said: two\n" || !strings.Contains(errs.String(), "upstream_refused") {
		t.Errorf("%q %q", &out, &errs)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.sizes, []int{2, 4, 4}) {
		t.Errorf("messages: %v", e.sizes)
	}
}

// The README's six lines and its command give the README's screen.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("../../../../plugins/assistant/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(yaml|console)\n(.*?)```").FindAllStringSubmatch(string(b), 2)
	config, screen := blocks[0][2], blocks[1][2]
	if n := strings.Count(config, "\n"); n != 6 {
		t.Errorf("the config has %d lines", n)
	}
	var file struct {
		Plugins []struct {
			Name   string
			Grants []string
			Config map[string]any
		}
	}
	if err := yaml.Unmarshal([]byte(config), &file); err != nil {
		t.Fatal(err)
	}
	p := file.Plugins[0]
	if p.Name != "assistant" || strings.Join(p.Grants, " ") != "kv publish" || p.Config["api_key"] != "${env:OPENAI_API_KEY}" {
		t.Errorf("%+v", p)
	}
	line, want, _ := strings.Cut(screen, "\n")
	m := regexp.MustCompile(`^\$ patchbay ask "(.*)"$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("%q", line)
	}
	e := newEndpoint(t, func(q string) string {
		if q != m[1] {
			return ""
		}
		return strings.TrimSpace(want)
	})
	if got, errs, code := ask(t, start(t, e, p.Config), "", m[1]); got != want || code != 0 {
		t.Errorf("%d %q %q", code, got, errs)
	}
}

// With the README's permissions each client has its own answers, and no others.
func TestReadmePermissions(t *testing.T) {
	b, err := os.ReadFile("../../../../plugins/assistant/README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile("(?s)```yaml\n(  - name: acl\n.*?)```").FindSubmatch(b)[1]
	var list []struct{ Config map[string]any }
	if err := yaml.Unmarshal(text, &list); err != nil || len(list) != 2 {
		t.Fatal(err, list)
	}
	rules, err := json.Marshal(list[0].Config)
	if err != nil {
		t.Fatal(err)
	}
	config := list[1].Config
	config["model"] = "m"
	port := start(t, newEndpoint(t, echo), config, pluginhost.Spec{Name: "acl", Plugin: "acl", Source: "test", Config: rules})
	if out, errs, code := ask(t, port, "", "-i", "ann", "--conversation", "ann", "mine"); out != "You said: mine\n" || code != 0 {
		t.Errorf("its own: %d %q %q", code, out, errs)
	}
	if out, errs, code := ask(t, port, "", "-i", "bob", "--conversation", "ann", "hers"); code == 0 || out != "" {
		t.Errorf("another's: %d %q %q", code, out, errs)
	}
	// By Response Topic, conversations have any name.
	var got, others []string
	var mu sync.Mutex
	note := func(list *[]string) func(*paho.Publish) {
		return func(p *paho.Publish) {
			mu.Lock()
			defer mu.Unlock()
			*list = append(*list, string(p.Payload))
		}
	}
	carl, dora := connect(t, port, "carl", note(&got)), connect(t, port, "dora", note(&others))
	for c, want := range map[*paho.Client]byte{carl: 1, dora: 0x87} {
		res, _ := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "replies/carl/#", QoS: 1}}})
		if res == nil || len(res.Reasons) != 1 || res.Reasons[0] != want {
			t.Fatalf("%+v", res)
		}
	}
	_, err = carl.Publish(t.Context(), &paho.Publish{Topic: "assistant/main/anything/ask", QoS: 1, Payload: []byte("hello"), Properties: &paho.PublishProperties{ResponseTopic: "replies/carl/1"}})
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(wait); ; time.Sleep(2 * time.Millisecond) {
		mu.Lock()
		n := len(got)
		mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(until) {
			t.Fatal("no answer")
		}
	}
	if got[0] != "You said: hello" || len(others) != 0 {
		t.Errorf("%q, others %q", got, others)
	}
}

func connect(t *testing.T, port, id string, on func(*paho.Publish)) *paho.Client {
	t.Helper()
	nc, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{Conn: nc, PacketTimeout: wait, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) { on(p.Packet); return true, nil },
	}})
	if _, err := c.Connect(t.Context(), &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c
}
