package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// broker is the one that the tests talk to.
type broker struct {
	missing      string // why there is none
	port         string // MQTT on 127.0.0.1, for anyone
	unix         string // the same on a unix socket
	wsPort       string // the same by WebSocket
	tlsPort      string // the same by TLS, with a certificate of caFile for "localhost"
	caFile       string
	passwordPort string // user alice, password secret, who may publish below ok/ only
	stop         func()
}

var testBroker *broker

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "patchbay-client")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Everything is run twice: against Patchbay, and against a broker that we do
	// not share faults with.
	code := 0
	for _, start := range []func(string) *broker{startPatchbay, startMosquitto} {
		if testBroker = start(dir); testBroker.missing != "" {
			fmt.Println(testBroker.missing)
			continue
		}
		code = max(code, m.Run())
		testBroker.stop()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// needBroker returns the broker of this round.
func needBroker(*testing.T) *broker { return testBroker }

// startMosquitto starts mosquitto on free loopback ports.
func startMosquitto(dir string) *broker {
	b := &broker{stop: func() {}}
	binary, err := exec.LookPath("mosquitto")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			b.missing = "no second round: mosquitto is not installed (neither in PATH nor in /usr/sbin)"
			return b
		}
	}
	b.unix = filepath.Join(dir, "mosquitto.sock")
	certs := writeCertificates(dir)
	b.caFile = certs.ca
	b.port, b.wsPort, b.passwordPort, b.tlsPort = freePort(), freePort(), freePort(), freePort()
	passwordFile, aclFile := filepath.Join(dir, "passwd"), filepath.Join(dir, "acl")
	// PBKDF2-SHA512 of "secret" in mosquitto's own form.
	must(os.WriteFile(passwordFile, []byte("alice:"+mosquittoHash("secret")+"\n"), 0o600))
	must(os.WriteFile(aclFile, []byte("user alice\ntopic read #\ntopic write ok/#\n"), 0o600))
	config := filepath.Join(dir, "mosquitto.conf")
	must(os.WriteFile(config, fmt.Appendf(nil, `per_listener_settings true
user root
max_queued_messages 100000
listener %s 127.0.0.1
allow_anonymous true
listener 0 %s
allow_anonymous true
listener %s 127.0.0.1
protocol websockets
allow_anonymous true
listener %s 127.0.0.1
allow_anonymous true
cafile %s
certfile %s
keyfile %s
listener %s 127.0.0.1
allow_anonymous false
password_file %s
acl_file %s
`, b.port, b.unix, b.wsPort, b.tlsPort, certs.ca, certs.cert, certs.key, b.passwordPort, passwordFile, aclFile), 0o600))

	process := exec.Command(binary, "-c", config)
	endWithUs(process)
	must(process.Start())
	b.stop = func() {
		_ = process.Process.Kill() // it may have ended already, which Wait tells
		_ = process.Wait()
	}
	for _, port := range []string{b.port, b.wsPort, b.tlsPort, b.passwordPort} {
		waitDial("127.0.0.1:" + port)
	}
	return b
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func waitDial(address string) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			must(c.Close())
			return
		}
		if time.Now().After(deadline) {
			panic("the broker does not listen on " + address)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	err            error
}

func (r result) code() int {
	var coded interface{ ExitCode() int }
	switch {
	case r.err == nil:
		return 0
	case errors.As(r.err, &coded):
		return coded.ExitCode()
	}
	return -1 // an error without a code is a mistake of this package
}

// running is a command that has been started.
type running struct {
	t              *testing.T
	stdout, stderr *syncBuffer
	cancel         context.CancelFunc
	done           chan error
}

// start runs `patchbay ARGS…` in process.
func start(t *testing.T, stdin io.Reader, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, stdout: &syncBuffer{}, stderr: &syncBuffer{}, cancel: cancel, done: make(chan error, 1)}
	root := &cobra.Command{Use: "patchbay", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Commands()...)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(r.stdout)
	root.SetErr(r.stderr)
	go func() { r.done <- root.ExecuteContext(ctx) }()
	t.Cleanup(cancel)
	return r
}

// wait returns when the command has ended by itself.
func (r *running) wait() result {
	r.t.Helper()
	select {
	case err := <-r.done:
		return result{r.stdout.String(), r.stderr.String(), err}
	case <-time.After(20 * time.Second):
		r.cancel()
		r.t.Fatalf("the command does not end; stdout %.500q, stderr %.500q", r.stdout, r.stderr)
		return result{}
	}
}

// interrupt does what Ctrl-C does.
func (r *running) interrupt() result {
	r.t.Helper()
	r.cancel()
	return r.wait()
}

// run runs a command to its end.
func run(t *testing.T, args ...string) result {
	t.Helper()
	return start(t, strings.NewReader(""), args...).wait()
}

// ok runs a command that must succeed and returns its output.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	r := run(t, args...)
	if r.err != nil {
		t.Fatalf("patchbay %s: %v; stderr %q", strings.Join(args, " "), r.err, r.stderr)
	}
	return r.stdout
}

// subscribed starts sub with -d and returns when the broker has acknowledged the subscription.
func subscribed(t *testing.T, args ...string) *running {
	t.Helper()
	r := start(t, strings.NewReader(""), append([]string{"sub", "-d"}, args...)...)
	r.stderr.waitFor(t, "subscribed to")
	return r
}

// syncBuffer is a bytes.Buffer for a writer and a waiting reader.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// waitFor returns when text has been written.
func (b *syncBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	b.waitForCount(t, text, 1)
}

func (b *syncBuffer) waitForCount(t *testing.T, text string, count int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for strings.Count(b.String(), text) < count {
		if time.Now().After(deadline) {
			t.Fatalf("no %d × %q in %.500q", count, text, b)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
