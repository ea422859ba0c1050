package client

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
)

var versions = []string{"5", "3.1.1", "3.1"}

func TestPublishSubscribe(t *testing.T) {
	b := needBroker(t)
	for _, v := range versions {
		for q := range 3 {
			t.Run(fmt.Sprintf("V%s/q%d", v, q), func(t *testing.T) {
				name := strings.ReplaceAll(t.Name(), "/", "-")
				qos := fmt.Sprint(q)
				s := subscribed(t, "-p", b.port, "-V", v, "-q", qos, "-t", name+"/#", "-C", "2", "-F", "%t %q %r %l %p")
				ok(t, "pub", "-p", b.port, "-V", v, "-q", qos, "-t", name+"/x", "-m", "hällo", "--repeat", "2", "--repeat-delay", "0.01")
				line := fmt.Sprintf("%s/x %d 0 6 hällo\n", name, q)
				if r := s.wait(); r.err != nil || r.stdout != line+line {
					t.Errorf("sub: %v, printed %q, want twice %q", r.err, r.stdout, line)
				}
			})
		}
	}
}

func TestTransports(t *testing.T) {
	b := needBroker(t)
	for name, at := range map[string][]string{
		"tcp by URL":       {"-L", "mqtt://127.0.0.1:" + b.port},
		"local address":    {"-h", "127.0.0.1", "-p", b.port, "-A", "127.0.0.1"},
		"unix":             {"--unix", b.unix},
		"tls":              {"-p", b.tlsPort, "--cafile", b.caFile},
		"tls by directory": {"-p", b.tlsPort, "--capath", filepath.Dir(b.caFile)},
		"tls 1.2, suite":   {"-p", b.tlsPort, "--cafile", b.caFile, "--tls-version", "tlsv1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"},
		"tls by URL":       {"-L", "mqtts://localhost:" + b.tlsPort, "--cafile", b.caFile},
		"tls, other name":  {"-h", "127.0.0.1", "-p", b.tlsPort, "--cafile", b.caFile, "--insecure"},
		"tls, no check":    {"-h", "127.0.0.1", "-p", b.tlsPort, "--insecure"},
		"websocket":        {"-p", b.wsPort, "--ws"},
		"websocket by URL": {"-L", "ws://localhost:" + b.wsPort + "/mqtt"},
		"websocket, 3.1.1": {"-L", "ws://localhost:" + b.wsPort + "/mqtt", "-V", "311"},
		"credentials":      {"-L", "mqtt://alice:s%65cret@localhost:" + b.passwordPort},
		"user, password":   {"-p", b.passwordPort, "-u", "alice", "-P", "secret", "-V", "mqttv31"},
	} {
		t.Run(name, func(t *testing.T) {
			topic := "ok/" + strings.Map(func(r rune) rune { return max(r, '-') }, strings.ReplaceAll(name, " ", "-"))
			s := subscribed(t, append(at, "-q", "1", "-t", topic, "-C", "1")...)
			ok(t, append([]string{"pub", "-q", "1", "-t", topic, "-m", "through"}, at...)...)
			if r := s.wait(); r.err != nil || r.stdout != "through\n" {
				t.Errorf("sub: %v, printed %q", r.err, r.stdout)
			}
		})
	}
}

