package bridgemqtt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// remote is the config of a bridge to what is behind a proxy, in YAML.
func remote(addr string) string {
	return fmt.Sprintf(`{name: there, servers: ["mqtt://%s"], keep_alive: 2s, connect_timeout: 1s, retry_min: 20ms, retry_max: 200ms}`, addr)
}

// startChaos starts two brokers with a network between them, and a bridge with these routes.
func startChaos(t *testing.T, routes string) (here, there *bridgetest.Broker, net *bridgetest.Proxy) {
	there = bridgetest.StartBroker(t, bridgetest.BrokerOptions{Name: "there"})
	net = bridgetest.StartProxy(t, there.Addr)
	here = bridgetest.StartBroker(t, bridgetest.BrokerOptions{Name: "here", Plugins: fmt.Sprintf(`  - name: b
    plugin: bridge-mqtt
    runtime: process
    grants: [{publish: ["#"]}]
    config:
      loops: {node: here}
      remote: %s
      routes:
%s`, remote(net.Addr), routes)})
	return here, there, net
}

// The broker, the plugin's process and the other broker are killed, and the network between
// them fails, while messages go there.
func TestChaosOut(t *testing.T) {
	t.Parallel() // it waits, for the most part
	here, there, net := startChaos(t, `
        - {name: plain, filters: ["plain/#"], batch_messages: 64, retry_max: 500ms}
        - {name: sure, filters: ["sure/#"], ack: after_remote, retry_max: 500ms}
`)
	far := bridgetest.Subscribe(t, there.Addr, "far", nil, "#")
	l := bridgetest.NewLedger()
	load := bridgetest.Publish(t, l, bridgetest.PublisherOptions{Addr: here.Addr, Keys: []string{"plain/1", "plain/2", "sure/1", "sure/2"}})
	t.Log(bridgetest.Chaos{
		Here: here, There: there, Network: net, Ledger: l, Load: load, Arrived: far.Arrived,
		Sure: func(key string) bool { return strings.HasPrefix(key, "sure/") },
	}.Run(t))
}

// The same for messages that come from there.
func TestChaosIn(t *testing.T) {
	t.Parallel() // it waits, for the most part
	here, there, net := startChaos(t, `
        - {name: down, direction: in, filters: ["down/#"]}
`)
	near := bridgetest.Subscribe(t, here.Addr, "near", nil, "#")
	bridgetest.Eventually(t, "the bridge has subscribed", func() error {
		out, err := here.Command("bridge", "status", "--json")
		if err == nil && !strings.Contains(out, `"connected":true`) {
			err = errors.New(out)
		}
		return err
	})
	l := bridgetest.NewLedger()
	load := bridgetest.Publish(t, l, bridgetest.PublisherOptions{Addr: there.Addr, Keys: []string{"down/1", "down/2", "down/3"}})
	t.Log(bridgetest.Chaos{Here: here, There: there, Network: net, Ledger: l, Load: load, Arrived: near.Arrived}.Run(t))
}

// While the other broker is away messages wait on disk: as many as there are, the memory of the
// broker and the plugin does not grow with them, and in the end all go, each once.
func TestChaosBacklog(t *testing.T) {
	t.Parallel() // it waits, for the most part
	here, there, net := startChaos(t, `
        - {name: up, filters: ["up/#"], batch_messages: 1024, retry_max: 500ms}
`)
	net.Refuse(true)
	far := bridgetest.Subscribe(t, there.Addr, "far", nil, "#")
	l := bridgetest.NewLedger()
	keys, each, pad := []string{"up/1", "up/2", "up/3", "up/4"}, 500*bridgetest.Kills(), 2000
	load := bridgetest.Publish(t, l, bridgetest.PublisherOptions{Addr: here.Addr, Keys: keys, Rate: 5000, Limit: each, Pad: pad})
	for sent := -1; !load.Done(); { // as long as it goes on, it may take long
		last := sent
		bridgetest.Eventually(t, "more is acknowledged", func() (err error) {
			if sent, _, _ = l.Counts(); sent == last && !load.Done() {
				err = fmt.Errorf("%d messages", sent)
			}
			return err
		})
	}
	n := len(keys) * each
	full := peak(here.Process)
	if full > 512<<10 { // most of it are the store's buffers; -chaos.kills 150 is a backlog of more than that
		t.Errorf("%d KiB of memory with a backlog of %d messages", full, n)
	}
	net.Refuse(false)
	began := time.Now()
	for far.Count() < n {
		last := far.Count()
		bridgetest.Eventually(t, "more arrives", func() error {
			if far.Count() == last {
				return fmt.Errorf("%d of %d", last, n)
			}
			return nil
		})
	}
	arrived, _ := far.Arrived(t.Context())
	promises := l.Promised(nil)
	promises.Keep(arrived)
	twice, problems := l.Check(arrived)
	if _, acknowledged, _ := l.Counts(); acknowledged != n || len(promises) > 0 || twice != 0 || problems != nil {
		t.Errorf("%d of %d acknowledged, missing: %s, %d came again, %v", acknowledged, n, promises, twice, problems)
	}
	t.Logf("a backlog of %d messages, %d MiB: memory of the broker and the plugin at most %d MiB, %d MiB when it had gone, in %s", n, n*(pad+30)>>20, full>>10, peak(here.Process)>>10, time.Since(began).Round(10*time.Millisecond))
}

// peak is the most memory that a broker and its plugins have had, in KiB.
func peak(p *bridgetest.Process) (kib int) {
	for _, pid := range append(p.Children(), p.PID()) {
		kib += bridgetest.PeakMemory(pid)
	}
	return kib
}
