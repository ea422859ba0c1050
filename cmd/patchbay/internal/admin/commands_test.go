package admin

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/core/broker"
)

// jsonLines decodes the output of a list.
func jsonLines[T any](t testing.TB, text string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func TestStatusCommand(t *testing.T) {
	b, address := newBroker(t)
	s := start(t, b, func(o *Options) { o.Ready = func() error { return errors.New("warming up") } })
	c := connect(t, address, "one", false)
	done(t, c.Publish("nobody/listens", 1, true, strings.Repeat("x", 2048)))
	done(t, c.Publish("nobody/listens", 1, false, "x"))
	wantContains(t, at(t, s, "status"),
		"Broker         1.2.3-test, process ", "NOT READY: warming up", "\nConnections    1 now, 1 at most, 1 in all\n",
		"\nRetained       1 message, 2.0 KiB\n", "\nReceived       2 PUBLISH, ", "\nDropped        no_subscriber 1\n",
		"LISTENER  NETWORK  ADDRESS", "main      tcp      "+address)
	st := decode[status](t, at(t, s, "status", "--json"))
	if st.PID != os.Getpid() || st.Ready || st.NotReady != "warming up" || st.Connections != 1 || st.Dropped["no_subscriber"] != 1 ||
		len(st.Listeners) != 1 || st.Listeners[0].Address != address || st.Listeners[0].Connections != 1 {
		t.Errorf("%+v", st)
	}
}

func TestReloadCommand(t *testing.T) {
	b, _ := newBroker(t)
	var result ReloadResult
	var trouble error
	s := start(t, b, func(o *Options) { o.Reload = func() (ReloadResult, error) { return result, trouble } })
	if got := at(t, s, "reload"); got != "reloaded; no key has changed\n" {
		t.Errorf("nothing: %q", got)
	}
	result = ReloadResult{Applied: []string{`log.level: "info" -> "debug"`}, NeedRestart: []string{"store", "listeners"}}
	if got := at(t, s, "reload"); got != "reloaded:\n  log.level: \"info\" -> \"debug\"\nneeds a restart:\n  store\n  listeners\n" {
		t.Errorf("some: %q", got)
	}
	if got := decode[ReloadResult](t, at(t, s, "reload", "--json")); !slices.Equal(got.NeedRestart, result.NeedRestart) {
		t.Errorf("json: %+v", got)
	}
	_, _, trouble = config.Load(config.Sources{Flags: map[string]string{"mqtt.max_qos": "3"}})
	if r := run(t, "", "reload", "--socket", s.Socket()); r.code() != 2 || r.err.Error() != trouble.Error() {
		t.Errorf("wrong configuration: %d %v, want %v", r.code(), r.err, trouble)
	}
	trouble = errors.New("listener x: no such certificate")
	if r := run(t, "", "reload", "--socket", s.Socket()); r.code() != 1 || r.err.Error() != trouble.Error() {
		t.Errorf("error: %d %v", r.code(), r.err)
	}
	bare := start(t, b, nil)
	if r := run(t, "", "reload", "--socket", bare.Socket()); r.code() != 1 || !strings.Contains(r.err.Error(), "cannot reload") {
		t.Errorf("no Reload: %v", r.err)
	}
}

func TestClientsCommands(t *testing.T) {
	b, address := newBroker(t)
	other := listen(t, b, "tenants", "tenant")
	s := start(t, b, nil)
	alice := connect(t, address, "alice/1", true)
	done(t, alice.SubscribeMultiple(map[string]byte{"plant/#": 1, "$share/g/jobs/+": 2}, nil))
	bob := connect(t, address, "bob\x07", true)
	bob.Disconnect(0)
	connect(t, other, "alice/1", false)
	eventually(t, "bob is away", func() bool { i, _ := b.Client("", "bob\x07"); return !i.Online })

	list := at(t, s, "clients")
	if list != at(t, s, "clients", "list") {
		t.Error("clients is not clients list")
	}
	rows := strings.Split(strings.TrimSpace(list), "\n")
	if len(rows) != 4 || !strings.HasPrefix(rows[0], "CLIENT ID  USERNAME ") {
		t.Fatalf("list:\n%s", list)
	}
	wantContains(t, rows[1], `"bob\a"`, "away", " 3.1.1 ")
	wantContains(t, rows[2]+rows[3], "alice/1", "user-of-alice/1", "connected", "tenant")
	wantContains(t, at(t, s, "clients", "--namespace", "tenant"), "tenant")
	if got := jsonLines[broker.ClientInfo](t, at(t, s, "clients", "list", "--json")); len(got) != 3 {
		t.Errorf("%+v", got)
	}
	if got := jsonLines[broker.ClientInfo](t, at(t, s, "clients", "list", "--json", "--namespace", "")); len(got) != 2 || got[0].Namespace+got[1].Namespace != "" {
		t.Errorf("default namespace: %+v", got)
	}

	show := at(t, s, "clients", "show", "alice/1")
	wantContains(t, show, "Client         alice/1\n", "State          connected for ", "Username       user-of-alice/1\n", "listener main\n",
		"Protocol       MQTT 3.1.1, keep alive 30s\n", "Session        expires never\n",
		"SUBSCRIPTION     QOS  ID  OPTIONS\n$share/g/jobs/+  2    -\nplant/#          1    -\n")
	tenant := decode[broker.ClientInfo](t, at(t, s, "clients", "show", "alice/1", "--namespace", "tenant", "--json"))
	if tenant.Namespace != "tenant" || !tenant.Online || len(tenant.Subscriptions) != 0 {
		t.Errorf("%+v", tenant)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"show", "nobody"}, 1, `there is no client "nobody"`},
		{[]string{"show", "bob\x07", "--namespace", "tenant"}, 1, `there is no client "bob\a" in namespace "tenant"`},
		{[]string{"kick", "nobody"}, 1, `there is no client "nobody"`},
		{[]string{"kick", "bob\x07"}, 1, `client "bob\a" is not connected; --remove-session ends its session`},
		{[]string{"kick"}, 2, "patchbay clients kick: accepts 1 arg(s), received 0"},
		{[]string{"show", "a", "b"}, 2, "patchbay clients show: accepts 1 arg(s), received 2"},
		{[]string{"list", "x"}, 2, "unknown command"},
		{[]string{"--nonsense"}, 2, "unknown flag: --nonsense"},
		{[]string{"list", "--nonsense"}, 2, "unknown flag: --nonsense"},
	} {
		r := run(t, "", append(append([]string{"clients"}, c.args...), "--socket", s.Socket())...)
		if r.err == nil || r.code() != c.code || !strings.Contains(r.err.Error(), c.want) || r.out != "" {
			t.Errorf("clients %q: exit %d, %v, output %q; want %d %s", c.args, r.code(), r.err, r.out, c.code, c.want)
		}
	}
}

