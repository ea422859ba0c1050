package main_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// crash kills the broker and starts it again where it was.
func (b *broker) crash() {
	b.t.Helper()
	b.signal(syscall.SIGKILL)
	<-b.ended
	b.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	b.ready()
}

// TestBans: an operator keeps clients out of a broker without any plugin: those that are
// in, those that come, and those that come after the broker was killed.
func TestBans(t *testing.T) {
	t.Parallel()
	b := start(t, "listeners: [{name: tcp, tcp: \"127.0.0.1:0\"}]\n")
	command := func(args ...string) string {
		t.Helper()
		r := b.operator(append([]string{"ban"}, args...)...)
		if r.code != 0 {
			t.Fatalf("ban %q: %s", args, r.stderr)
		}
		return r.stdout
	}
	to := func() target { return b.target("tcp", nil) }
	wantOut := func(id, user string) {
		t.Helper()
		if _, err := connect5(to(), id, as(user, "x")); !errors.Is(err, refused(0x8A)) {
			t.Errorf("%s of %q: %v, want 0x8A", id, user, err)
		}
		if _, err := connect3(to(), id); user == "" && (err == nil || !strings.Contains(strings.ToLower(err.Error()), "not authorized")) {
			t.Errorf("%s, MQTT 3.1.1: %v", id, err)
		}
	}
	wantIn := func(id, user string) {
		t.Helper()
		c, err := connect5(to(), id, as(user, "x"))
		if err != nil {
			t.Errorf("%s of %q: %v", id, user, err)
			return
		}
		c.close()
	}

	pump, other := mustConnect5(t, to(), "pump"), mustConnect5(t, to(), "other")
	ann := mustConnect5(t, to(), "tablet", as("ann", "x"))
	if got := command("add", "--client-id", "pump", "--reason", "it floods"); !strings.Contains(got, "1 connection closed") {
		t.Errorf("%s", got)
	}
	select {
	case d := <-pump.said:
		if d.ReasonCode != 0x98 || d.Properties == nil || d.Properties.ReasonString != "it floods" {
			t.Errorf("%+v", d)
		}
	case <-time.After(patience):
		t.Error("a client that is banned stays")
	}
	command("add", "--username", "ann", "--address", "127.0.0.0/8", "--for", "1d")
	select {
	case <-ann.down:
	case <-time.After(patience):
		t.Error("a user that is banned stays")
	}
	wantOut("pump", "")
	wantOut("x", "ann")
	wantIn("x", "bob")
	roundTrip(t, other, "others/do/not/notice")

	b.crash()
	wantOut("pump", "")
	wantOut("x", "ann")
	wantIn("x", "bob")
	if list := command("list"); !strings.Contains(list, "client id pump") || !strings.Contains(list, "user ann, address 127.0.0.0/8") ||
		!strings.Contains(list, "it floods") || strings.Count(list, "\n") != 3 {
		t.Errorf("%s", list)
	}
	command("remove", "--client-id", "pump")
	wantIn("pump", "")
	command("remove", "--username", "ann", "--address", "127.0.0.0/8")
	wantIn("x", "ann")

	// One that ends by itself, also while the broker is away.
	command("add", "--client-id", "soon", "--for", "2s")
	wantOut("soon", "")
	b.crash()
	eventually(t, patience, func() bool {
		c, err := connect5(to(), "soon")
		if err == nil {
			c.close()
		}
		return err == nil
	}, "the ban is over")
	if list := command("list", "--json"); list != "" {
		t.Errorf("%s", list)
	}
	if r := b.operator("ban", "add", "--address", "127.0.0.1/8"); r.code != 2 || !strings.Contains(r.stderr, "begins at 127.0.0.0/8") {
		t.Errorf("%+v", r)
	}
}

// watched is a broker with guard before authfile; PATH is where users are. Pauses are long,
// so that no test waits for the end of one.
const watched = `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
plugins:
	- name: guard
	  grants: [ban, kv, clients, disconnect]
	  config:
	    logins: {per_user: 4, per_address: 0, pause: 10m}
	    flapping: {disconnects: 6, within: 10m}
	    deny: [{client_id: "test-*", reason: "not here"}]
	- name: authfile
	  config: {users: [{name: alice, hash: "` + vector + `"}, {name: bob, hash: "` + vector + `"}]}
`

