package plugindev_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTest(t *testing.T) {
	t.Parallel()
	dir := project(t)
	contains(t, must(t, dir, "plugin", "test"), "gate-keeper 0.1.0 (wasm) starts, and is healthy", "3 batches, all answered as expected")

	tmp := t.TempDir()
	events, verdicts := filepath.Join(tmp, "events.jsonl"), filepath.Join(tmp, "verdicts.jsonl")
	write(t, events, `# what this plugin is asked
{"point":"POINT_AUTHENTICATE","clients":[{"clientId":"c","username":"ann"}],"events":[{"client":1,"authentication":{"hasPassword":true,"password":"aHVzaA=="}}]}

{"point":"POINT_INTERCEPT_PUBLISH","clients":[{"clientId":"c"}],"events":[{"client":1,"message":{"topic":"a"}}]}
`)
	args := []string{"plugin", "test", "gate-keeper.wasm", "--replay", events, "--config", `{"password":"hush"}`}
	// Without expectations it tells the answers.
	contains(t, must(t, dir, args...), events+":2: authenticate, client c, user ann: event 0: action=ACTION_ALLOW", "2 batches, 1 of them not for this plugin")
	must(t, dir, append(args, "--expect", verdicts, "--update")...)
	contains(t, must(t, dir, append(args, "--expect", verdicts)...), "all answered as expected")
	// Another config, another answer.
	args[6] = `{"password":"other"}`
	refused(t, 1, dir, append(args, "--expect", verdicts),
		"event 0: action: want ACTION_ALLOW, got ACTION_DENY", "event 0: reasonCode: want nothing, got 0x86",
		`event 0: auth.permissions[0].topicFilter: want "users/ann/#", got nothing`, "patchbay plugin test --update")
	write(t, filepath.Join(tmp, "config.json"), `{"password": "hush"}`)
	args[6] = "@" + filepath.Join(tmp, "config.json")
	must(t, dir, append(args, "--expect", verdicts)...)
}

func TestTestRefuses(t *testing.T) {
	t.Parallel()
	dir, tmp := project(t), t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(tmp, name)
		write(t, path, text)
		return path
	}
	module := filepath.Join(dir, "gate-keeper.wasm")
	good := `{"point":"POINT_AUTHENTICATE","events":[{"authentication":{}}]}`
	for _, c := range []struct {
		code  int
		args  []string
		words string
	}{
		{2, []string{"absent.wasm"}, "no such file"},
		{2, []string{tmp}, "make it with: patchbay plugin build"},
		{2, []string{module, "--expect", "x"}, "--expect without --replay"},
		{2, []string{module, "--config", "@absent"}, "config: open absent: no such file"},
		{2, []string{module, "--secret", "x"}, "--secret x is not NAME=VALUE"},
		{2, []string{module, "--replay", file("a", "\n{")}, "line 2: unexpected end of JSON input"},
		{2, []string{module, "--replay", file("b", `{"events":[]}`)}, "line 1: it is neither a batch"},
		{2, []string{module, "--replay", file("c", `{"point":"POINT_NOWHERE","events":[{}]}`)}, `"POINT_NOWHERE" is no point`},
		{2, []string{module, "--replay", file("d", `{"point":"POINT_AUTHENTICATE"}`)}, "the batch has no events"},
		{2, []string{module, "--replay", file("e", `{"point":"POINT_AUTHENTICATE","events":[{"client":1}]}`)}, "element 0 is about client 1, and there are 0"},
		{2, []string{module, "--replay", file("f", good), "--expect", file("g", "{}\n{}")}, "more answers than the 1 batches"},
		{2, []string{module, "--replay", file("h", good), "--expect", file("i", "")}, "0 answers to 1 batches"},
		// What a broker would say.
		{1, []string{module, "--config", `{"pasword":"x"}`}, "config: /: "},
		{1, []string{module, "--config", `{"password":7}`}, "config: /password: "},
		{1, []string{module, "--config", `{`}, "config: it is not JSON"},
		{1, []string{module, "--config", `{"password":"x"}`, "--deny", "kv"}, "it needs grants that it has not got; if you trust it, add to its entry: grants: [kv] (kv: remembers who was here)"},
		{1, []string{file("not.wasm", "#!/bin/sh")}, "it is a program for a process, not a WebAssembly module"},
		{1, []string{file("empty.wasm", "")}, "the file is empty"},
	} {
		refused(t, c.code, dir, append([]string{"plugin", "test"}, c.args...), c.words)
	}
}

