package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/transport"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/sdk"
)

// patience bounds waits for what is bound to happen, also on a machine with much else to do.
const patience = time.Minute

// users is a plugin that lets in who has the password "right".
type users struct{ asked atomic.Int64 }

func (u *users) Authenticate(_ context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	u.asked.Add(1)
	if string(r.Password) != "right" {
		return sdk.Refuse(sdk.BadUserNameOrPassword, ""), nil
	}
	return sdk.Accept(sdk.Identity{}), nil
}

// running is a broker with the plugin, and one that knows users.
type running struct {
	t       *testing.T
	users   *users
	host    *pluginhost.Host
	address string
	close   func()
}

func serve(t *testing.T, rt pluginhost.Runtime, config string, st store.Store, values store.Values) *running {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	b, err := broker.New(func(o *broker.Options) { o.Logger, o.Store = quiet, st })
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, users: new(users)}
	builtin := map[string]sdk.Plugin{
		"guard": Plugin(),
		"users": {Name: "users", Version: "1", New: func() any { return r.users }},
	}
	r.host, err = pluginhost.New(pluginhost.Options{
		Broker: b.Plugins(), Install: b.Install, Values: values, NotFound: store.ErrNotFound, Conflict: store.ErrConflict,
		Builtin: func(name string) (sdk.Plugin, bool) { p, ok := builtin[name]; return p, ok }, Logger: quiet, DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.close = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.host.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.close)
	guard := pluginhost.Spec{
		Name: "guard", Source: "test", Runtime: rt, Config: json.RawMessage(config),
		Grants: []sdk.Grant{{Name: "ban"}, {Name: "kv"}, {Name: "clients"}, {Name: "disconnect"}},
	}
	if rt == pluginhost.Process {
		allRunners(t) // builds it
		guard.Path, guard.Dev = program(), true
	}
	if _, err := r.host.Apply(t.Context(), []pluginhost.Spec{guard, {Name: "users", Source: "test", Runtime: pluginhost.Builtin}}); err != nil {
		t.Fatal(err)
	}
	l, err := b.Listen(broker.Listener{Transport: transport.ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	return r
}

// login5 connects by MQTT 5, and returns the Reason Code of CONNACK with what ends the
// connection again. Where the server is busy it tries again: on a slow machine a login may
// wait for others for too long.
func (r *running) login5(id, user, secret string) (code byte, end func()) {
	r.t.Helper()
	for {
		conn, err := net.DialTimeout("tcp", r.address, patience)
		if err != nil {
			r.t.Error(err)
			return 0xFF, func() {}
		}
		c := paho.NewClient(paho.ClientConfig{Conn: conn})
		ctx, cancel := context.WithTimeout(r.t.Context(), patience)
		ack, err := c.Connect(ctx, &paho.Connect{
			ClientID: id, CleanStart: true, KeepAlive: 60, Username: user, UsernameFlag: true, Password: []byte(secret), PasswordFlag: true,
		})
		cancel()
		if ack == nil {
			r.t.Error(err)
			return 0xFF, func() {}
		}
		if ack.ReasonCode != 0x89 {
			return ack.ReasonCode, func() { _ = c.Disconnect(&paho.Disconnect{}) }
		}
	}
}

// login3 connects by MQTT 3.1.1.
func (r *running) login3(id, user, secret string) byte {
	r.t.Helper()
	c := mqtt3.NewClient(mqtt3.NewClientOptions().AddBroker("tcp://" + r.address).SetClientID(id).SetUsername(user).SetPassword(secret).
		SetAutoReconnect(false).SetProtocolVersion(4).SetConnectTimeout(patience))
	token := c.Connect().(*mqtt3.ConnectToken)
	if !token.WaitTimeout(patience) {
		r.t.Fatal("no CONNACK")
	}
	defer c.Disconnect(0)
	return token.ReturnCode()
}

// until tries until it gets a Reason Code.
func (r *running) until(want byte, id, user, secret string) {
	r.t.Helper()
	var got byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var leave func()
		if got, leave = r.login5(id, user, secret); got == 0 {
			leave()
		}
		if got == want {
			return
		}
	}
	r.t.Fatalf("%s: 0x%02X, and never 0x%02X", user, got, want)
}

// No more guesses get through than the config says, one by one or all at once; who is known
// does not notice.
func TestGuessesWithABroker(t *testing.T) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) {
			st := new(store.Memory)
			config := `{"logins":{"per_user":5,"per_address":0,"pause":"10m","ban_after":0}}`
			r := serve(t, rt, config, st, st.Values())
			if code, end := r.login5("ann-1", "ann", "right"); code != 0 {
				t.Fatalf("0x%02X", code)
			} else {
				end()
			}
			// carl is unknown here; a hundred guess his password at the same moment.
			before := r.users.asked.Load()
			var wg sync.WaitGroup
			var codes sync.Map
			for i := range 100 {
				wg.Go(func() {
					code, _ := r.login5(fmt.Sprint("guess-", i), "carl", fmt.Sprint("guess-", i))
					n, _ := codes.LoadOrStore(code, new(atomic.Int64))
					n.(*atomic.Int64).Add(1)
				})
			}
			wg.Wait()
			count := func(code byte) int64 {
				if n, ok := codes.Load(code); ok {
					return n.(*atomic.Int64).Load()
				}
				return 0
			}
			if asked := r.users.asked.Load() - before; asked != 5 || count(0x86) != 5 || count(0x9F) != 95 {
				t.Errorf("%d guesses got through; %d were wrong, %d are paused", asked, count(0x86), count(0x9F))
			}
			if code := r.login3("old", "carl", "right"); code != 3 {
				t.Errorf("MQTT 3.1.1: %d, want 3", code)
			}
			// ann is known, and stays so whatever is tried in other names.
			for range 3 {
				if code, end := r.login5("ann-1", "ann", "right"); code != 0 {
					t.Errorf("0x%02X", code)
				} else {
					end()
				}
			}
			// All of it is there after a restart.
			r.close()
			r = serve(t, rt, config, st, st.Values())
			if code, _ := r.login5("carl", "carl", "right"); code != 0x9F {
				t.Errorf("after a restart: 0x%02X", code)
			}
			if n := r.users.asked.Load(); n != 0 {
				t.Errorf("%d logins got through", n)
			}
		})
	}
}