func TestKick(t *testing.T) {
	b, address := newBroker(t)
	s := start(t, b, nil)
	c := connect(t, address, "loud", true)
	if got := at(t, s, "clients", "kick", "loud"); got != "loud is disconnected\n" {
		t.Errorf("%q", got)
	}
	eventually(t, "the client noticed", func() bool { return !c.IsConnectionOpen() })
	eventually(t, "it is away", func() bool { i, ok := b.Client("", "loud"); return ok && !i.Online })
	if got := decode[kickRequest](t, at(t, s, "clients", "kick", "loud", "--remove-session", "--json")); got != (kickRequest{ClientID: "loud", RemoveSession: true}) {
		t.Errorf("%+v", got)
	}
	if _, ok := b.Client("", "loud"); ok {
		t.Error("the session is still there")
	}
	online := connect(t, address, "loud", true)
	if got := at(t, s, "clients", "kick", "loud", "--remove-session"); got != "loud and its session are gone\n" {
		t.Errorf("%q", got)
	}
	eventually(t, "the client noticed", func() bool { return !online.IsConnectionOpen() })
}

func TestTopicsCommand(t *testing.T) {
	b, address := newBroker(t)
	other := listen(t, b, "tenants", "tenant")
	s := start(t, b, nil)
	for id, filters := range map[string]map[string]byte{
		"a": {"plant/#": 0, "plant/1/temp": 1, "$share/g/plant/+/jobs": 1},
		"b": {"plant/#": 2, "$share/g/plant/+/jobs": 0, "$SYS/#": 0},
		"c": {"#": 0},
	} {
		done(t, connect(t, address, id, false).SubscribeMultiple(filters, nil))
	}
	done(t, connect(t, other, "a", false).Subscribe("plant/#", 1, nil))
	want := `TOPIC FILTER  SHARED BY  SUBSCRIBERS  MAX QOS  NAMESPACE
#             -          1            0
$SYS/#        -          1            0
plant/#       -          1            1        tenant
plant/#       -          2            2
plant/+/jobs  g          2            1
plant/1/temp  -          1            1
`
	if got := at(t, s, "topics"); got != want {
		t.Errorf("topics:\n%swant\n%s", got, want)
	}
	within := func(filter string) (found []string) {
		for _, l := range jsonLines[topicLine](t, at(t, s, "topics", "--json", "--namespace", "", "--filter", filter)) {
			found = append(found, l.Filter)
		}
		return found
	}
	for filter, want := range map[string][]string{
		"#": {"#", "plant/#", "plant/+/jobs", "plant/1/temp"}, "plant/#": {"plant/#", "plant/+/jobs", "plant/1/temp"},
		"plant/+/+": {"plant/+/jobs", "plant/1/temp"}, "plant/1/temp": {"plant/1/temp"}, "$SYS/#": {"$SYS/#"}, "nothing": nil,
	} {
		if got := within(filter); !slices.Equal(got, want) {
			t.Errorf("within %s: %q, want %q", filter, got, want)
		}
	}
	if r := run(t, "", "topics", "--filter", "a/#/b", "--socket", s.Socket()); r.code() != 2 || !strings.Contains(r.err.Error(), `"a/#/b" is not a Topic Filter`) {
		t.Errorf("bad filter: %d %v", r.code(), r.err)
	}
}