// TestErrorsThatTeach: what a broker says of a faulty plugin, its author is told here.
func TestErrorsThatTeach(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "faulty")
	create(t, "go", "filter", dir)
	source := filepath.Join(dir, "main.go")
	edit(t, source, "if r.Message.Retain {", `switch r.Message.Topic {
	case "loop":
		for i := 0; ; i++ {
			p.config.MaxBytes ^= i
		}
	case "panic":
		panic("no way")
	case "memory":
		hoard = append(hoard, make([]byte, 64<<20))
	}
	if r.Message.Retain {`)
	edit(t, source, "type plugin struct", "var hoard [][]byte\n\ntype plugin struct")
	if !build(t, dir) {
		t.Fatal("Go is not there")
	}
	event := func(topic string) string {
		return `{"point":"POINT_INTERCEPT_PUBLISH","events":[{"message":{"topic":"` + topic + `","payload":"eA=="}}]}` + "\n"
	}
	write(t, filepath.Join(dir, "events"), event("loop")+event("panic")+event("memory")+event("fine"))
	// A failure ends an instance and no more: the last line is answered.
	refused(t, 1, dir, []string{"plugin", "test", "--replay", "events"},
		"events:1: ", "out of fuel: the call may use 1,020,000 units, about 3.06 ms of computing; it loops without end", "main.(*plugin).Publish",
		"events:2: ", "panic: no way", "events:3: ", "out of memory", "events:4: intercept_publish, fine, 1 bytes: continue", "4 batches, 3 failed")

	// The same in a broker: in its log, and to who looks on.
	p := begin(t, dir, "plugin", "run", "--listen", "tcp://127.0.0.1:0")
	p.says(p.stderr, "Ctrl-C ends")
	port := tcpAddress.FindStringSubmatch(p.stderr.String())[1]
	for _, c := range [][2]string{{"loop", "it loops without end"}, {"panic", "panic: no way"}, {"memory", "out of memory"}} {
		topic, words := c[0], c[1]
		// One message may not be enough: the log has a line a second, and a plugin that has
		// failed five times within ten is not asked for another five.
		logged := regexp.MustCompile(`the plugin has failed.* hook=intercept_publish policy=continue .*` + regexp.QuoteMeta(words))
		eventually(t, "view and log tell "+words, func() bool {
			must(t, dir, "pub", "-h", "127.0.0.1", "-p", port, "-t", topic, "-m", "x", "-q", "1")
			return strings.Contains(p.stdout.String(), words) && logged.MatchString(p.stderr.String())
		})
	}
	contains(t, p.stdout.String(), "→ FAILED: the failure policy answers", "main.(*plugin).Publish")
	must(t, dir, "pub", "-h", "127.0.0.1", "-p", port, "-t", "fine", "-m", "x", "-q", "1")
}

func TestInspect(t *testing.T) {
	t.Parallel()
	dir := project(t)
	contains(t, must(t, dir, "plugin", "inspect"), "ABI        1", "Hook       authenticate, with password", "Grant      kv: remembers who was here",
		"Debugging  functions", "Import     patchbay_v1.host_call", "Export     patchbay_call (i32, i32) -> i64", "Memory ", `"password"`)
	var i struct {
		SHA256, Runtime, Problem string
		Module                   struct {
			ABI     string
			Names   bool
			Imports []string
		}
		Manifest struct {
			Name  string
			Hooks []struct{ Point string }
		}
	}
	if err := json.Unmarshal([]byte(must(t, dir, "plugin", "inspect", "--json", "gate-keeper.wasm")), &i); err != nil {
		t.Fatal(err)
	}
	if len(i.SHA256) != 64 || i.Runtime != "wasm" || i.Problem != "" || i.Module.ABI != "1" || !i.Module.Names || len(i.Module.Imports) == 0 ||
		i.Manifest.Name != "gate-keeper" || len(i.Manifest.Hooks) != 1 || i.Manifest.Hooks[0].Point != "POINT_AUTHENTICATE" {
		t.Errorf("%+v", i)
	}
	// A module that is no plugin is shown as far as it can be.
	other := filepath.Join(t.TempDir(), "other.wasm")
	write(t, other, "\x00asm\x01\x00\x00\x00")
	refused(t, 1, dir, []string{"plugin", "inspect", other}, "ABI        none", "a broker would not run this", "it does not export patchbay_abi_v1")
}

func TestBench(t *testing.T) {
	t.Parallel()
	dir := project(t)
	contains(t, must(t, dir, "plugin", "bench", "--time", "20ms"), "ns/event", "fuel/event", "authenticate", "1 ALLOW")
	rows := map[int]float64{}
	s := bufio.NewScanner(strings.NewReader(must(t, dir, "plugin", "bench", "--time", "20ms", "--json")))
	for s.Scan() {
		var f struct {
			Hook         string
			Batch, Calls int
			NsPerEvent   float64 `json:"ns_per_event"`
			NsPerCall    float64 `json:"ns_per_call"`
			FuelPerEvent float64 `json:"fuel_per_event"`
			MemoryBytes  uint64  `json:"memory_bytes"`
		}
		if err := json.Unmarshal(s.Bytes(), &f); err != nil {
			t.Fatal(err)
		}
		if f.Hook != "authenticate" || f.Calls == 0 || f.NsPerCall <= 0 || f.FuelPerEvent <= 0 || f.MemoryBytes < 1<<20 {
			t.Errorf("%s", s.Text())
		}
		rows[f.Batch] = f.NsPerCall / f.NsPerEvent
	}
	if len(rows) != 3 || int(rows[1]+0.5) != 1 || int(rows[16]+0.5) != 16 || int(rows[64]+0.5) != 64 {
		t.Errorf("%v", rows)
	}
	refused(t, 1, dir, []string{"plugin", "bench", "--config", "{}"}, "config: /")
}

// TestProgram: what is said of modules holds for programs.
func TestProgram(t *testing.T) {
	t.Parallel()
	dir := project(t)
	exe := filepath.Join(t.TempDir(), "gate-keeper")
	goBuild(t, dir, exe)
	args := []string{"plugin", "test", exe, "--replay", "testdata/events.jsonl", "--expect", "testdata/verdicts.jsonl", "--config", "@testdata/config.json"}
	contains(t, must(t, dir, args...), "gate-keeper 0.1.0 (process) starts", "3 batches, all answered as expected")
	contains(t, must(t, dir, "plugin", "inspect", exe), "process", "Hook       authenticate")
	contains(t, must(t, dir, "plugin", "bench", exe, "--config", "@testdata/config.json", "--time", "20ms"), "authenticate")
	notPlugin := filepath.Join(t.TempDir(), "true")
	write(t, notPlugin, "#!/bin/sh\nexit 0\n")
	if err := os.Chmod(notPlugin, 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, 1, dir, []string{"plugin", "inspect", notPlugin}, "a broker would not run this")
}
