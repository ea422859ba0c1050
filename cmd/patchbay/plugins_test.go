package main_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// vector is a bcrypt hash that is quick to verify, of the password "U*U".
const vector = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"

// guarded is a configuration where users log in and rules say what they may do. NAME
// stands for the first level of topics that a user may use.
const guarded = `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}, {name: open, tcp: "0.0.0.0:0"}]
plugins:
	- name: authfile
	  config: {users: [{name: alice, hash: "` + vector + `"}]}
	- name: rights
	  plugin: acl
	  config: {rules: [{allow: [all], topics: ["NAME/${username}/#"]}]}
`

// as logs in, or not if the name is empty.
func as(name, password string) func(*paho.Connect) {
	return func(c *paho.Connect) {
		if name == "" {
			return
		}
		c.Username, c.UsernameFlag, c.Password, c.PasswordFlag = name, true, []byte(password), true
	}
}

// plugin describes a plugin as operators see it; ok is false if there is none.
func (b *broker) plugin(name string) (found pluginhost.Info, ok bool) {
	b.t.Helper()
	r := b.operator("plugin", "list", "--json")
	if r.code != 0 {
		b.t.Fatalf("plugin list: %s", r.stderr)
	}
	for line := range strings.Lines(r.stdout) {
		var i pluginhost.Info
		if err := json.Unmarshal([]byte(line), &i); err != nil {
			b.t.Fatal(err)
		}
		if i.Name == name {
			return i, true
		}
	}
	return pluginhost.Info{}, false
}

// state waits until a plugin is in a state.
func (b *broker) state(name, state string) (i pluginhost.Info) {
	b.t.Helper()
	eventually(b.t, patience, func() bool {
		i, _ = b.plugin(name)
		return i.State == state
	}, "plugin %s is %s", name, state)
	return i
}

// TestPlugins: who gets in and what they may do is what the configured plugins say,
// before and after a reload.
func TestPlugins(t *testing.T) {
	t.Parallel()
	b := start(t, strings.ReplaceAll(guarded, "NAME", "one"))
	access := map[string]string{}
	for _, r := range b.log.find("listening") {
		access[r.text("name")] = r.text("access")
	}
	for name, want := range map[string]string{
		"tcp": "this machine only, and plugins decide who may connect", "open": "plugins decide who may connect",
	} {
		if access[name] != want {
			t.Errorf("%s: %q, want %q", name, access[name], want)
		}
	}
	if host, _, _ := net.SplitHostPort(b.addr["open"]); host == "127.0.0.1" {
		t.Error("a listener whose clients have to log in is opened on loopback only")
	}
	for _, c := range []struct {
		listener, user, password string
		code                     byte // 0: let in
	}{
		{"tcp", "alice", "U*U", 0}, {"tcp", "alice", "wrong", 0x86}, {"tcp", "bob", "U*U", 0x86}, {"tcp", "", "", 0x87},
	} {
		client, err := connect5(b.target(c.listener, nil), c.user+c.password, as(c.user, c.password))
		if c.code == 0 && err != nil || c.code != 0 && !errors.Is(err, refused(c.code)) {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			client.close()
		}
	}

	alice := mustConnect5(t, b.target("tcp", nil), "alice", as("alice", "U*U"))
	roundTrip(t, alice, "one/alice/x")
	denied := func(topic string) {
		t.Helper()
		if err := alice.publish(topic, 1, "x"); err == nil || !strings.Contains(err.Error(), "135") && !strings.Contains(strings.ToLower(err.Error()), "not authorized") {
			t.Errorf("publish to %s: %v", topic, err)
		}
	}
	denied("one/bob/x")
	denied("two/alice/x")
	if m := b.metrics(); m[`patchbay_plugins_calls_total{hook="authenticate",plugin="authfile"}`] < 5 || m[`patchbay_plugins_state{plugin="rights",state="serving"}`] != 1 {
		t.Error("the calls of authfile are not counted")
	}

	b.configure(strings.ReplaceAll(guarded, "NAME", "two"))
	r := b.operator("reload")
	if r.code != 0 || !strings.Contains(r.stdout, `  plugins[rights].config.rules: "***" -> "***"`) ||
		!regexp.MustCompile(`(?m)^  plugin rights: (configured|exchanged)$`).MatchString(r.stdout) || strings.Contains(r.stdout, "restart") {
		t.Errorf("reload: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	eventually(t, patience, func() bool { return alice.publish("two/alice/x", 1, "x") == nil }, "the new rules hold for who is connected")
	denied("one/alice/x")
	select {
	case <-alice.down:
		t.Error("the reload has cost a client its connection")
	default:
	}

	// What cannot be is refused as a whole.
	b.configure(strings.ReplaceAll(strings.Replace(guarded, "{allow: [all], ", "{", 1), "NAME", "three"))
	r = b.operator("reload")
	if r.code != 2 || !strings.Contains(r.stderr, ":6: plugins[1]: plugin rights: ") || !strings.Contains(r.stderr, "/rules/0") {
		t.Errorf("a wrong configuration: %d %s", r.code, r.stderr)
	}
	if err := alice.publish("two/alice/x", 1, "x"); err != nil {
		t.Error("after a reload that was refused:", err)
	}
	if i, _ := b.plugin("rights"); i.State != "serving" {
		t.Errorf("rights is %s", i.State)
	}

	// Without its plugin a listener lets nobody in, rather than everybody.
	b.configure(`listeners: [{name: tcp, tcp: "127.0.0.1:0"}, {name: open, tcp: "0.0.0.0:0"}]`)
	r = b.operator("reload")
	for _, want := range []string{"plugins[authfile]: ", "plugin rights: removed", "needs a restart:\n", `listeners[open]: "plugins decide who may connect" -> "this machine only"`} {
		if r.code != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("reload: %d\n%s%swant %s", r.code, r.stdout, r.stderr, want)
		}
	}
	if _, err := connect5(b.target("open", nil), "anybody", as("bob", "x")); !errors.Is(err, refused(0x87)) {
		t.Errorf("a listener that has lost its plugin: %v", err)
	}
}

// TestPluginCommands: operators stop and start a plugin by hand.
func TestPluginCommands(t *testing.T) {
	t.Parallel()
	b := start(t, strings.ReplaceAll(guarded, "NAME", "one"))
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"list", 0, "authfile  serving  "}, {"info rights", 0, "Implements     acl "}, {"reload rights", 0, "rights reloaded: serving, version "},
		{"disable rights", 0, "rights disabled\n"}, {"reload rights", 1, "plugin rights is disabled: patchbay plugin enable rights"},
		{"list", 0, "rights    disabled "}, {"enable rights", 0, "rights enabled: serving"}, {"info nobody", 1, `there is no plugin "nobody"`},
	} {
		r := b.operator(append([]string{"plugin"}, strings.Fields(c.args)...)...)
		if r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.says) {
			t.Errorf("plugin %s: %d\n%s%swant %s", c.args, r.code, r.stdout, r.stderr, c.says)
		}
	}
	alice := mustConnect5(t, b.target("tcp", nil), "alice", as("alice", "U*U"))
	roundTrip(t, alice, "one/alice/x")
	r := command{dir: b.dir}.run(t, patchbay, "acl", "explain", "publish", "one/bob/x", "-u", "alice", "--config", b.file)
	if r.code != 0 || !strings.HasPrefix(r.stdout, "denied by default: ") {
		t.Errorf("acl explain: %d %s%s", r.code, r.stdout, r.stderr)
	}
}

