package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// timeout bounds everything that a test waits for.
const timeout = 10 * time.Second

// newBroker returns a broker and the address of its one listener, "main".
func newBroker(t testing.TB, more ...func(*broker.Options)) (*broker.Broker, string) {
	t.Helper()
	b, err := broker.New(append(more, func(o *broker.Options) {
		o.Logger = slog.New(slog.DiscardHandler)
		o.Sys.Interval = 0
	})...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error("close the broker:", err)
		}
	})
	return b, listen(t, b, "main", "")
}

func listen(t testing.TB, b *broker.Broker, name, namespace string) (address string) {
	t.Helper()
	l, err := b.Listen(broker.Listener{
		Transport:      transport.ListenerConfig{Name: name, Network: "tcp", Address: "127.0.0.1:0"},
		AllowAnonymous: true, Namespace: namespace,
	})
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// dataDir is shorter than t.TempDir, whose paths are too long for a socket.
func dataDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// start starts a Server on a port and a folder of its own, with what change makes
// of the options.
func start(t testing.TB, b *broker.Broker, change func(*Options)) *Server {
	t.Helper()
	o := Options{
		Broker: b, Config: config.Admin{Listen: "127.0.0.1:0"}, DataDir: dataDir(t), Version: "1.2.3-test",
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, s) })
	return s
}

func closeServer(t testing.TB, s *Server) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error("close the server:", err)
	}
}

// fetch makes one request without keeping its connection.
func fetch(t testing.TB, c *http.Client, url string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	if change != nil {
		change(r)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// connect connects a Paho client; its session stays when it goes if keep is set.
func connect(t testing.TB, address, id string, keep bool) mqtt.Client {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID(id).SetUsername("user-of-" + id).
		SetCleanSession(!keep).SetAutoReconnect(false).SetConnectTimeout(timeout))
	done(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func done(t testing.TB, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(timeout) {
		t.Fatal("no answer from the broker")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok, which another goroutine or process makes true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain waited until", what)
		}
	}
}

// result is how a command ended.
type result struct {
	out, diag string
	err       error
}

// code is the exit code that the program would have.
func (r result) code() int {
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(r.err, &coded):
		return coded.ExitCode()
	case r.err != nil:
		return 1
	}
	return 0
}

// run runs a command in this process.
func run(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	root := &cobra.Command{Use: "patchbay"}
	root.AddCommand(append(Commands(), PluginCommand(), BridgeCommand(), BanCommand())...)
	var out, diag bytes.Buffer
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&diag)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	err := root.ExecuteContext(ctx)
	return result{out.String(), diag.String(), err}
}

// at runs a command against the broker of s, which must go well.
func at(t testing.TB, s *Server, args ...string) string {
	t.Helper()
	r := run(t, "", append(args, "--socket", s.Socket())...)
	if r.err != nil {
		t.Fatalf("patchbay %s: %v", strings.Join(args, " "), r.err)
	}
	return r.out
}

func wantContains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}