// A hundred clients with right passwords from one address all get in.
func TestHerdWithABroker(t *testing.T) {
	st := new(store.Memory)
	r := serve(t, pluginhost.Builtin, `{"logins":{"per_user":2,"per_address":4,"ban_after":0}}`, st, st.Values())
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if code, _ := r.login5(fmt.Sprint("c", i), fmt.Sprint("user", i%20), "right"); code != 0 {
				t.Errorf("0x%02X", code)
			}
		})
	}
	wg.Wait()
}

// Who comes and goes is banned; the ban outlives the plugin and the broker.
func TestFlappingWithABroker(t *testing.T) {
	for _, rt := range []pluginhost.Runtime{pluginhost.Builtin, pluginhost.Process} {
		t.Run(string(rt), func(t *testing.T) {
			st := new(store.Memory)
			config := `{"flapping":{"disconnects":4,"within":"10m","ban_for":"10m"}}`
			r := serve(t, rt, config, st, st.Values())
			r.until(0x8A, "flapper", "ann", "right")
			if code := r.login3("flapper", "ann", "right"); code != 5 {
				t.Errorf("MQTT 3.1.1: %d, want 5", code)
			}
			if code, end := r.login5("other", "ann", "right"); code != 0 {
				t.Errorf("another client of the user: 0x%02X", code)
			} else {
				end()
			}
			bans := r.host.Services().Bans()
			if len(bans) != 1 || bans[0].ClientID != "flapper" || bans[0].AddedBy != "guard" {
				t.Fatalf("%+v", bans)
			}
			r.close()
			r = serve(t, rt, config, st, st.Values())
			if code, _ := r.login5("flapper", "ann", "right"); code != 0x8A {
				t.Errorf("after a restart: 0x%02X", code)
			}
			if found, err := r.host.Services().RemoveBan(bans[0].ID); !found || err != nil {
				t.Errorf("%v, %v", found, err)
			}
			if code, end := r.login5("flapper", "ann", "right"); code != 0 {
				t.Errorf("after the ban: 0x%02X", code)
			} else {
				end()
			}
		})
	}
}

// An address with many failures is banned.
func TestAddressWithABroker(t *testing.T) {
	st := new(store.Memory)
	r := serve(t, pluginhost.Builtin, `{"logins":{"per_user":0,"per_address":3,"pause":"1ms","max_pause":"1ms","ban_after":6,"ban_for":"1m"}}`, st, st.Values())
	for i := 0; ; i++ {
		code, _ := r.login5(fmt.Sprint("c", i), fmt.Sprint("user", i), "wrong")
		if code == 0x8A {
			break
		}
		if code != 0x86 && code != 0x9F || i > 10_000 {
			t.Fatalf("0x%02X after %d", code, i)
		}
	}
	if b := r.host.Services().Bans(); len(b) != 1 || b[0].Address != "127.0.0.1" || !b[0].AllNamespaces {
		t.Errorf("%+v", b)
	}
	if n := r.users.asked.Load(); n != 6 {
		t.Errorf("%d guesses got through, want 6", n)
	}
}