// TestPluginThatCannotStart: the broker does not start without a plugin that it needs.
func TestPluginThatCannotStart(t *testing.T) {
	t.Parallel()
	const quiet = "listeners: [{name: tcp, tcp: \"127.0.0.1:0\"}]\nadmin: {listen: \"127.0.0.1:0\"}\n"
	for _, c := range []struct{ plugins, says string }{
		{"plugins: [{name: nobody}]", `broker\.yaml:3: plugins\[0\]: plugin nobody: there is no builtin plugin "nobody"; there are: .*acl`},
		{"plugins: [{name: acl, config: {rulez: []}}]", `broker\.yaml:3: plugins\[0\]: plugin acl: .*rulez`},
		{"plugins: [{name: acl}, {name: broken, path: broken.wasm}]", `broker\.yaml:3: plugins\[1\]: plugin broken: `},
	} {
		b := newBroker(t, quiet+c.plugins)
		if err := os.WriteFile(filepath.Join(b.dir, "broken.wasm"), []byte("no module"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := command{dir: b.dir}.run(t, patchbay, "serve", "--config", b.file)
		if r.code != 2 || !regexp.MustCompile("(?m)^patchbay: .*"+c.says).MatchString(r.stderr) {
			t.Errorf("%s: exit status %d\n%swant %s", c.plugins, r.code, r.stderr, c.says)
		}
		if strings.Contains(c.plugins, "path") {
			continue // a plugin in a file is asked when it is started
		}
		r = command{dir: b.dir}.run(t, patchbay, "config", "check", b.file)
		if r.code != 2 || !regexp.MustCompile("(?m)^patchbay: .*"+c.says).MatchString(r.stderr) {
			t.Errorf("check of %s: exit status %d\n%swant %s", c.plugins, r.code, r.stderr, c.says)
		}
	}
	b := start(t, quiet+"plugins: [{name: nobody, optional: true}, {name: off, plugin: nobody, enabled: false}]")
	if status, body := b.get("/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("without an optional plugin: %d %s", status, body)
	}
	if i, _ := b.plugin("nobody"); i.State == "serving" || !strings.Contains(i.Error, "there is no builtin plugin") {
		t.Errorf("%+v", i)
	}
	if i, _ := b.plugin("off"); i.State != "disabled" {
		t.Errorf("%+v", i)
	}
}

// TestPluginInProcess: a builtin plugin in a process of its own works the same, is
// started again when it is killed, and ends with the broker.
func TestPluginInProcess(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals there")
	}
	t.Parallel()
	b := start(t, strings.Replace(strings.ReplaceAll(guarded, "NAME", "one"), "plugin: acl\n", "plugin: acl\n\t  runtime: process\n", 1))
	first := b.state("rights", "serving")
	if first.Runtime != pluginhost.Process || first.PID == 0 || first.PID == b.cmd.Process.Pid {
		t.Fatalf("%+v", first)
	}
	alice := mustConnect5(t, b.target("tcp", nil), "alice", as("alice", "U*U"))
	roundTrip(t, alice, "one/alice/x")
	signal := func(pid int, s os.Signal) error {
		child, err := os.FindProcess(pid)
		if err != nil {
			return err
		}
		return child.Signal(s)
	}
	if err := signal(first.PID, os.Kill); err != nil {
		t.Fatal(err)
	}
	var second pluginhost.Info
	eventually(t, patience, func() bool {
		second, _ = b.plugin("rights")
		return second.State == "serving" && second.PID != 0 && second.PID != first.PID
	}, "the plugin is started again")
	if second.Restarts != 1 {
		t.Errorf("restarts: %d", second.Restarts)
	}
	roundTrip(t, mustConnect5(t, b.target("tcp", nil), "again", as("alice", "U*U")), "one/alice/y")
	b.stop()
	eventually(t, patience, func() bool { return errors.Is(signal(second.PID, syscall.Signal(0)), os.ErrProcessDone) }, "the plugin's process has ended")
}

// TestPluginFolder: a module or program that is dropped in starts, a new one takes its
// place, and one that is taken out ends.
func TestPluginFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("programs are told by permissions here")
	}
	t.Parallel()
	b := newBroker(t, `listeners: [{name: tcp, tcp: "127.0.0.1:0"}]`)
	folder := filepath.Join(b.dir, "patchbay-data", "plugins")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	put := func(name string, content []byte, mode os.FileMode) {
		t.Helper()
		temp := filepath.Join(folder, name+".tmp")
		if err := errors.Join(os.WriteFile(temp, content, mode), os.Rename(temp, filepath.Join(folder, name))); err != nil {
			t.Fatal(err)
		}
	}
	b.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	b.ready()

	put("guard.yaml", []byte("fuel: 1000000"), 0o640)
	put("guard.wasm", refusing("one/#"), 0o640)
	first := b.state("guard", "serving")
	if first.Runtime != pluginhost.WASM || first.Plugin != "refusing" || first.Path != filepath.Join("patchbay-data", "plugins", "guard.wasm") {
		t.Errorf("%+v", first)
	}
	client := mustConnect5(t, b.target("tcp", nil), "somebody")
	if one, two := client.publish("one/x", 1, "x"), client.publish("two/x", 1, "x"); one == nil || two != nil {
		t.Errorf("the module is asked about one/# only: %v, %v", one, two)
	}
	put("guard.yaml", []byte("hooks: {nonsense: off}"), 0o640)
	eventually(t, patience, func() bool {
		i, _ := b.plugin("guard")
		return i.State == "serving" && strings.Contains(i.Error, `"nonsense" is no hook`)
	}, "wrong settings are shown, and the plugin goes on")
	put("guard.wasm", refusing("two/#"), 0o640)
	put("guard.yaml", []byte("fuel: 2000000"), 0o640)
	eventually(t, patience, func() bool {
		i, _ := b.plugin("guard")
		return i.State == "serving" && i.SHA256 != first.SHA256 && i.Error == ""
	}, "the new version has taken its place")
	if one, two := client.publish("one/x", 1, "x"), client.publish("two/x", 1, "x"); one != nil || two == nil {
		t.Errorf("the new module is asked about two/# only: %v, %v", one, two)
	}

	// The program itself serves what is compiled in.
	program, err := os.ReadFile(patchbay)
	if err != nil {
		t.Fatal(err)
	}
	put("own.yaml", []byte("args: [plugin, serve, acl]\nconfig: {default: allow}"), 0o640)
	put("own", program, 0o750)
	problem := func(name, part string) {
		t.Helper()
		eventually(t, patience, func() bool {
			i, _ := b.plugin(name)
			return i.State != "serving" && strings.Contains(i.Error, part)
		}, "%s: %s", name, part)
	}
	problem("own", "there is no own.manifest.json beside it")
	put("own.manifest.json", []byte(`{"name": "acl"}`), 0o640)
	problem("own", "sha256sum own > own.sha256")
	put("own.sha256", fmt.Appendf(nil, "%x  own\n", sha256.Sum256(program)), 0o640)
	if i := b.state("own", "serving"); i.Runtime != pluginhost.Process || i.PID == 0 {
		t.Errorf("%+v", i)
	}
	put("Wrong_Name.wasm", nil, 0o640)
	problem("Wrong_Name", "the name of the file is that of the plugin")
	if status, body := b.get("/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("%d %s", status, body)
	}
	for _, name := range []string{"guard.wasm", "own", "Wrong_Name.wasm"} {
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, patience, func() bool {
		return strings.TrimSpace(b.operator("plugin", "list", "--json").stdout) == ""
	}, "the plugins are gone")
}