// Every payload arrives, once and in order, however many there are and whatever the window.
func TestLines(t *testing.T) {
	b := needBroker(t)
	const count = 1500
	var want strings.Builder
	for i := range count {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	for _, v := range []string{"5", "3.1.1"} {
		for q := range 3 {
			t.Run(fmt.Sprintf("V%s/q%d", v, q), func(t *testing.T) {
				topic, qos := strings.ReplaceAll(t.Name(), "/", "-"), fmt.Sprint(q)
				s := subscribed(t, "-p", b.port, "-q", qos, "-t", topic, "-C", fmt.Sprint(count))
				in := strings.TrimSuffix(want.String(), "\n") // the last line has no newline
				if r := start(t, strings.NewReader(in), "pub", "-p", b.port, "-V", v, "-q", qos, "-t", topic, "-l").wait(); r.err != nil {
					t.Fatal(r.err)
				}
				r := s.wait()
				if r.err != nil || r.stdout != want.String() {
					t.Errorf("sub: %v; got %d bytes, want %d", r.err, len(r.stdout), want.Len())
				}
			})
		}
	}
}

func TestPayloadSources(t *testing.T) {
	b := needBroker(t)
	file := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(file, []byte("from\na file"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("0123456789", 50_000)
	for name, c := range map[string]struct {
		args  []string
		stdin string
		want  string
	}{
		"file":        {[]string{"-f", file}, "", "[from\na file]"},
		"null":        {[]string{"-n"}, "", "[]"},
		"empty":       {[]string{"-m", ""}, "", "[]"},
		"stdin":       {[]string{"-s"}, "all\nof\nit\n", "[all\nof\nit\n]"},
		"large":       {[]string{"-s"}, large, "[" + large + "]"},
		"lines":       {[]string{"-l"}, "one\n\nthree\n", "[one][][three]"},
		"no lines":    {[]string{"-l"}, "", ""},
		"one newline": {[]string{"-l"}, "\n", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			topic := strings.ReplaceAll(t.Name(), "/", "-")
			s := subscribed(t, "-p", b.port, "-q", "2", "-t", topic, "-t", topic+"/end", "-N", "-F", "[%p]", "-C", fmt.Sprint(strings.Count(c.want, "[")+1))
			args := append([]string{"pub", "-p", b.port, "-q", "2", "-t", topic}, c.args...)
			if r := start(t, strings.NewReader(c.stdin), args...).wait(); r.err != nil {
				t.Fatal(r.err)
			}
			ok(t, "pub", "-p", b.port, "-q", "2", "-t", topic+"/end", "-m", "end")
			if r := s.wait(); r.stdout != c.want+"[end]" {
				t.Errorf("got %.60q, want %.60q", r.stdout, c.want+"[end]")
			}
		})
	}
}

// What -C leaves in the session is not acknowledged, so the next sub gets it: nothing lost, nothing twice.
func TestCountLeavesTheRest(t *testing.T) {
	b := needBroker(t)
	for _, v := range []string{"5", "3.1.1"} {
		for _, q := range []string{"1", "2"} {
			t.Run("V"+v+"/q"+q, func(t *testing.T) {
				name := strings.ReplaceAll(t.Name(), "/", "-")
				session := []string{"sub", "-p", b.port, "-V", v, "-q", q, "-c", "-i", name, "-t", name}
				ok(t, append(session, "-E")...)
				if r := start(t, strings.NewReader("1\n2\n3\n4\n5\n"), "pub", "-p", b.port, "-q", q, "-t", name, "-l").wait(); r.err != nil {
					t.Fatal(r.err)
				}
				got := ""
				for range 5 {
					got += ok(t, append(session, "-C", "1", "-W", "5")...)
				}
				if got != "1\n2\n3\n4\n5\n" {
					t.Errorf("five times sub -C 1 printed %q", got)
				}
				ok(t, "sub", "-p", b.port, "-V", v, "-i", name, "-t", name, "-E") // ends the session
			})
		}
	}
}

func TestRetained(t *testing.T) {
	b := needBroker(t)
	at := []string{"-p", b.port}
	pub := func(topic, payload string, more ...string) {
		ok(t, append(append([]string{"pub", "-p", b.port, "-q", "1", "-t", topic, "-m", payload}, more...), at[:0]...)...)
	}
	pub("ret/a", "A", "-r")
	pub("ret/b", "B", "-r")
	pub("ret/keep", "K", "-r")

	got := strings.Fields(ok(t, "sub", "-p", b.port, "-t", "ret/#", "-C", "3", "-F", "%p%r"))
	if slices.Sort(got); !slices.Equal(got, []string{"A1", "B1", "K1"}) { // in what order is the broker's affair
		t.Errorf("retained messages: %q", got)
	}
	fresh := subscribed(t, "-p", b.port, "-t", "ret/#", "-t", "fresh", "-R", "-C", "1", "-F", "%p%r")
	pub("fresh", "F")
	if r := fresh.wait(); r.stdout != "F0\n" {
		t.Errorf("-R printed %q", r.stdout)
	}
	published := subscribed(t, "-p", b.port, "-t", "asis", "--retain-as-published", "-C", "1", "-F", "%p%r")
	pub("asis", "P", "-r")
	if r := published.wait(); r.stdout != "P1\n" {
		t.Errorf("--retain-as-published printed %q", r.stdout)
	}

	// --remove-retained publishes, so that --no-local has something to keep away.
	removal := subscribed(t, "-p", b.port, "-t", "ret/#", "-T", "ret/keep", "--remove-retained", "--no-local", "-F", "%t%p", "-N")
	removal.stdout.waitFor(t, "ret/aA")
	removal.stdout.waitFor(t, "ret/bB")
	pub("ret/end", "E")
	removal.stdout.waitFor(t, "ret/endE")
	r := removal.interrupt()
	if r.err != nil || r.stdout != "ret/aAret/bBret/endE" && r.stdout != "ret/bBret/aAret/endE" {
		t.Errorf("--remove-retained: %v, printed %q", r.err, r.stdout)
	}
	only := subscribed(t, "-p", b.port, "-t", "ret/#", "--retained-only")
	only.stdout.waitFor(t, "K")
	pub("ret/live", "L")
	if r := only.wait(); r.err != nil || r.stdout != "K\n" {
		t.Errorf("--retained-only: %v, printed %q", r.err, r.stdout)
	}
	ok(t, "pub", "-p", b.port, "-t", "ret/keep", "-r", "-n", "-q", "1")
	if r := run(t, "sub", "-p", b.port, "-t", "ret/#", "-W", "0.2"); r.code() != 27 || r.stdout != "" {
		t.Errorf("after pub -r -n: exit code %d, printed %q", r.code(), r.stdout)
	}
}

func TestUnsubscribe(t *testing.T) {
	b := needBroker(t)
	for _, v := range []string{"5", "3.1.1"} {
		id := "unsub-" + v
		ok(t, "sub", "-p", b.port, "-V", v, "-c", "-i", id, "-q", "1", "-t", id+"/a", "-t", id+"/b", "-E")
		ok(t, "sub", "-p", b.port, "-V", v, "-c", "-i", id, "-U", id+"/a", "-E")
		ok(t, "pub", "-p", b.port, "-q", "1", "-t", id+"/a", "-m", "a")
		ok(t, "pub", "-p", b.port, "-q", "1", "-t", id+"/b", "-m", "b")
		if got := ok(t, "sub", "-p", b.port, "-V", v, "-c", "-i", id, "-q", "1", "-t", id+"/b", "-C", "1", "-v"); got != id+"/b b\n" {
			t.Errorf("V%s: got %q", v, got)
		}
	}
}

func TestProperties(t *testing.T) {
	b := needBroker(t)
	s := subscribed(t, "-p", b.port, "-t", "props", "--sub-id", "77", "-C", "1", "-F", "%C|%D|%E|%F|%P|%R|%S|%A|%J")
	ok(t, "pub", "-p", b.port, "-t", "props", "-m", `{"n":1}`,
		"-D", "publish", "user-property", "k", "v one", "-D", "publish", "content-type", "application/json",
		"-D", "PUBLISH", "correlation-data", "c\xff", "-D", "publish user-property dash -x y",
		"-D", "publish", "message-expiry-interval", "60", "-D", "publish", "payload-format-indicator", "1",
		"-D", "publish", "response-topic", "answer/here")
	r := s.wait()
	want := "application/json|c\xff|60|1|k:v one dash:-x y|answer/here|77||"
	if !strings.HasPrefix(r.stdout, want) {
		t.Errorf("got %q, want %q…", r.stdout, want)
	}
	wantJSON := `"topic":"props","qos":0,"retain":0,"payloadlen":7,"properties":{"subscription-identifier":77,"user-properties":{"k":"v one","dash":"-x y"},` +
		`"content-type":"application/json","correlation-data":[99,255],"payload-format-indicator":1,"response-topic":"answer/here","message-expiry-interval":60},"payload":{"n":1}}`
	if !strings.HasSuffix(r.stdout, wantJSON+"\n") {
		t.Errorf("got  %s\nwant …%s", r.stdout, wantJSON)
	}
}

func TestNotJSON(t *testing.T) {
	b := needBroker(t)
	s := subscribed(t, "-p", b.port, "-t", "notjson", "-C", "2", "-F", "%J", "--pretty")
	ok(t, "pub", "-p", b.port, "-t", "notjson", "-m", "{", "-q", "1")
	ok(t, "pub", "-p", b.port, "-t", "notjson", "-m", "[1]", "-q", "1")
	r := s.wait()
	if !strings.Contains(r.stderr, `the payload is not valid JSON on topic "notjson"`) || strings.Count(r.stdout, "payloadlen") != 1 || !strings.Contains(r.stdout, "\n\t\"payload\": [\n") {
		t.Errorf("stdout %q, stderr %q", r.stdout, r.stderr)
	}
}

// Ctrl-C ends with DISCONNECT, so that the Will is not sent; a cut line sends it.
func TestInterruptAndWill(t *testing.T) {
	b := needBroker(t)
	for _, v := range []string{"5", "3.1.1"} {
		t.Run("V"+v, func(t *testing.T) {
			p := newProxy(t, b.port)
			will := "will/" + v
			watch := subscribed(t, "-p", b.port, "-t", will, "-t", "will/end", "-v", "-C", "2")
			dying := []string{"-p", p.port, "-V", v, "-t", "nothing", "--will-topic", will, "--will-qos", "1"}
			r := subscribed(t, append(dying, "--will-payload", "clean")...).interrupt()
			if r.err != nil {
				t.Errorf("interrupted sub: %v", r.err)
			}
			p.waitForLast(t, packet.TypeDisconnect)
			cut := subscribed(t, append(dying, "--will-payload", "cut")...)
			p.cut()
			watch.stdout.waitFor(t, "cut")
			ok(t, "pub", "-p", b.port, "-t", "will/end", "-m", "end")
			if r := watch.wait(); r.stdout != will+" cut\nwill/end end\n" {
				t.Errorf("the watcher got %q", r.stdout)
			}
			if r := cut.interrupt(); r.err != nil || !strings.Contains(r.stderr, "connection lost: ") {
				t.Errorf("sub whose line was cut: %v, stderr %q", r.err, r.stderr)
			}
		})
	}
}

// A subscriber whose line was cut comes back and, with -c, gets what it missed.
func TestReconnect(t *testing.T) {
	b := needBroker(t)
	for _, v := range []string{"5", "3.1.1"} {
		t.Run("V"+v, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, b.port)
			topic := "reconnect/" + v
			s := subscribed(t, "-p", p.port, "-V", v, "-q", "1", "-c", "-i", "reconnect-"+v, "-t", topic)
			ok(t, "pub", "-p", b.port, "-q", "1", "-t", topic, "-m", "before")
			s.stdout.waitFor(t, "before")
			p.cut()
			s.stderr.waitFor(t, "connecting again")
			ok(t, "pub", "-p", b.port, "-q", "1", "-t", topic, "-m", "while away")
			s.stdout.waitFor(t, "while away\n")
			if r := s.interrupt(); r.err != nil {
				t.Error(r.err)
			}
		})
	}
}