func TestRetainedCommands(t *testing.T) {
	b, address := newBroker(t)
	other := listen(t, b, "tenants", "tenant")
	s := start(t, b, nil)
	c := connect(t, address, "setter", false)
	for topic, payload := range map[string]string{"r/1": "one", "r/2": "two\x00\xff", "x": strings.Repeat("x", 1500)} {
		done(t, c.Publish(topic, 1, true, payload))
	}
	done(t, connect(t, other, "setter", false).Publish("r/1", 1, true, "the tenant's"))

	list := at(t, s, "retained", "list", "r/+")
	rows := strings.Split(strings.TrimSpace(list), "\n")
	if len(rows) != 3 || !strings.HasPrefix(rows[0], "TOPIC  QOS  PAYLOAD  AGE") || !strings.HasPrefix(rows[1], "r/1    1    3 B ") || !strings.HasSuffix(rows[1], "never       setter") {
		t.Errorf("list:\n%s", list)
	}
	if got := jsonLines[retainedLine](t, at(t, s, "retained", "--json")); len(got) != 3 {
		t.Errorf("%+v", got)
	}
	if got := jsonLines[retainedLine](t, at(t, s, "retained", "list", "--json", "--namespace", "tenant")); len(got) != 1 || got[0].Size != 12 {
		t.Errorf("%+v", got)
	}
	if got := at(t, s, "retained", "get", "r/2"); got != "two\x00\xff" {
		t.Errorf("get: %q", got)
	}
	if got := decode[broker.RetainedInfo](t, at(t, s, "retained", "get", "r/2", "--json")); string(got.Payload) != "two\x00\xff" || got.Publisher != "setter" {
		t.Errorf("get: %+v", got)
	}

	refuse := func(code int, want, stdin string, args ...string) {
		t.Helper()
		r := run(t, stdin, append(append([]string{"retained"}, args...), "--socket", s.Socket())...)
		if r.err == nil || r.code() != code || !strings.Contains(r.err.Error(), want) {
			t.Errorf("retained %q: %d %v", args, r.code(), r.err)
		}
	}
	refuse(1, `no retained message at "r/3"`, "", "get", "r/3")
	refuse(2, `"r/+" is not a Topic Name`, "", "get", "r/+")
	refuse(2, `"r/#/x" is not a Topic Filter`, "", "list", "r/#/x")
	refuse(2, `"" is not a Topic Filter`, "", "list", "")
	refuse(2, `"r#" is not a Topic Filter`, "", "clear", "r#", "--yes")
	refuse(2, "accepts 1 arg(s)", "", "clear")
	refuse(2, "unknown command", "", "r/1")
	refuse(1, "nothing was cleared", "", "clear", "r/#")
	refuse(1, "nothing was cleared", "no\n", "clear", "r/#")
	if n := b.Gauges().Retained; n != 4 {
		t.Fatalf("%d retained messages are left", n)
	}

	r := run(t, "y\n", "retained", "clear", "r/#", "--socket", s.Socket())
	if r.err != nil || r.out != "2 retained messages cleared\n" || r.diag != "2 retained messages match r/#. Clear? [y/N] " {
		t.Errorf("clear: %+v", r)
	}
	if got := at(t, s, "retained", "clear", "r/#", "--yes", "--namespace", "tenant", "--json"); decode[clearResult](t, got).Cleared != 1 {
		t.Errorf("clear: %s", got)
	}
	if got := at(t, s, "retained", "clear", "r/#", "--yes"); got != "0 retained messages cleared\n" {
		t.Errorf("clear: %s", got)
	}
	if got := jsonLines[retainedLine](t, at(t, s, "retained", "--json")); len(got) != 1 || got[0].Topic != "x" {
		t.Errorf("%+v", got)
	}
}