// TestGuard: guesses are paused, one by one and all at once; it does not show which users
// there are; who comes and goes is banned, and a kill of the broker changes none of it.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, runtime := range []string{"builtin", "process"} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			b := start(t, strings.Replace(watched, "- name: guard\n", "- name: guard\n\t  runtime: "+runtime+"\n", 1))
			login := func(id, user, password string) byte {
				t.Helper()
				for {
					c, err := connect5(b.target("tcp", nil), id, as(user, password))
					var r refused
					switch {
					case err == nil:
						c.close()
						return 0
					case !errors.As(err, &r):
						t.Error(err)
						return 0xFF
					case r != 0x89: // busy: it has waited for others for too long, on a slow machine
						return byte(r)
					}
				}
			}
			if code := login("home", "alice", "U*U"); code != 0 {
				t.Fatalf("0x%02X", code)
			}
			if code := login("test-1", "alice", "U*U"); code != 0x8A {
				t.Errorf("a client that deny keeps out: 0x%02X", code)
			}
			// A user that exists, and one that does not, are guessed at, 40 times at once
			// each: the answers are the same.
			for _, user := range []string{"bob", "nobody"} {
				var wrong, paused, others atomic.Int64
				var wg sync.WaitGroup
				for i := range 40 {
					wg.Go(func() {
						switch login(fmt.Sprint(user, i), user, fmt.Sprint("guess ", i)) {
						case 0x86:
							wrong.Add(1)
						case 0x9F:
							paused.Add(1)
						default:
							others.Add(1)
						}
					})
				}
				wg.Wait()
				if wrong.Load() != 4 || paused.Load() != 36 || others.Load() != 0 {
					t.Errorf("%s: %d wrong, %d paused, %d otherwise; want 4, 36, 0", user, wrong.Load(), paused.Load(), others.Load())
				}
			}
			if code := login("bob", "bob", "U*U"); code != 0x9F {
				t.Errorf("the right password in a pause: 0x%02X", code)
			}
			b.metric(`patchbay_plugin_guard_failed_logins_total`, is(8))
			for range 10 { // alice is known here, whatever is tried with other names
				if code := login(fmt.Sprint("a", time.Now().UnixNano()), "alice", "U*U"); code != 0 {
					t.Errorf("alice: 0x%02X", code)
				}
			}
			for i := 0; login("flapper", "alice", "U*U") != 0x8A; i++ {
				if i > 1000 {
					t.Fatal("it may come and go for ever")
				}
			}
			if list := b.operator("ban", "list").stdout; !strings.Contains(list, "client id flapper") || !strings.Contains(list, " guard ") {
				t.Errorf("%s", list)
			}
			if status, body := b.get("/plugins/guard/pauses"); status != 200 || !strings.Contains(body, `"user":"nobody"`) {
				t.Errorf("%d %s", status, body)
			}

			// What is counted is stored a little later; the ban was at once.
			now := float64(time.Now().UnixMilli()) / 1000
			b.metric("patchbay_plugin_guard_stored_timestamp_seconds", func(at float64) bool { return at > now })
			if i, _ := b.plugin("guard"); i.PID != 0 {
				// While the plugin is away the next one decides alone.
				if child, err := os.FindProcess(i.PID); err != nil || child.Kill() != nil {
					t.Fatalf("kill %d: %v", i.PID, err)
				}
				if code := login("home", "alice", "U*U"); code != 0 {
					t.Errorf("after the plugin was killed: 0x%02X", code)
				}
				eventually(t, patience, func() bool { return login("bob", "bob", "guess") == 0x9F }, "it is there again, with its pauses")
			}
			b.crash()
			if code := login("bob", "bob", "guess"); code != 0x9F {
				t.Errorf("a user that had a pause before the crash: 0x%02X", code)
			}
			if code := login("flapper", "alice", "U*U"); code != 0x8A {
				t.Errorf("after a crash: 0x%02X", code)
			}
			if code := login("home", "alice", "U*U"); code != 0 {
				t.Errorf("after a crash: 0x%02X", code)
			}
		})
	}
}

// TestGuardAnonymous: before listeners that let everybody in, it keeps out whom deny fits,
// and nobody else; those that let nobody in, or only this machine, are as without it.
func TestGuardAnonymous(t *testing.T) {
	t.Parallel()
	for _, runtime := range []string{"builtin", "process"} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			b := start(t, `
listeners:
	- {name: tcp, tcp: "127.0.0.1:0", allow_anonymous: true}
	- {name: auto, tcp: ":0"}
	- {name: closed, tcp: "127.0.0.1:0", allow_anonymous: false}
plugins:
	- name: guard
	  runtime: `+runtime+`
	  grants: [ban, kv, clients, disconnect]
	  config: {deny: [{client_id: "test-*", reason: "not here"}]}
`)
			if host, _, _ := net.SplitHostPort(b.addr["auto"]); host != "127.0.0.1" {
				t.Errorf("a listener without authentication listens on %s", b.addr["auto"])
			}
			for _, name := range []string{"tcp", "auto"} {
				to := b.target(name, nil)
				if _, err := connect5(to, "test-1"); !errors.Is(err, refused(0x8A)) {
					t.Errorf("%s: a client that deny keeps out: %v, want 0x8A", name, err)
				}
				if _, err := connect3(to, "test-1"); err == nil || !strings.Contains(strings.ToLower(err.Error()), "not authorized") {
					t.Errorf("%s: a client that deny keeps out, MQTT 3.1.1: %v", name, err)
				}
				roundTrip(t, mustConnect5(t, to, name+"-5"), "a/"+name+"/5")
				roundTrip(t, mustConnect3(t, to, name+"-3"), "a/"+name+"/3")
				roundTrip(t, mustConnect5(t, to, name+"-ann", as("ann", "x")), "a/"+name+"/ann")
			}
			if _, err := connect5(b.target("closed", nil), "other"); !errors.Is(err, refused(0x87)) {
				t.Errorf("a listener that lets nobody in: %v, want 0x87", err)
			}
			if info := b.operator("plugin", "info", "guard").stdout; !strings.Contains(info, "everything, only to refuse\n") {
				t.Errorf("%s", info)
			}
		})
	}
}

// TestGuardReadme: the configurations in its README are some.
func TestGuardReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../plugins/guard/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("%d configurations in the README", len(blocks))
	}
	var yaml string
	for _, block := range blocks {
		text, _, found := strings.Cut(block, "```")
		if !found || !strings.Contains(text, "name: guard") {
			t.Fatalf("no configuration: %q", text)
		}
		b := newBroker(t, text)
		command{dir: b.dir}.must(t, patchbay, "config", "check", "--config", b.file)
		if yaml == "" {
			yaml = text
		}
	}
	b := newBroker(t, yaml)
	b.configure(strings.Replace(yaml, "per_user: 5", "per_user: five", 1))
	if r := (command{dir: b.dir}).run(t, patchbay, "config", "check", "--config", b.file); r.code != 2 || !strings.Contains(r.stderr, "per_user") {
		t.Errorf("a mistake in it: %+v", r)
	}
}