func TestRequestResponse(t *testing.T) {
	b := needBroker(t)
	t.Run("5", func(t *testing.T) {
		responder := subscribed(t, "-p", b.port, "-t", "rpc", "-C", "1", "-F", "%R %D %p")
		rr := start(t, strings.NewReader("ask"), "rr", "-p", b.port, "-q", "1", "-t", "rpc", "-s", "-W", "10", "-v")
		request := strings.Fields(responder.wait().stdout)
		if len(request) != 3 || request[2] != "ask" {
			t.Fatalf("the responder got %q", request)
		}
		answer := []string{"pub", "-p", b.port, "-q", "1", "-t", request[0]}
		ok(t, append(answer, "-m", "not yours", "-D", "publish", "correlation-data", "other")...)
		ok(t, append(answer, "-m", "yours", "-D", "publish", "correlation-data", request[1])...)
		if r := rr.wait(); r.err != nil || r.stdout != request[0]+" yours\n" {
			t.Errorf("rr: %v, printed %q", r.err, r.stdout)
		}
	})
	t.Run("3.1.1", func(t *testing.T) {
		responder := subscribed(t, "-p", b.port, "-V", "3.1.1", "-t", "rpc3", "-C", "1")
		rr := start(t, strings.NewReader(""), "rr", "-p", b.port, "-V", "3.1.1", "-t", "rpc3", "-e", "rpc3/answer", "-m", "ask")
		responder.wait()
		ok(t, "pub", "-p", b.port, "-t", "rpc3/answer", "-m", "told")
		if r := rr.wait(); r.err != nil || r.stdout != "told\n" {
			t.Errorf("rr: %v, printed %q", r.err, r.stdout)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		if r := run(t, "rr", "-p", b.port, "-t", "rpc/nobody", "-m", "ask", "-W", "0.1"); r.code() != 27 {
			t.Errorf("exit code %d (%v), want 27", r.code(), r.err)
		}
	})
	t.Run("interrupt", func(t *testing.T) {
		rr := start(t, strings.NewReader(""), "rr", "-p", b.port, "-t", "rpc/nobody", "-m", "ask", "-d")
		rr.stderr.waitFor(t, "sending PUBLISH")
		if r := rr.interrupt(); r.code() != 1 || r.err.Error() != "interrupted" {
			t.Errorf("exit code %d, %v", r.code(), r.err)
		}
	})
}
