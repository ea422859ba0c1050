//go:build linux

package bridgemqtt

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgemqtt/internal/mqtt"
	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// BenchmarkBridge takes messages of QoS 1 and 100 bytes from one broker to a Mosquitto, by
// this bridge and by Mosquitto's own: ns/op is until all are there, cpu-ns/op what the broker
// that bridges has used for each, its plugin included, and MiB the most memory that it has had.
//
//	go test ./plugins/bridgemqtt -run none -bench Bridge -benchtime 200000x -count 5
func BenchmarkBridge(b *testing.B) {
	for _, by := range []string{"builtin", "process", "mosquitto"} {
		b.Run(by, func(b *testing.B) {
			there, _ := mosquitto(b, "max_inflight_messages 500\n")
			addr, here := bridgingBroker(b, by, there)
			far, near := newFlood(b, there, "far", "up/#"), newFlood(b, addr, "near")
			near.publish(1)
			far.await(b, 1)
			before := cpu(here)
			b.ResetTimer()
			near.publish(b.N)
			far.await(b, int64(1+b.N))
			b.StopTimer()
			b.ReportMetric(float64(cpu(here)-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(peak(here))/1024, "MiB")
		})
	}
}

// bridgingBroker starts a broker with a bridge to another: this one, or a Mosquitto, which too
// is to keep what waits.
func bridgingBroker(b *testing.B, by, there string) (addr string, p *bridgetest.Process) {
	if by == "mosquitto" {
		return mosquitto(b, fmt.Sprintf(`max_inflight_messages 500
persistence true
persistence_location %s/
connection b
address %s
topic up/# out 1
cleansession false
bridge_protocol_version mqttv50
bridge_max_packet_size 0
`, b.TempDir(), there))
	}
	broker := bridgetest.StartBroker(b, bridgetest.BrokerOptions{Plugins: fmt.Sprintf(`  - name: b
    plugin: bridge-mqtt
    runtime: %s
    config:
      loops: {node: here}
      remote: {name: there, servers: ["mqtt://%s"]}
      routes: [{name: up, filters: ["up/#"], batch_messages: 1024}]
`, by, there)})
	return broker.Addr, broker.Process
}

// cpu is what a broker has used.
func cpu(p *bridgetest.Process) (d time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	for _, pid := range append(p.Children(), p.PID()) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 12 {
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			d += time.Duration(user+system) * tick
		}
	}
	return d
}

// flood is a client that publishes as fast as it can, and counts what it gets. The bridge's own
// client serves, since it takes less of the machine than what is measured.
type flood struct {
	link *mqtt.Link
	got  atomic.Int64
}

func newFlood(b *testing.B, addr, id string, filters ...string) *flood {
	s, err := mqtt.ParseServer("mqtt://" + addr)
	if err != nil {
		b.Fatal(err)
	}
	o := mqtt.Options{
		Servers: []*mqtt.Server{s}, Versions: []mqtt.Version{mqtt.V5}, ClientID: id, KeepAlive: time.Minute, ConnectTimeout: wait,
		ReceiveMaximum: 1000, MaxInflight: 500, MaxPacket: 1 << 20, RetryMin: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond,
	}
	for _, f := range filters {
		o.Subscribe = append(o.Subscribe, mqtt.Subscription{Filter: f, QoS: 1})
	}
	x := &flood{link: mqtt.New(o)}
	ctx, cancel := context.WithCancel(b.Context())
	b.Cleanup(cancel)
	go x.link.Run(ctx)
	go func() {
		for {
			list, err := x.link.Receive(ctx, 1000, 1<<20)
			if err != nil {
				return
			}
			x.got.Add(int64(len(list)))
			x.link.Acknowledge(list)
		}
	}()
	eventually(b, id+" is connected", func() bool { s, _ := x.link.State(); return s.Connected })
	return x
}

func (x *flood) publish(n int) {
	list := make([]*mqtt.Outgoing, n)
	payload := []byte(strings.Repeat("x", 92))
	for i := range list {
		list[i] = &mqtt.Outgoing{
			Message: mqtt.Message{Topic: "up/" + strconv.Itoa(i%16), Payload: fmt.Appendf(payload[:92:92], "%08d", i), QoS: 1}, Done: func(byte, string) {},
		}
	}
	x.link.Publish(list)
}

func (x *flood) await(b *testing.B, n int64) {
	for until := time.Now().Add(2 * time.Minute); x.got.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			b.Fatalf("%d of %d are there", x.got.Load(), n)
		}
	}
}