// refusing is a WebAssembly module that refuses each message to a Topic Filter: its
// manifest and its one answer are data, so that it is small and loads at once.
func refusing(filter string) []byte {
	manifest := (&pluginv1.Manifest{
		Name: "refusing", Version: "1", Hooks: []pluginv1.Hook{{Point: pluginv1.PointInterceptPublish, TopicFilters: []string{filter}}},
	}).AppendTo(nil)
	answer := (&pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Action: pluginv1.ActionDeny, ReasonCode: 0x87}}}).AppendTo(nil)
	const manifestAt, answerAt, bufferAt = 512, 1024, 2048
	unsigned := func(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
	// A signed LEB128 number that is not negative ends with a bit that is 0.
	signed := func(n int64) []byte {
		b := binary.AppendUvarint(nil, uint64(n))
		if last := len(b) - 1; b[last]&0x40 != 0 {
			b[last] |= 0x80
			b = append(b, 0)
		}
		return b
	}
	name := func(s string) []byte { return append(unsigned(len(s)), s...) }
	list := func(entries ...[]byte) []byte { return append(unsigned(len(entries)), slices.Concat(entries...)...) }
	section := func(id byte, content []byte) []byte {
		return slices.Concat([]byte{id}, unsigned(len(content)), content)
	}
	function := func(body []byte) []byte {
		return append(unsigned(len(body)+2), slices.Concat([]byte{0}, body, []byte{0x0b})...)
	}
	// op == N ? at << 32 | length : …
	answered := func(op pluginv1.PluginOp, at, length int) []byte {
		return slices.Concat([]byte{0x20, 0, 0x41, byte(op), 0x46, 0x04, 0x7e, 0x42}, signed(int64(at)<<32|int64(length)), []byte{0x05})
	}
	data := func(at int, content []byte) []byte {
		return slices.Concat([]byte{0, 0x41}, signed(int64(at)), []byte{0x0b}, unsigned(len(content)), content)
	}
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, list([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7e})),
		section(3, []byte{3, 0, 1, 2}),
		section(5, []byte{1, 0, 2}),
		section(7, list(slices.Concat(name("memory"), []byte{2, 0}), slices.Concat(name("patchbay_abi_v1"), []byte{0, 0}),
			slices.Concat(name("patchbay_buffer"), []byte{0, 1}), slices.Concat(name("patchbay_call"), []byte{0, 2}))),
		section(10, list(function(nil), function(append([]byte{0x41}, signed(bufferAt)...)),
			function(slices.Concat(answered(pluginv1.PluginOpDescribe, manifestAt, len(manifest)),
				answered(pluginv1.PluginOpProcess, answerAt, len(answer)), []byte{0x42, 0, 0x0b, 0x0b})))),
		section(11, list(data(manifestAt, manifest), data(answerAt, answer))))
}

// TestPluginMetricsAreDocumented: docs/metrics.md has what plugins show by themselves.
func TestPluginMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, strings.ReplaceAll(guarded, "NAME", "one"))
	mustConnect5(t, b.target("tcp", nil), "alice", as("alice", "U*U"))
	found := 0
	for sample := range b.metrics() {
		name, _, _ := strings.Cut(sample, "{")
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, part)
		}
		if !strings.HasPrefix(name, "patchbay_plugins_") {
			continue
		}
		found++
		if !strings.Contains(string(page), fmt.Sprintf("| `%s` |", name)) {
			t.Errorf("%s is not documented", name)
		}
	}
	if found < 10 {
		t.Errorf("%d samples of plugins", found)
	}
}