// A command finds the broker as its configuration says.
func TestFindsTheSocket(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, nil)
	dir := s.opts.DataDir
	write := func(name, content string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	byFolder := write("folder.yaml", "data_dir: "+dir+"\n")
	bySocket := write("socket.yaml", "admin: {socket: "+s.Socket()+"}\n")
	off := write("off.yaml", "admin: {socket: off}\n")
	wrong := write("wrong.yaml", "admin: {sockett: x}\n")
	t.Chdir(dir)
	for _, c := range []struct {
		name string
		env  string
		args []string
		code int
		want string
	}{
		{"nothing there", "", nil, 1, "no running broker at ./patchbay-data/admin.sock: start one, or give --socket"},
		{"--socket", "", []string{"--socket", "admin.sock"}, 0, ""},
		{"--socket before --config", "", []string{"--socket", s.Socket(), "--config", off}, 0, ""},
		{"--socket to nothing", "", []string{"--socket", "none.sock"}, 1, "no running broker at ./none.sock"},
		{"--socket to a file", "", []string{"--socket", off}, 1, "no running broker at " + off},
		{"data_dir", "", []string{"--config", byFolder}, 0, ""},
		{"admin.socket", "", []string{"-c", bySocket}, 0, ""},
		{"PATCHBAY_CONFIG", byFolder, nil, 0, ""},
		{"off", "", []string{"--config", off}, 2, "admin.socket is off in the configuration: give --socket"},
		{"wrong", "", []string{"--config", wrong}, 2, "or give --socket"},
		{"no such file", "", []string{"--config", "none.yaml"}, 2, "none.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATCHBAY_CONFIG", c.env)
			r := run(t, "", append([]string{"status"}, c.args...)...)
			if r.code() != c.code || c.code != 0 && !strings.Contains(r.err.Error(), c.want) {
				t.Errorf("exit %d, %v; want %d %s", r.code(), r.err, c.code, c.want)
			}
		})
	}
	t.Run("PATCHBAY_DATA_DIR", func(t *testing.T) {
		t.Setenv("PATCHBAY_DATA_DIR", dir)
		wantContains(t, run(t, "", "status").out, "1.2.3-test")
	})
}

// What clients choose cannot move a terminal's cursor or forge a row.
func TestOutputIsFitForTerminals(t *testing.T) {
	b, address := newBroker(t)
	s := start(t, b, nil)
	nasty := "x\x1b[2J\ty\nz"
	c := connect(t, address, nasty, false)
	done(t, c.Subscribe(nasty+"/#", 0, func(mqtt.Client, mqtt.Message) {}))
	done(t, c.Publish(nasty, 1, true, "x"))
	for _, args := range [][]string{{"clients"}, {"clients", "show", nasty}, {"topics"}, {"retained"}} {
		text := at(t, s, args...)
		if strings.ContainsAny(text, "\x1b\t") || !strings.Contains(text, `x\x1b[2J\ty\nz`) {
			t.Errorf("%q:\n%q", args, text)
		}
	}
}
