package bridgemqtt

import (
	"slices"
	"testing"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// Every key of the config is in the README, or in the page of all bridges.
func TestReadme(t *testing.T) {
	bridgetest.Documented(t, Plugin(), "README.md", "../../docs/bridges.md")
}

// The README's config does what the README says.
func TestReadmeConfig(t *testing.T) {
	here, hq := startNode(t, "here"), startNode(t, "hq")
	configs := bridgetest.Examples(t, "README.md", "mqtts://hq.example.com", "mqtt://"+hq.addr, "mqtts://hq-2.example.com", "mqtt://"+hq.addr,
		"${file:/run/secrets/hq}", "secret")
	here.grants = []string{"hq/#", "shared/#"}
	here.bridge(pluginhost.Builtin, "to-hq", configs[0])
	here.connected("to-hq")
	near, far := connect(t, here.addr, "press").subscribe("hq/#", "shared/#"), connect(t, hq.addr, "boss").subscribe("#")
	near.say("plant/press-1/measured/t", "21", 1)
	near.say("orders/1", "a", 1)
	near.say("raw/hall-2/x", "b", 1)
	near.say("shared/1", "c", 1)
	far.say("sites/plant-7/commands/stop", "d", 1)
	far.say("shared/2", "e", 1)
	want := []string{"sites/plant-7/online 1", "sites/plant-7/press-1/measured/t 21", "orders/1 a", "site-7/hall-2/press b", "shared/1 c", "sites/plant-7/commands/stop d", "shared/2 e"}
	got := short(far.expect(len(want)))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("there: %q, want %q", got, want)
	}
	want = []string{"hq/commands/stop d", "shared/1 c", "shared/2 e"}
	got = short(near.expect(len(want)))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("here: %q, want %q", got, want)
	}
}
