package bridge_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// line is what the bridge writes of a message.
type line struct {
	Offset        uint64 `json:"offset"`
	Topic         string `json:"topic"`
	QoS           uint32 `json:"qos"`
	Client        string `json:"client"`
	Payload       string `json:"payload"`
	PayloadBase64 []byte `json:"payload_base64"`
}

// read returns the whole lines of a file.
func read(t testing.TB, path string) (list []line) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for one := range bytes.Lines(text) {
		var l line
		if bytes.HasSuffix(one, []byte("\n")) {
			if err := json.Unmarshal(one, &l); err != nil {
				t.Fatalf("%s: %v", one, err)
			}
			list = append(list, l)
		}
	}
	return list
}

func batch(offset uint64, payloads ...string) *pluginv1.ConsumeBatch {
	b := &pluginv1.ConsumeBatch{Consumer: "out", Clients: []pluginv1.Client{{ClientID: "c1"}}}
	for i, p := range payloads {
		b.Deliveries = append(b.Deliveries, pluginv1.Delivery{
			Offset: offset + uint64(i), Attempt: 1, Client: 1, Message: &pluginv1.Message{Topic: "plant/1", QoS: 1, Payload: []byte(p)},
		})
	}
	return b
}

func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.jsonl")
	// What a crash has left: a line, and a half.
	if err := os.WriteFile(file, []byte(`{"offset":1,"payload":"old"}`+"\n"+`{"offset":2,"payl`), 0o600); err != nil {
		t.Fatal(err)
	}
	host := plugintest.NewHost()
	p := plugintest.Start(t, plugintest.Process(plugin(t)), host, fmt.Sprintf(`{"topics":["plant/#"],"file":%q}`, file))
	for range 2 { // the same comes again after an answer that got lost
		r, err := p.ConsumeErr(batch(2, "21.5", "ü\n", "\xff"))
		if err != nil || r.AcknowledgedOffset != 4 || r.Error != "" {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	var got []string
	for _, l := range read(t, file) {
		got = append(got, fmt.Sprintf("%d %s %s%s", l.Offset, l.Client, l.Payload, l.PayloadBase64))
	}
	if want := []string{"1  old", "2 c1 21.5", "3 c1 ü\n", "4 c1 \xff", "2 c1 21.5", "3 c1 ü\n", "4 c1 \xff"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(host.Calls(pluginv1.HostOpLog)) == 0 {
		t.Error("it has not logged")
	}
}

func TestHTTP(t *testing.T) {
	var got atomic.Value
	var refuse atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Store(r.Header.Get("Content-Type") + " " + string(body))
		if refuse.Load() {
			http.Error(w, "later", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	p := plugintest.Start(t, plugintest.Process(plugin(t)), plugintest.NewHost(), fmt.Sprintf(`{"topics":["#"],"url":%q}`, server.URL))
	health := func() pluginv1.HealthStatus {
		h, err := p.Plugin.Health(t.Context(), &pluginv1.HealthRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return h.Status
	}
	refuse.Store(true)
	if r, err := p.ConsumeErr(batch(7, "x")); err != nil || r.AcknowledgedOffset != 0 || !strings.Contains(r.Error, "503") {
		t.Errorf("refused: %+v, %v", r, err)
	}
	if got := health(); got != pluginv1.HealthStatusDegraded {
		t.Error(got)
	}
	refuse.Store(false)
	if r, err := p.ConsumeErr(batch(7, "x", "y")); err != nil || r.AcknowledgedOffset != 8 {
		t.Errorf("taken: %+v, %v", r, err)
	}
	if got := health(); got != pluginv1.HealthStatusServing {
		t.Error(got)
	}
	if s := got.Load().(string); !strings.HasPrefix(s, `application/x-ndjson {"offset": 7`) || strings.Count(s, "\n") != 2 {
		t.Error(s)
	}
}

// What the plugin says of itself.
func TestManifest(t *testing.T) {
	p, res := plugintest.StartResponse(t, plugintest.Process(plugin(t)), plugintest.NewHost(), `{"topics":["a","b/#"],"file":`+fmt.Sprintf("%q}", filepath.Join(t.TempDir(), "f")))
	if n := res.Narrowed; n == nil || len(n.Consumers) != 1 || strings.Join(n.Consumers[0].TopicFilters, " ") != "a b/#" || n.Consumers[0].Fields != uint32(sdk.FieldPayload) {
		t.Errorf("narrowed: %+v", n)
	}
	for config, want := range map[string]string{
		`{"topics":["a"]}`: " one of file and url", `{"topics":["a"],"file":"/nowhere/f"}`: "/file [Errno 2]",
	} {
		_, res := plugintest.StartResponse(t, plugintest.Process(plugin(t)), plugintest.NewHost(), config)
		if len(res.Problems) != 1 || !strings.HasPrefix(res.Problems[0].Pointer+" "+res.Problems[0].Message, want) {
			t.Errorf("%s: %+v", config, res.Problems)
		}
	}
	// Every key of the config is in the README.
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct{ Properties map[string]any }
	if err := json.Unmarshal([]byte(p.Manifest.ConfigSchema), &schema); err != nil || len(schema.Properties) < 4 {
		t.Fatal(schema, err)
	}
	for key := range schema.Properties {
		if !strings.Contains(string(readme), "| `"+key+"` |") {
			t.Errorf("%s is not in the README", key)
		}
	}
	// The file that belongs beside it in a plugin folder is the same.
	out, err := exec.Command(plugin(t), "manifest").Output()
	m := &pluginv1.Manifest{}
	if err != nil || v1json.UnmarshalJSON(out, m) != nil || !pluginv1.Equal(m, p.Manifest) {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := exec.Command(plugin(t)).CombinedOutput(); err == nil || !strings.Contains(string(out), "a broker runs it") {
		t.Errorf("%s, %v", out, err)
	}
}

var kills = flag.Int("kills", 6, "how often TestNothingLost kills the broker or the plugin, `N`")

// TestNothingLost: the broker and the plugin are killed by turns while messages come, and all
// that was acknowledged is in the file, in its order.
func TestNothingLost(t *testing.T) {
	content, err := os.ReadFile(plugin(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "out.jsonl")
	b := startBroker(t, fmt.Sprintf("  - name: out\n    path: %s\n    sha256: %x\n    config: {topics: [\"plant/#\"], file: %s}\n",
		plugin(t), sha256.Sum256(content), file))
	load := publish(t, b.addr)
	killed := 0
	for round := range *kills {
		more := load.acknowledged.Load() + 40
		eventually(t, "messages are acknowledged", func() bool { return load.acknowledged.Load() >= more })
		if round%2 == 0 {
			b.kill()
			b.start()
			killed++
			continue
		}
		var pid int
		eventually(t, "the plugin runs", func() bool { pid = b.pid(); return pid != 0 })
		if p, err := os.FindProcess(pid); err == nil && p.Kill() == nil {
			killed++
		}
	}
	last := load.stop()
	if killed < *kills-1 {
		t.Errorf("%d kills", killed)
	}
	eventually(t, fmt.Sprintf("message %d is in the file\n%s", last, b.log()), func() bool {
		list := read(t, file)
		return slices.ContainsFunc(list, func(l line) bool { return l.Payload == fmt.Sprint(last) })
	})
	seen, highest, twice := map[string]bool{}, 0, 0
	for _, l := range read(t, file) {
		var n int
		if fmt.Sscan(l.Payload, &n); seen[l.Payload] {
			twice++
			continue
		}
		if seen[l.Payload] = true; n < highest {
			t.Errorf("%d comes first after %d", n, highest)
		}
		highest = n
	}
	for _, n := range load.list {
		if !seen[fmt.Sprint(n)] {
			t.Errorf("%d was acknowledged, and is lost", n)
		}
	}
	t.Logf("%d kills, %d acknowledged, %d in the file, %d of them again", killed, len(load.list), len(seen)+twice, twice)
}

// pid is the plugin's process, 0 if there is none.
func (b *broker) pid() int {
	out, err := b.command("plugin", "list", "--json").Output()
	if err != nil {
		return 0
	}
	s := bufio.NewScanner(bytes.NewReader(out))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var i pluginhost.Info
		if json.Unmarshal(s.Bytes(), &i) == nil && i.Name == "out" && i.State == "serving" {
			return i.PID
		}
	}
	return 0
}

// load is a publisher of numbers, one after the other, with QoS 1.
type load struct {
	acknowledged atomic.Int64
	list         []int // what was acknowledged, to be read after stop
	cancel       context.CancelFunc
	done         sync.WaitGroup
}

func publish(t *testing.T, addr string) *load {
	l := &load{}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.done.Go(func() {
		var c *paho.Client
		for n := 0; ctx.Err() == nil; n++ {
			// A number that was not acknowledged may have arrived; it is not sent again, so
			// that the order is that of the first time.
			if c == nil {
				if c = connect(ctx, addr); c == nil {
					time.Sleep(20 * time.Millisecond)
					continue
				}
			}
			// The client would wait for the answer though the connection is gone.
			one, done := context.WithCancel(ctx)
			lost := c.Done()
			go func() {
				select {
				case <-lost:
				case <-one.Done():
				}
				done()
			}()
			ack, err := c.Publish(one, &paho.Publish{Topic: "plant/1", QoS: 1, Payload: fmt.Append(nil, n)})
			done()
			if err != nil || ack.ReasonCode >= 0x80 {
				c = nil
				continue
			}
			l.list = append(l.list, n)
			l.acknowledged.Add(1)
		}
		if c != nil {
			_ = c.Disconnect(&paho.Disconnect{})
		}
	})
	t.Cleanup(func() { l.stop() })
	return l
}

func connect(ctx context.Context, addr string) *paho.Client {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil
	}
	c := paho.NewClient(paho.ClientConfig{Conn: nc, PacketTimeout: patience})
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := c.Connect(short, &paho.Connect{ClientID: "load", CleanStart: true, KeepAlive: 60}); err != nil {
		nc.Close()
		return nil
	}
	return c
}

// stop ends it, and returns the last number that was acknowledged.
func (l *load) stop() int {
	l.cancel()
	l.done.Wait()
	if len(l.list) == 0 {
		return -1
	}
	return l.list[len(l.list)-1]
}
