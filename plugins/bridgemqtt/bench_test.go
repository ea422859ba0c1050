//go:build linux

package bridgemqtt

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgemqtt/internal/mqtt"
)

// cpu is what processes have used.
func cpu(pids ...int) (d time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	for _, pid := range pids {
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

// BenchmarkBridge takes messages of QoS 1 and 100 bytes from one broker to a Mosquitto, by
// this bridge and by Mosquitto's own: ns/op is until they are there, cpu-ns/op what the
// broker that bridges has used, its plugin included.
//
//	go test ./plugins/bridgemqtt -run none -bench Bridge -benchtime 200000x
func BenchmarkBridge(b *testing.B) {
	if _, err := exec.LookPath("mosquitto"); err != nil {
		b.Skip("no mosquitto here")
	}
	program := filepath.Join(b.TempDir(), "patchbay")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/patchbay").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, by := range []string{"builtin", "process", "mosquitto"} {
		b.Run(by, func(b *testing.B) {
			there := startMosquitto(b, "max_inflight_messages 500\n")
			var addr string
			var pids func() []int
			if by == "mosquitto" {
				addr, pids = mosquittoBridge(b, there)
			} else {
				addr, pids = patchbayBridge(b, program, there, by)
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			far, pub := newTap(ctx, there, "far", "up/#"), newTap(ctx, addr, "pub")
			pub.publish("up/0", "first")
			eventually(b, "the bridge works", func() bool { n, _ := far.missing(map[string]bool{"up/0 first": true}, ""); return n == 0 })
			before := cpu(pids()...)
			b.ResetTimer()
			list := make([]*mqtt.Outgoing, b.N)
			payload := []byte(strings.Repeat("x", 92))
			for i := range list {
				list[i] = &mqtt.Outgoing{
					Message: mqtt.Message{Topic: "up/" + strconv.Itoa(i%16), Payload: fmt.Appendf(payload[:92:92], "%08d", i), QoS: 1}, Done: func(byte, string) {},
				}
			}
			pub.link.Publish(list)
			for until := time.Now().Add(2 * time.Minute); far.count() <= b.N; time.Sleep(time.Millisecond) {
				if time.Now().After(until) {
					b.Fatalf("%d of %d are there", far.count(), b.N)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(cpu(pids()...)-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// count is how many different messages there are.
func (x *tap) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.got)
}

func patchbayBridge(b *testing.B, program, there, runtime string) (addr string, pids func() []int) {
	p := newProcess(b, program, "here", fmt.Sprintf(`plugins:
  - name: b
    plugin: bridge-mqtt
    runtime: %s
    config:
      loops: {node: here}
      remote: {name: there, servers: ["mqtt://%s"]}
      routes: [{name: up, filters: ["up/#"], batch_messages: 1024}]
`, runtime, there))
	return p.addr, func() []int { return append(p.children(), p.cmd.Process.Pid) }
}

// mosquittoBridge is a Mosquitto with a bridge, which keeps on disk what waits, as this
// broker does.
func mosquittoBridge(b *testing.B, there string) (addr string, pids func() []int) {
	dir := b.TempDir()
	addr, pid := startMosquittoPID(b, fmt.Sprintf("max_inflight_messages 500\npersistence true\npersistence_location %s/\nconnection b\naddress %s\ntopic up/# out 1\ncleansession false\nbridge_protocol_version mqttv50\nbridge_max_packet_size 0\n",
		dir, there))
	return addr, func() []int { return []int{pid} }
}
