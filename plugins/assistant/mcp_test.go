package assistant

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
)

// Tools of MCP servers stand beside the others, for those clients that may use them.
func TestMCP(t *testing.T) {
	runtimes(t, func(t *testing.T, rt pluginhost.Runtime) {
		server := startMCP(t)
		tools := func(timeout string) string {
			return `"tools":{"timeout":"` + timeout + `","max_result":"1KiB","dry_run":["home_paint"],"mcp":[{"name":"home","url":"` + server.url + `","token":"mcp-very-secret"}]}`
		}
		f := &fence{subscribe: map[string][]string{
			"ann": {"assistant/+/+/answer", "assistant/+/+/answer/stream", "assistant/tool/home_open"},
			"bob": {"assistant/+/+/answer", "assistant/+/+/answer/stream"},
		}}
		s := start(t, options{
			runtime: rt, answer: obey, grants: toolGrants(), plugins: []sdk.Plugin{f.plugin()},
			config: tools("1m"),
		})
		eve := connect(t, s.addr, "eve").conversation("e") // without rules
		for tool, want := range map[string]string{
			"home_open": "the front door is open", "home_close": "failed: it is stuck", "home_paint": "dry run",
			"home_door_bell": "(cut after 1024 bytes)", "home_none": "unknown_tool: ",
		} {
			if got := eve.ask(order(tool, `{"door":"front"}`)); !strings.Contains(got, want) {
				t.Errorf("%s: %s", tool, got)
			}
		}
		if got := eve.ask(order("home_open", `["front"]`)); !strings.Contains(got, "failed: the arguments") {
			t.Error(got)
		}
		if got := server.token.Load(); got != "Bearer mcp-very-secret" {
			t.Errorf("%q", got)
		}
		if list := offered(s.ai.Requests()[0]); len(list) != 5 || !slices.Contains(list, "home_door_bell") {
			t.Errorf("%q", list)
		}
		for who, want := range map[string]string{"ann": "home_open", "bob": ""} {
			n := len(s.ai.Requests())
			got := connect(t, s.addr, who).conversation(who).ask(order("home_open", `{"door":"front"}`))
			if list := strings.Join(offered(s.ai.Requests()[n]), " "); list != want || strings.Contains(got, "is open") != (want != "") {
				t.Errorf("%s is offered %q, want %q: %s", who, list, want, got)
			}
		}
		s.configure(tools("100ms"))
		if got := eve.ask(order("home_watch", `{"door":"front"}`)); !strings.Contains(got, "failed: ") {
			t.Errorf("without an end: %s", got)
		}
		if strings.Contains(s.log.String(), "mcp-very-secret") {
			t.Error("the token is in the log")
		}
	})
}

// A server that has been restarted, or is away, holds nothing up.
func TestMCPTrouble(t *testing.T) {
	server := startMCP(t)
	config := `"tools":{"mcp":[{"name":"home","url":"` + server.url + `","tools":["op*"]},{"name":"gone","url":"http://127.0.0.1:1/mcp"}]}`
	s := start(t, options{answer: obey, grants: toolGrants(), config: config})
	c := connect(t, s.addr, "ann").conversation("c")
	open := order("home_open", `{"door":"front"}`)
	for range 6 {
		if got := c.ask(open); !strings.Contains(got, "is open") {
			t.Errorf("a server beside one that is away: %s", got)
		}
		server.restart()
	}
	if list := offered(s.ai.Requests()[0]); !slices.Equal(list, []string{"home_open"}) {
		t.Errorf("%q", list)
	}
	if n := strings.Count(s.log.String(), "an MCP server cannot be asked"); n == 0 || n > 3 { // one, if this does not take minutes
		t.Errorf("%d lines in the log of the server that is away", n)
	}
	anew := func(t *testing.T) {
		t.Helper()
		if err := s.host.Reload(t.Context(), "assistant"); err != nil {
			t.Fatal(err)
		}
	}
	var stolen atomic.Bool
	for what, f := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"500":    func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true },
		"no MCP": func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write([]byte("<html>")); return true },
		"a redirect": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/elsewhere" {
				stolen.Store(true)
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			return true
		},
		"cut off": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"too long": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			for range 9 << 10 {
				_, _ = w.Write([]byte(strings.Repeat(" ", 1024)))
			}
			return true
		},
	} {
		t.Run(what, func(t *testing.T) {
			server.before.Store(nil)
			anew(t)
			if got := c.ask(open); !strings.Contains(got, "is open") {
				t.Fatalf("before: %s", got)
			}
			server.before.Store(&f)
			if got := c.ask(open); !strings.Contains(got, "failed: MCP server home") {
				t.Errorf("a call: %s", got)
			}
			anew(t)
			if got := c.ask("hello"); got != "hello" {
				t.Errorf("a question: %s", got)
			}
		})
	}
	server.before.Store(nil)
	if stolen.Load() {
		t.Error("a redirect was followed")
	}
}
