// Package bridgetest shows that a bridge loses nothing: it runs the real broker with the
// bridge, puts load on it, kills it, the plugin and the other side again and again, has the
// network between them fail, and counts. It is for tests only.
//
//	Publisher ──► Broker (process) ── plugin (process) ──► Proxy ──► the other side (Process)
//	    │            ▲                    ▲                  ▲              ▲      │
//	    │            └────── kill -9 ─────┴── kill -9        └ cut, half-open,     │
//	    │                                                      1 KB/s   kill -9 ───┘
//	    └──► Ledger: what was acknowledged ◄── Chaos.Run ◄── Arrived: what is there
//
// A test is put together of these parts and ends with Chaos.Run, which returns Figures:
//
//	l := bridgetest.NewLedger()
//	there := bridgetest.StartProcess(t, bridgetest.ProcessOptions{…})
//	net := bridgetest.StartProxy(t, thereAddr)
//	here := bridgetest.StartBroker(t, bridgetest.BrokerOptions{Plugins: "  - {name: b, …, runtime: process, …}"})
//	load := bridgetest.Publish(t, l, bridgetest.PublisherOptions{Addr: here.Addr, Keys: []string{"plain/1", "sure/1"}})
//	t.Log(bridgetest.Chaos{Here: here, There: there, Network: net, Ledger: l, Load: load, Arrived: read, Sure: sure}.Run(t))
//
// What has to be true is in ledger.go: everything acknowledged arrives, the first arrivals of
// each key are in order, nothing arrives that was not sent, and with ack: after_remote nothing
// is acknowledged that the other side has not. By default each is killed a few times;
// for figures, and to repeat what was seen:
//
//	go test ./plugins/bridgemqtt -run Chaos -v -timeout 30m -args -chaos.kills 50 -chaos.seed 1
//
// A test's TestMain is os.Exit(bridgetest.Main(m, roles)): it removes the programs that were
// built, and makes the test's own binary the other side, if roles has one (Role).
//
// It knows nothing of the bridges, and of the broker what a user knows: its command line,
// its config, and MQTT.
//
// Start at chaos.go; ledger.go, publisher.go, subscriber.go, broker.go, process.go, proxy.go.
package bridgetest
