//go:build linux

package bridgemqtt

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/bridgemqtt/internal/mqtt"
)

// brokerProcess is the whole program, which can be killed.
type brokerProcess struct {
	t              testing.TB
	program, conf  string
	addr, dir, log string
	cmd            *exec.Cmd
	peak           int // KiB of resident memory, the plugin's process included
}

func newProcess(t testing.TB, program, name, plugins string) *brokerProcess {
	t.Helper()
	b := &brokerProcess{t: t, program: program, addr: freeAddr(t), dir: filepath.Join(t.TempDir(), name)}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.conf, b.log = filepath.Join(b.dir, "patchbay.yaml"), filepath.Join(b.dir, "log")
	text := fmt.Sprintf("listeners: [{tcp: %q}]\nadmin: {listen: off}\ndata_dir: %q\n%s", b.addr, filepath.Join(b.dir, "data"), plugins)
	if err := os.WriteFile(b.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.kill()
		if t.Failed() {
			text, _ := os.ReadFile(b.log)
			t.Logf("end of the log of %s:\n%s", name, text[max(0, len(text)-6000):])
		}
	})
	b.start()
	return b
}

func (b *brokerProcess) start() {
	b.t.Helper()
	f, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	b.cmd = exec.Command(b.program, "serve", "--config", b.conf)
	b.cmd.Stdout, b.cmd.Stderr, b.cmd.Dir = f, f, b.dir
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *brokerProcess) kill() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// children are the plugins' processes.
func (b *brokerProcess) children() (list []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, _ := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(b.cmd.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			list = append(list, pid)
		}
	}
	return list
}

// measure notes how much memory there is in use.
func (b *brokerProcess) measure() {
	sum := 0
	for _, pid := range append(b.children(), b.cmd.Process.Pid) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if _, rest, ok := strings.Cut(string(text), "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			sum += kib
		}
	}
	b.peak = max(b.peak, sum)
}

// tap is a client that is always there again, and keeps what it gets.
type tap struct {
	link *mqtt.Link
	mu   sync.Mutex
	got  []string       // topic and number, in order
	seen map[string]int // how often
	ack  map[string]bool
	out  int // published, and not answered
}

func newTap(ctx context.Context, addr, id string, filters ...string) *tap {
	s, _ := mqtt.ParseServer("mqtt://" + addr)
	o := mqtt.Options{
		Servers: []*mqtt.Server{s}, Versions: []mqtt.Version{mqtt.V5}, ClientID: id, SessionExpiry: 3600, KeepAlive: 30 * time.Second,
		ConnectTimeout: 2 * time.Second, ReceiveMaximum: 1000, MaxInflight: 500, MaxPacket: 1 << 20, RetryMin: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond,
	}
	for _, f := range filters {
		o.Subscribe = append(o.Subscribe, mqtt.Subscription{Filter: f, QoS: 1})
	}
	x := &tap{link: mqtt.New(o), seen: map[string]int{}, ack: map[string]bool{}}
	go x.link.Run(ctx)
	go func() {
		for {
			list, err := x.link.Receive(ctx, 1000, 1<<20)
			if err != nil {
				return
			}
			x.mu.Lock()
			for _, m := range list {
				key := m.Topic + " " + string(m.Payload)
				if x.seen[key]++; x.seen[key] == 1 {
					x.got = append(x.got, key)
				}
			}
			x.mu.Unlock()
			x.link.Acknowledge(list)
		}
	}()
	return x
}

// publish publishes, and notes when it is acknowledged.
func (x *tap) publish(topic, payload string) {
	key := topic + " " + payload
	x.mu.Lock()
	x.out++
	x.mu.Unlock()
	x.link.Publish([]*mqtt.Outgoing{{Message: mqtt.Message{Topic: topic, Payload: []byte(payload), QoS: 1}, Done: func(code byte, _ string) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.out--
		if code < 0x80 {
			x.ack[key] = true
		}
	}}})
}

func (x *tap) waiting() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.out
}

func (x *tap) acknowledged() map[string]bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := map[string]bool{}
	for k := range x.ack {
		out[k] = true
	}
	return out
}

// missing counts what of want is not there.
func (x *tap) missing(want map[string]bool, topic string) (n int, example string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range want {
		if strings.HasPrefix(k, topic) && x.seen[k] == 0 {
			n, example = n+1, k
		}
	}
	return n, example
}

