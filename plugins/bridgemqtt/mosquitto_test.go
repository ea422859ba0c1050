package bridgemqtt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// startMosquitto runs a Mosquitto.
func startMosquitto(t testing.TB, config string) (addr string) {
	t.Helper()
	addr, _ = mosquitto(t, config)
	return addr
}

func mosquitto(t testing.TB, config string) (addr string, p *bridgetest.Process) {
	t.Helper()
	file := bridgetest.Tool(t, "mosquitto", "mosquitto")
	addr = bridgetest.FreeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n" + config
	if os.Getuid() == 0 {
		text = "user root\n" + text
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p = bridgetest.StartProcess(t, bridgetest.ProcessOptions{
		Name: "mosquitto", Ready: bridgetest.Listens(addr), Command: func() *exec.Cmd { return exec.Command(file, "-c", conf) },
	})
	return addr, p
}

// Mosquitto as the other broker, in both versions: with 3.1.1 it is told that this is a
// bridge, keeps RETAIN, and does not send back what it has got.
func TestMosquitto(t *testing.T) {
	addr := startMosquitto(t, "")
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			here := startNode(t, "here"+version)
			far, near := connect(t, addr, "far").subscribe("#"), connect(t, here.addr, "near").subscribe("#")
			here.bridge(pluginhost.Builtin, "b", fmt.Sprintf(`{"remote":{"name":"m","servers":["mqtt://%s"],"version":%q},"routes":[{"name":"all","direction":"both","filters":["x/#"]}]}`, addr, version))
			here.connected("b")
			for i := range byte(3) {
				near.publish(&paho.Publish{Topic: "x/up", Payload: []byte{'0' + i}, QoS: i})
				far.expect(int(2*i) + 1)
				far.publish(&paho.Publish{Topic: "x/down", Payload: []byte{'0' + i}, QoS: i, Retain: i == 1})
				near.expect(int(2*i) + 2)
			}
			time.Sleep(100 * time.Millisecond) // for what must not come
			far.expect(6)
			for i, p := range near.expect(6) {
				if down := i%2 == 1; down && (p.Topic != "x/down" || p.QoS != byte(i/2) || p.Retain != (i == 3)) {
					t.Errorf("%d: %+v", i, p)
				}
			}
			far.publish(&paho.Publish{Topic: "x/down", QoS: 1, Retain: true})
		})
	}
}

// fence returns when everything that was published before, and was passed on over up to that
// many bridges, has arrived: order is kept on each bridge, so that what a client publishes when it
// has the fence of a round comes behind everything that took the same way. Each fence of a test
// has a name of its own.
func fence(t *testing.T, clients []*client, name string, bridges int) {
	t.Helper()
	for round := range bridges {
		for i, c := range clients {
			for qos := range byte(2) { // messages of different QoS may overtake each other
				c.say(fmt.Sprintf("fence/%s/%d/%d", name, round, i), fmt.Sprint(qos+1), qos+1)
			}
		}
		for _, c := range clients {
			eventually(t, "the fence", func() bool {
				n := 0
				for _, p := range c.received() {
					if strings.HasPrefix(p.Topic, fmt.Sprintf("fence/%s/%d/", name, round)) {
						n++
					}
				}
				return n >= 2*len(clients)
			})
		}
	}
}

// once checks that each client has these messages, each once, in any order.
func once(t *testing.T, clients []*client, want []string) {
	t.Helper()
	slices.Sort(want)
	for i, c := range clients {
		got := slices.DeleteFunc(short(c.received()), func(s string) bool { return strings.HasPrefix(s, "fence/") })
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("client %d: %d messages in place of %d", i, len(got), len(want))
		}
	}
}

