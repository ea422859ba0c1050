package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// bridging is a plugin host with bridges: one that answers, and one that does not.
type bridging struct{ *fakePlugins }

func (b bridging) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/plugins/to-hq/status" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, "plugin is not running")
		return
	}
	fmt.Fprint(w, `{"bridge":"bridge-mqtt","remotes":[{"name":"hq","address":"mqtt://hq:1883","connected":true},{"name":"hq2","connected":false,"error":"away"}],"routes":[
		{"name":"up","direction":"out","filters":["a/#"],"ack":"after_remote","messages":1234,"bytes":10,"rate":2.55,"errors":1,"refused":3,"oldest_unsent_seconds":5,"last_error":"too\nlong","last_error_time":"2026-01-01T00:00:00Z"},
		{"name":"down","direction":"in","messages":7}]}`)
}

func TestBridgeStatus(t *testing.T) {
	b, _ := newBroker(t)
	manifest := &pluginv1.Manifest{Consumers: []pluginv1.Consumer{{Name: "*"}}, HTTPRoutes: []pluginv1.HTTPRoute{{Path: "status"}}}
	f := twoPlugins()
	f.list = append(f.list,
		pluginhost.Detail{Manifest: manifest, Info: pluginhost.Info{Name: "to-hq", State: "serving", Consumers: []pluginhost.ConsumerInfo{{Name: "up", Backlog: 1500, BacklogBytes: 99, OldestAge: 61_000}}}},
		pluginhost.Detail{Manifest: manifest, Info: pluginhost.Info{Name: "sick", State: "failed", Consumers: []pluginhost.ConsumerInfo{{Name: "up", Backlog: 3}}}})
	s := start(t, b, func(o *Options) { o.Plugins = bridging{f} })
	out := at(t, s, "bridge", "status")
	if out != at(t, s, "bridge") {
		t.Error("bridge is not bridge status")
	}
	rows := strings.Split(strings.TrimSpace(out), "\n")
	if len(rows) != 4 {
		t.Fatalf("%s", out)
	}
	wantContains(t, rows[0], "BRIDGE", "BACKLOG", "OLDEST", "GIVEN-UP")
	for i, want := range []string{
		"to-hq serving up out after_remote 1,234 2.5/s 1,500 1m1s 1 3 too…", "to-hq serving down in - 7 0.0/s - - 0 0 remote hq2: away",
		"sick failed up out - 0 0.0/s 3 - 0 0 Service Unavailable: plugin is not running",
	} {
		if got := strings.Join(strings.Fields(rows[i+1]), " "); got != want {
			t.Errorf("row %d: %s", i+1, got)
		}
	}
	lines := jsonLines[bridgeStatus](t, at(t, s, "bridge", "status", "to-hq", "--json"))
	if len(lines) != 1 || lines[0].Routes[0].BacklogBytes != 99 || lines[0].Routes[0].OldestUnsent != 61 || !lines[0].Remotes[0].Connected {
		t.Errorf("%+v", lines)
	}
}
