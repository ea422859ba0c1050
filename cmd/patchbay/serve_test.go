package main_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// TestBanner: what a person at a terminal reads at the start.
func TestBanner(t *testing.T) {
	t.Parallel()
	b := newBroker(t, `
listeners:
	- {tcp: ":0"}
	- {ws: "0.0.0.0:0", allow_anonymous: true}
	- {name: closed, tcp: "0.0.0.0:0", allow_anonymous: false}
	- {unix: mqtt.sock}
`)
	b.begin(nil, "serve", "--config", b.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=text")
	if _, ok := b.log.awaitLine("To let others in without authentication: allow_anonymous: true at the listener."); !ok {
		t.Error("nothing is said about how to let others in")
	}
	banner := b.log.tail(100)
	for _, want := range []string{
		`(?m)^Patchbay \S+ \(configuration: .*broker\.yaml\)$`,
		`(?m)^  tcp   127\.0\.0\.1:\d+ +this machine only$`, // narrowed
		`(?m)^  ws    \S*:\d+ +anyone may connect$`,
		`(?m)^  tcp   \S*:\d+ +nobody may connect: no authentication is configured$`,
		`(?m)^  unix  mqtt\.sock +this machine only$`,
		`(?m)^  admin 127\.0\.0\.1:\d+ +metrics and health$`,
		`(?m)^  store \./patchbay-data +sessions and retained messages are kept; sync: always$`,
	} {
		if !regexp.MustCompile(want).MatchString(banner) {
			t.Errorf("no %s in\n%s", want, banner)
		}
	}
	if lines := strings.Count(banner, "\n"); lines > 12 {
		t.Errorf("%d lines are too many for a person:\n%s", lines, banner)
	}
	if _, ok := b.log.awaitLine("level=WARN msg=\"" + b.file + ":4: listeners[1].allow_anonymous: whoever reaches"); !ok {
		t.Error("no warning that anyone may connect")
	}
	b.stop()
	if line, ok := b.log.awaitLine("msg=stopped"); !ok || !strings.Contains(line, "level=INFO") {
		t.Errorf("the end is not logged: %q", line)
	}
}

// TestAccess: who gets in while no authentication is configured.
func TestAccess(t *testing.T) {
	t.Parallel()
	b := start(t, `
listeners:
	- {name: local, tcp: "127.0.0.1:0"}
	- {name: narrowed, tcp: ":0"}
	- {name: open, tcp: ":0", allow_anonymous: true}
	- {name: closed, tcp: "127.0.0.1:0", allow_anonymous: false}
`)
	access := map[string]string{}
	for _, r := range b.log.find("listening") {
		access[r.text("name")] = r.text("access")
	}
	for name, want := range map[string]string{
		"local": "this machine only", "narrowed": "this machine only", "open": "anyone may connect", "closed": "this machine only", "admin": "metrics and health",
	} {
		if access[name] != want {
			t.Errorf("%s: %q, want %q", name, access[name], want)
		}
	}
	if host, _, _ := net.SplitHostPort(b.addr["narrowed"]); host != "127.0.0.1" {
		t.Errorf("a listener without authentication listens on %s", b.addr["narrowed"])
	}
	for name, accepted := range map[string]bool{"local": true, "narrowed": true, "open": true, "closed": false} {
		to := b.target(name, nil)
		if _, port, _ := net.SplitHostPort(to.address); name == "open" {
			to.address = "127.0.0.1:" + port
		}
		c, err := connect5(to, name)
		if (err == nil) != accepted {
			t.Errorf("%s: %v, want accepted %v", name, err, accepted)
		}
		if err == nil {
			c.close()
		} else if !errors.Is(err, refused(0x87)) {
			t.Errorf("%s: %v, want 0x87 Not authorized", name, err)
		}
	}
}

// TestLog: JSON lines with who, from where, and why.
func TestLog(t *testing.T) {
	t.Parallel()
	b := start(t, `listeners: [{name: tcp, tcp: "127.0.0.1:0", namespace: plant}]`)
	c := mustConnect5(t, b.target("tcp", nil), "sensor-1")
	connected := b.await("client connected", nil)
	for key, want := range map[string]string{
		"level": "INFO", "client": "sensor-1", "namespace": "plant", "listener": "tcp", "version": "5.0", "session_present": "false",
	} {
		if got := connected.text(key); got != want {
			t.Errorf("%s is %q, want %q in %s", key, got, want, connected.line)
		}
	}
	if _, _, err := net.SplitHostPort(connected.text("remote")); err != nil {
		t.Errorf("remote: %v in %s", err, connected.line)
	}
	if _, err := time.Parse(time.RFC3339Nano, connected.text("time")); err != nil {
		t.Error(err)
	}
	gone := func(id, reason string) {
		t.Helper()
		b.await("client disconnected", func(r record) bool {
			return r.text("client") == id && r.text("namespace") == "plant" && strings.Contains(r.text("reason"), reason) && r.text("remote") != ""
		})
	}
	again := mustConnect5(t, b.target("tcp", nil), "sensor-1")
	gone("sensor-1", "Session taken over")
	if d := <-c.said; d.ReasonCode != 0x8E {
		t.Errorf("DISCONNECT with 0x%02X, want 0x8E Session taken over", d.ReasonCode)
	}
	again.close()
	gone("sensor-1", "normal disconnection")
	mustConnect5(t, b.target("tcp", nil), "sensor-2")
	if r := b.operator("clients", "kick", "sensor-2", "--namespace", "plant"); r.code != 0 {
		t.Error(r.stderr)
	}
	gone("sensor-2", "Administrative action")
	b.stop()
	for line := range strings.Lines(b.log.tail(1000)) {
		if !strings.HasPrefix(line, `{"time":`) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// TestAdminListener: what monitoring asks for.
func TestAdminListener(t *testing.T) {
	t.Parallel()
	b := start(t, `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
admin: {pprof: true}
`)
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ready", "/metrics": "patchbay_build_info{version=", "/debug/pprof/goroutine?debug=1": "goroutine profile:",
	} {
		if status, text := b.get(path); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d, no %q", path, status, want)
		}
	}
	plain := start(t, `listeners: [{name: tcp, tcp: "127.0.0.1:0"}]`)
	if status, _ := plain.get("/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiles that are not switched on: %d", status)
	}
	off := newBroker(t, `listeners: [{name: tcp, tcp: "127.0.0.1:0"}]`)
	off.begin(nil, "serve", "--config", off.file, "--set", "admin.listen=off", "--set", "log.format=json")
	off.ready()
	if _, there := off.addr["admin"]; there {
		t.Error("the listener for operators is not off")
	}
	if r := off.operator("status"); r.code != 0 {
		t.Errorf("the socket is off, too: %s", r.stderr)
	}
}

// TestShutdown: SIGTERM and SIGINT tell MQTT 5 clients, end idle and stuck
// connections alike, and take no longer than they may.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			b := start(t, `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
shutdown_timeout: 3s
`)
			five := mustConnect5(t, b.target("tcp", nil), "five")
			three := mustConnect3(t, b.target("tcp", nil), "three")
			stuck := newStuck(t, b, "stuck/#")
			stuck.fill(t, b, five, "stuck/1")
			// Just accepted, and silent.
			silent, err := b.target("tcp", nil).dial()
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			b.signal(signal)
			select {
			case d := <-five.said:
				if d.ReasonCode != 0x8B {
					t.Errorf("DISCONNECT with 0x%02X, want 0x8B Server shutting down", d.ReasonCode)
				}
			case <-deadline(t):
				t.Error("no DISCONNECT for the MQTT 5 client")
			}
			eventually(t, patience, func() bool { return !three.c.IsConnectionOpen() }, "the MQTT 3.1.1 client is disconnected")
			if code := b.exit(); code != 0 {
				t.Errorf("exit status %d", code)
			}
			// A second is for what a busy machine does in between.
			if took, err := time.ParseDuration(b.await("stopped", nil).text("took")); err != nil || took > 3*time.Second+time.Second {
				t.Errorf("the shutdown took %v (%v)", took, err)
			}
		})
	}
}

// TestReload: SIGHUP and `patchbay reload` apply what can be, name what needs a
// restart every time until that comes, and change nothing if anything is wrong.
func TestReload(t *testing.T) {
	t.Parallel()
	const yaml = `
listeners: [{name: tcp, tcp: "127.0.0.1:0"}]
log: {level: info}
mqtt: {max_qos: 2}
session: {retry_max: %d}
limits: {write_timeout: %s}
`
	b := start(t, fmt.Sprintf(yaml, 5, "30s"))
	stays := mustConnect5(t, b.target("tcp", nil), "stays")

	b.configure(strings.NewReplacer("info", "debug", "max_qos: 2", "max_qos: 1", "5", "6", "30s", "40s").Replace(fmt.Sprintf(yaml, 5, "30s")))
	r := b.hangUp(t)
	if want := []string{`log.level: "info" -> "debug"`, `mqtt.max_qos: "2" -> "1"`, `session.retry_max: "5" -> "6"`}; !slices.Equal(r.list("applied"), want) {
		t.Errorf("applied %q, want %q", r.list("applied"), want)
	}
	restart := []string{`limits.write_timeout: "30s" -> "40s"`}
	if !slices.Equal(r.list("need_restart"), restart) {
		t.Errorf("need_restart %q, want %q", r.list("need_restart"), restart)
	}
	fresh := mustConnect5(t, b.target("tcp", nil), "fresh")
	if q := fresh.connack.Properties.MaximumQoS; q == nil || *q != 1 {
		t.Errorf("a new client is told Maximum QoS %v, want 1", q)
	}
	mustDial(t, b).Close()
	if _, ok := b.log.first(func(r record) bool { return r.text("level") == "DEBUG" }); !ok {
		t.Error("nothing is logged at the new level")
	}

	out := b.operator("reload")
	if want := "needs a restart:\n  " + restart[0] + "\n"; out.code != 0 || out.stdout != want {
		t.Errorf("exit status %d, %q; want 0 and %q", out.code, out.stdout, want)
	}

	b.configure("mqtt: {max_qos: 7}\n")
	b.signal(syscall.SIGHUP)
	if failed := b.await("reload failed, the configuration before stays in force", nil); !strings.Contains(failed.text("error"), "mqtt.max_qos") || failed.text("level") != "ERROR" {
		t.Errorf("%s", failed.line)
	}
	out = b.operator("reload")
	if out.code != 2 || !strings.HasPrefix(out.stderr, "patchbay: "+b.file+":1: mqtt.max_qos: ") {
		t.Errorf("exit status %d, %q", out.code, out.stderr)
	}
	if q := mustConnect5(t, b.target("tcp", nil), "after").connack.Properties.MaximumQoS; q == nil || *q != 1 {
		t.Errorf("after a reload that failed, Maximum QoS is %v, want 1", q)
	}
	roundTrip(t, stays, "reload/stays")
}

func mustDial(t testing.TB, b *broker) net.Conn {
	t.Helper()
	conn, err := b.target("tcp", nil).dial()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestRequestResponse: `patchbay rr` gets its answer from a responder.
func TestRequestResponse(t *testing.T) {
	t.Parallel()
	b := start(t, `listeners: [{name: tcp, tcp: "127.0.0.1:0"}, {name: ws, ws: "127.0.0.1:0"}]`)
	responder := mustConnect5(t, b.target("tcp", nil), "responder")
	responder.c.AddOnPublishReceived(func(p paho.PublishReceived) (bool, error) {
		request := p.Packet
		// Not from the client's own goroutine: it reads the acknowledgement.
		go func() {
			_ = responder.send(&paho.Publish{
				Topic: request.Properties.ResponseTopic, QoS: 1, Payload: append([]byte("re: "), request.Payload...),
				Properties: &paho.PublishProperties{CorrelationData: request.Properties.CorrelationData},
			})
		}()
		return true, nil
	})
	if err := responder.subscribe("service", func(message) {}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tcp", "ws"} {
		url := map[string]string{"tcp": "mqtt://" + b.addr["tcp"], "ws": "ws://" + b.addr["ws"] + "/mqtt"}[name]
		out := command{}.must(t, patchbay, "rr", "-L", url, "-t", "service", "-m", "over "+name, "-q", "1", "-W", "20")
		if out != "re: over "+name+"\n" {
			t.Errorf("%s: %q", name, out)
		}
	}
	r := command{}.run(t, patchbay, "rr", "-L", "mqtt://"+b.addr["tcp"], "-t", "nobody", "-m", "?", "-W", "0.2")
	if r.code != 27 {
		t.Errorf("without an answer: exit status %d, %s", r.code, r.stderr)
	}
}
