package bridgemqtt

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// freeAddr is an address on which nobody listens now.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startMosquitto runs a Mosquitto.
func startMosquitto(t testing.TB, config string) (addr string) {
	t.Helper()
	addr, _ = startMosquittoPID(t, config)
	return addr
}

func startMosquittoPID(t testing.TB, config string) (addr string, pid int) {
	t.Helper()
	file, err := exec.LookPath("mosquitto")
	if err != nil {
		t.Skip("no mosquitto here")
	}
	addr = freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n" + config
	if os.Getuid() == 0 {
		text = "user root\n" + text
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file, "-c", conf)
	log := new(logs)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of mosquitto:\n%.4000s", log)
		}
	})
	eventually(t, "mosquitto", func() bool {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	return addr, cmd.Process.Pid
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

// Two Patchbays and a Mosquitto, each bridged with each other both ways: no loop, and each
// message arrives once everywhere.
func TestRing(t *testing.T) {
	m := startMosquitto(t, "")
	one, two := startNode(t, "one"), startNode(t, "two")
	const config = `{"remote":{"name":%q,"servers":["mqtt://%s"],"version":"5"},"loops":{"max_hops":1},"routes":[{"name":"all","direction":"both","filters":["#"]}]}`
	one.bridge(pluginhost.Builtin, "to-two", fmt.Sprintf(config, "two", two.addr))
	one.bridge(pluginhost.Builtin, "to-m", fmt.Sprintf(config, "m", m))
	two.bridge(pluginhost.Process, "to-m", fmt.Sprintf(config, "m", m))
	for _, n := range []*node{one, two} {
		for _, s := range n.specs {
			n.connected(s.Name)
		}
	}
	clients := []*client{connect(t, one.addr, "c").subscribe("#"), connect(t, two.addr, "c").subscribe("#"), connect(t, m, "c").subscribe("#")}
	const n = 60
	var want []string
	for i := range n {
		c := i % 3
		clients[c].say(fmt.Sprintf("t/%d", c), fmt.Sprint(i), byte(1+i%2))
		want = append(want, fmt.Sprintf("t/%d %d", c, i))
	}
	slices.Sort(want)
	for i, c := range clients {
		eventually(t, "all of it", func() bool { return len(c.received()) >= n })
		time.Sleep(200 * time.Millisecond) // for what must not come
		got := short(c.received())
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("client %d: %d messages in place of %d", i, len(got), n)
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
	for i, c := range clients {
		c.say(fmt.Sprintf("t/%d", i), "x", 1)
	}
	for _, c := range clients {
		eventually(t, "one of each", func() bool { return len(c.received()) >= 3 })
	}
	time.Sleep(300 * time.Millisecond) // for what must not come
	for i, c := range clients {
		if got := short(c.received()); len(got) != 3 {
			t.Errorf("client %d: %v", i, got)
		}
	}
}
