package devices_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	devices "github.com/patchbay-mq/patchbay/examples/auth-devices-go"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

const (
	key    = "0123456789abcdef"
	config = `{"key":"` + key + `"}`
)

// files builds the plugin as a program and as WebAssembly.
func files(t *testing.T) (program, module string) {
	t.Helper()
	dir := t.TempDir()
	program, module = filepath.Join(dir, "auth-devices"), filepath.Join(dir, "auth-devices.wasm")
	for _, args := range [][]string{{"-o", program}, {"-buildmode=c-shared", "-o", module}} {
		cmd := exec.Command("go", append(append([]string{"build"}, args...), "./cmd/auth-devices")...)
		if strings.HasSuffix(args[len(args)-1], ".wasm") {
			cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return program, module
}

func TestWithoutABroker(t *testing.T) {
	program, module := files(t)
	for _, r := range []plugintest.Runner{plugintest.Builtin(devices.Plugin()), plugintest.Process(program), plugintest.Wasm(module)} {
		t.Run(r.Name, func(t *testing.T) {
			p := plugintest.Start(t, r, plugintest.NewHost(), config)
			c := &sdk.Client{ClientID: "d7"}
			v := p.Authenticate(t, c, &sdk.Authentication{HasPassword: true, Password: []byte(devices.Password(key, "d7"))})
			if v.ReasonCode != 0 {
				t.Errorf("the right password: %+v", v)
			}
			v = p.Authenticate(t, c, &sdk.Authentication{HasPassword: true, Password: []byte(devices.Password(key, "d8"))})
			if v.ReasonCode != uint32(sdk.BadUserNameOrPassword) {
				t.Errorf("another device's password: %+v", v)
			}
		})
	}
}

// request is one thing that a client asks for, and what the answer has to be.
type request struct {
	id, user, password string // CONNECT
	kind               string // connect, publish, subscribe
	topic              string
	qos                byte
	retain             bool
	want               byte
}

// requests makes n of them, half of them wrong.
func requests(n int) []request {
	rng := rand.New(rand.NewSource(4))
	ids := []string{"d1", "d2", "d3", "plus+", "ops"}
	topics := []string{"devices/d1/t", "devices/d2/t", "devices/d3/a/b", "commands/d1", "commands/all", "status/d1", "status/d2", "x", "devices/plus+/t"}
	filters := []string{"devices/d1/#", "devices/d2/+", "commands/d1", "commands/d2/#", "commands/all", "#", "devices/#", "x"}
	var list []request
	for range n {
		r := request{id: ids[rng.Intn(len(ids))], qos: byte(rng.Intn(2)) + 1, retain: rng.Intn(2) == 0}
		name := r.id
		if r.id == "ops" {
			r.user, name = "operator", "operator"
		}
		r.password = devices.Password(key, name)
		switch rng.Intn(3) {
		case 0:
			r.kind = "connect"
			if rng.Intn(2) == 0 {
				r.password, r.want = devices.Password(key, "somebody"), byte(sdk.BadUserNameOrPassword)
			}
		case 1:
			r.kind, r.topic = "publish", topics[rng.Intn(len(topics))]
			if strings.Contains(r.topic, "+") {
				r.topic = "x"
			}
			if !mayPublish(r) {
				r.want = byte(sdk.NotAuthorized)
			}
		default:
			r.kind, r.topic, r.want = "subscribe", filters[rng.Intn(len(filters))], r.qos
			if !maySubscribe(r) {
				r.want = byte(sdk.NotAuthorized)
			}
		}
		list = append(list, r)
	}
	return list
}

// mayPublish and maySubscribe are the table of the README, said differently.
func mayPublish(r request) bool {
	return r.id == "ops" || r.id != "plus+" &&
		(strings.HasPrefix(r.topic, fmt.Sprintf("devices/%s/", r.id)) || r.topic == "status/"+r.id && r.retain)
}

func maySubscribe(r request) bool {
	if r.id == "ops" {
		return true
	}
	levels := strings.Split(r.topic, "/")
	if len(levels) < 2 || r.id == "plus+" {
		return false
	}
	return levels[0] == "devices" && levels[1] == r.id && len(levels) > 2 || levels[0] == "commands" && levels[1] == r.id || r.topic == "commands/all"
}

// One source in all three runtimes decides the same about the same requests of real
// clients.
func TestSameDecisionsInAllRuntimes(t *testing.T) {
	program, module := files(t)
	for _, s := range []pluginhost.Spec{
		{Runtime: pluginhost.Builtin}, {Path: program, Dev: true}, {Path: module},
	} {
		name := map[string]string{"": "builtin", program: "process", module: "wasm"}[s.Path]
		t.Run(name, func(t *testing.T) {
			s.Name, s.Source, s.Config = "auth-devices", "test", []byte(config)
			addr := start(t, s)
			clients := map[string]*paho.Client{}
			for i, r := range requests(1000) {
				if got := do(t, addr, clients, r); got != r.want {
					t.Fatalf("request %d, %+v: 0x%02X", i, r, got)
				}
			}
		})
	}
}

// start runs a broker with the plugin.
func start(t *testing.T, s pluginhost.Spec) string {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	st := new(store.Memory)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = quiet, st })
	if err != nil {
		t.Fatal(err)
	}
	h, err := pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: st.Values(), NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { return devices.Plugin(), name == "auth-devices" }, Logger: quiet, DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if _, err := h.Apply(t.Context(), []pluginhost.Spec{s}); err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// do makes a request with a client of its id, and returns the Reason Code of the answer.
func do(t *testing.T, addr string, clients map[string]*paho.Client, r request) byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c := clients[r.id]
	if r.kind == "connect" || c == nil {
		if c != nil {
			_ = c.Disconnect(&paho.Disconnect{})
			delete(clients, r.id)
		}
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c = paho.NewClient(paho.ClientConfig{Conn: nc})
		ack, err := c.Connect(ctx, &paho.Connect{
			ClientID: r.id, CleanStart: true, KeepAlive: 60, Username: r.user, UsernameFlag: r.user != "",
			Password: []byte(r.password), PasswordFlag: true,
		})
		if ack == nil {
			t.Fatal(err)
		}
		if err != nil {
			return ack.ReasonCode
		}
		clients[r.id] = c
		t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
		if r.kind == "connect" {
			return ack.ReasonCode
		}
	}
	if r.kind == "publish" {
		ack, err := c.Publish(ctx, &paho.Publish{Topic: r.topic, QoS: r.qos, Retain: r.retain, Payload: []byte("21")})
		if ack == nil {
			t.Fatal(err)
		}
		if ack.ReasonCode == 0x10 { // no matching subscribers: it was accepted
			return 0
		}
		return ack.ReasonCode
	}
	ack, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: r.topic, QoS: r.qos}}})
	if ack == nil {
		t.Fatal(err)
	}
	return ack.Reasons[0]
}