// ring is two Patchbays and a Mosquitto, each bridged with each other both ways, with a client at
// each of them, and the networks of the three bridges.
func ring(t *testing.T, version string) (clients []*client, nets []*bridgetest.Proxy) {
	t.Helper()
	m := startMosquitto(t, "")
	one, two := startNode(t, "one"), startNode(t, "two")
	bridge := func(from *node, rt pluginhost.Runtime, name, addr, version string) {
		net := bridgetest.StartProxy(t, addr)
		nets = append(nets, net)
		from.bridge(rt, "to-"+name, fmt.Sprintf(`{"remote":{"name":%q,"servers":["mqtt://%s"],"version":%q,"retry_min":"20ms"},"loops":{"max_hops":1},
			"routes":[{"name":"all","direction":"both","filters":["#"]}]}`, name, net.Addr, version))
		from.connected("to-" + name)
	}
	bridge(one, pluginhost.Builtin, "two", two.addr, "5")
	bridge(one, pluginhost.Builtin, "m", m, version)
	bridge(two, pluginhost.Process, "m", m, version)
	for _, addr := range []string{one.addr, two.addr, m} {
		clients = append(clients, connect(t, addr, "c").subscribe("#"))
	}
	return clients, nets
}

// publishRing has the clients of a ring publish n messages in turn; before is told of each, and
// says the QoS.
func publishRing(clients []*client, n int, before func(i int) (qos byte)) (want []string) {
	for i := range n {
		qos := before(i)
		c := i % len(clients)
		clients[c].say(fmt.Sprintf("t/%d", c), fmt.Sprint(i), qos)
		want = append(want, fmt.Sprintf("t/%d %d", c, i))
	}
	return want
}

// In a ring with a Mosquitto, bridged both ways, there is no loop, and each message arrives
// once everywhere; with QoS 2 also when bridges lose their connections meanwhile.
func TestRing(t *testing.T) {
	clients, nets := ring(t, "5")
	want := publishRing(clients, 300, func(i int) byte { return byte(1 + i%2) })
	fence(t, clients, "first", 3)
	once(t, clients, want)
	want = append(want, publishRing(clients, 300, func(i int) byte {
		if i%20 == 10 {
			nets[i/20%len(nets)].Cut()
		}
		return 2
	})...)
	fence(t, clients, "second", 3)
	once(t, clients, want)
}

// Over 3.1.1 there are no paths, so that in a ring messages arrive by both ways, but none
// goes round.
func TestRing311(t *testing.T) {
	clients, _ := ring(t, "3.1.1")
	want := publishRing(clients, 90, func(i int) byte { return byte(1 + i%2) })
	fence(t, clients, "all", 3)
	slices.Sort(want)
	for i, c := range clients {
		got := slices.DeleteFunc(short(c.received()), func(s string) bool { return strings.HasPrefix(s, "fence/") })
		if len(got) > 2*len(want) {
			t.Errorf("client %d: %d messages in place of %d, each twice", i, len(got), len(want))
		}
		slices.Sort(got)
		if !slices.Equal(slices.Compact(got), want) {
			t.Errorf("client %d: %d different messages in place of %d", i, len(slices.Compact(got)), len(want))
		}
	}
}

// A real ring, in which messages go on: nothing goes round without end.
func TestRingOfPaths(t *testing.T) {
	one, two, three := startNode(t, "one"), startNode(t, "two"), startNode(t, "three")
	const config = `{"remote":{"name":%q,"servers":["mqtt://%s"]},"routes":[{"name":"all","filters":["#"]}]}`
	one.bridge(pluginhost.Builtin, "b", fmt.Sprintf(config, "two", two.addr))
	two.bridge(pluginhost.Builtin, "b", fmt.Sprintf(config, "three", three.addr))
	three.bridge(pluginhost.Builtin, "b", fmt.Sprintf(config, "one", one.addr))
	clients := []*client{connect(t, one.addr, "c").subscribe("#"), connect(t, two.addr, "c").subscribe("#"), connect(t, three.addr, "c").subscribe("#")}
	var want []string
	for i, c := range clients {
		c.say(fmt.Sprintf("t/%d", i), "x", 1)
		want = append(want, fmt.Sprintf("t/%d x", i))
	}
	fence(t, clients, "all", 4)
	once(t, clients, want)
}