// The broker, the plugin's process and the other broker are killed, and the network
// between them is cut, while there is load: BRIDGE_KILLS says how often each.
func TestKills(t *testing.T) {
	kills, _ := strconv.Atoi(os.Getenv("BRIDGE_KILLS"))
	if kills == 0 {
		t.Skip("BRIDGE_KILLS=50 kills each of the processes 50 times, for about 5 minutes")
	}
	program := filepath.Join(t.TempDir(), "patchbay")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/patchbay").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	there := newProcess(t, program, "there", "")
	net := startProxy(t, there.addr)
	here := newProcess(t, program, "here", fmt.Sprintf(`plugins:
  - name: b
    plugin: bridge-mqtt
    runtime: process
    optional: true # a plugin that is killed while the broker starts does not end that
    config:
      loops: {node: here}
      remote: {name: there, servers: ["mqtt://%s"], keep_alive: 2s, connect_timeout: 1s, retry_min: 20ms, retry_max: 200ms}
      routes:
        - {name: plain, filters: ["plain/#"], batch_messages: 64, retry_max: 500ms}
        - {name: sure, filters: ["sure/#"], ack: after_remote, retry_max: 500ms}
`, net.addr()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	far := newTap(ctx, there.addr, "far", "#")
	pub := newTap(ctx, here.addr, "pub")
	stop, stopped := make(chan struct{}), make(chan struct{})
	sent := 0
	go func() {
		defer close(stopped)
		for ; ; sent++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			pub.publish([]string{"plain/1", "plain/2", "sure/1", "sure/2"}[sent%4], strconv.Itoa(sent))
			for pub.waiting() > 2000 { // of a load, not a flood
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	}()
	rng := rand.New(rand.NewSource(int64(kills)))
	var todo []int
	for range kills {
		todo = append(todo, 0, 1, 2, 3)
	}
	rng.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	for n, what := range todo {
		time.Sleep(time.Duration(200+rng.Intn(600)) * time.Millisecond)
		here.measure()
		switch what {
		case 0:
			here.kill()
			here.start()
		case 1:
			for _, pid := range here.children() {
				if p, err := os.FindProcess(pid); err == nil {
					_ = p.Kill()
				}
			}
		case 2:
			there.kill()
			there.start()
		case 3:
			switch rng.Intn(3) {
			case 0:
				net.cut()
			case 1: // half-open
				net.set(func() { net.stall = true })
				time.Sleep(time.Duration(rng.Intn(1500)) * time.Millisecond)
				net.cut()
				net.set(func() { net.stall = false })
			case 2: // 1 KB/s
				net.set(func() { net.pause = time.Second })
				time.Sleep(2 * time.Second)
				net.set(func() { net.pause = 0 })
			}
		}
		if (n+1)%20 == 0 {
			t.Logf("%d faults, %d messages sent, %d acknowledged, %d there, %d KiB at most", n+1, sent, len(pub.acknowledged()), len(far.snapshot()), here.peak)
		}
	}
	close(stop)
	<-stopped
	// Every message that was acknowledged gets there.
	eventuallyIn(t, 2*time.Minute, "everything acknowledged is there", func() bool {
		here.measure()
		if pub.waiting() > 0 {
			return false
		}
		n, _ := far.missing(pub.acknowledged(), "")
		return n == 0
	})
	if n := len(pub.acknowledged()); n < sent/2 {
		t.Errorf("%d of %d were acknowledged", n, sent)
	}
	inOrder(t, far.snapshot())
	// What was acknowledged with after_remote is there without this broker.
	for i := range kills {
		before := pub.acknowledged()
		for j := range 200 {
			pub.publish("sure/1", strconv.Itoa(sent+200*i+j))
		}
		eventuallyIn(t, time.Minute, "some are acknowledged", func() bool { return len(pub.acknowledged()) > len(before)+rng.Intn(100) })
		net.cut()
		here.kill()
		acknowledged := pub.acknowledged()
		eventuallyIn(t, time.Minute, "what was acknowledged is there while this broker is dead", func() bool {
			n, _ := far.missing(acknowledged, "sure/")
			return n == 0
		})
		here.start()
	}
	again := 0
	far.mu.Lock()
	for _, n := range far.seen {
		again += n - 1
	}
	far.mu.Unlock()
	t.Logf("%d messages, %d came again; memory of the broker and the plugin: %d KiB at most", sent, again, here.peak)
}

func (x *tap) snapshot() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]string(nil), x.got...)
}

func eventuallyIn(t *testing.T, limit time.Duration, what string, fn func() bool) {
	t.Helper()
	for until := time.Now().Add(limit); !fn(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// inOrder checks that the first arrivals of each topic are in the order of publication.
func inOrder(t *testing.T, got []string) {
	t.Helper()
	last := map[string]int{}
	for _, key := range got {
		topic, number, _ := strings.Cut(key, " ")
		n, _ := strconv.Atoi(number)
		if n < last[topic] {
			t.Errorf("%s: %d came after %d", topic, n, last[topic])
		}
		last[topic] = n
	}
}
