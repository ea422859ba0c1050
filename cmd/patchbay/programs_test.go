package main_test

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
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
)

// deadline is a channel that closes, in effect, when patience is over.
func deadline(t testing.TB) <-chan time.Time {
	timer := time.NewTimer(patience)
	t.Cleanup(func() { timer.Stop() })
	return timer.C
}

// joinPaho connects clients of the Go libraries.
func joinPaho(t *testing.T, m *matrix, all []endpoint) func(*testing.T) {
	clients := map[string]client{}
	for _, e := range all {
		var c client
		if e.version == "5" {
			c = mustConnect5(t, m.target(e), e.name())
		} else {
			c = mustConnect3(t, m.target(e), e.name())
		}
		if err := c.subscribe("matrix/#", func(msg message) { m.received(e.name(), msg) }); err != nil {
			t.Fatalf("%s: subscribe: %v", e.name(), err)
		}
		clients[e.name()] = c
	}
	return func(t *testing.T) {
		for name, c := range clients {
			for qos := range byte(3) {
				if err := c.publish(fmt.Sprintf("matrix/%d/%s", qos, name), qos, "from "+name); err != nil {
					t.Errorf("%s: publish at QoS %d: %v", name, qos, err)
				}
			}
		}
	}
}

func mosquittoUnavailable() string {
	for _, name := range []string{"mosquitto_sub", "mosquitto_pub"} {
		if _, err := exec.LookPath(name); err != nil {
			return name + " is not there: install mosquitto-clients"
		}
	}
	return ""
}

// arguments are the flags for an endpoint of mosquitto's clients or of ours, which
// take the same.
func (m *matrix) arguments(e endpoint) []string {
	to := m.target(e)
	args := []string{"-V", map[string]string{"5": "mqttv5", "3.1.1": "mqttv311"}[e.version]}
	if e.transport == "unix" {
		return append(args, "--unix", to.address)
	}
	if to.tls != nil && (e.transport == "tls" || e.transport == "wss") {
		args = append(args, "--cafile", m.ca.file)
	}
	if e.transport == "ws" || e.transport == "wss" {
		return append(args, "-L", to.url())
	}
	host, port, _ := net.SplitHostPort(to.address)
	return append(args, "-h", host, "-p", port)
}

// programs are the commands that publish and subscribe.
func programs(library string) (pub, sub []string) {
	if library == "mosquitto" {
		return []string{"mosquitto_pub"}, []string{"mosquitto_sub"}
	}
	return []string{patchbay, "pub"}, []string{patchbay, "sub"}
}

// joinPrograms starts a subscribing process for each endpoint.
func joinPrograms(t *testing.T, m *matrix, all []endpoint) func(*testing.T) {
	for _, e := range all {
		_, sub := programs(e.library)
		args := append(sub[1:], m.arguments(e)...)
		lines := background(t, sub[0], append(args, "-i", e.name(), "-q", "2", "-t", "matrix/#", "-F", "%q %t %p")...)
		go func() {
			for line := range lines {
				qos, rest, _ := strings.Cut(line, " ")
				topic, payload, _ := strings.Cut(rest, " ")
				n, _ := strconv.Atoi(qos)
				m.received(e.name(), message{topic, payload, byte(n)})
			}
		}()
	}
	return func(t *testing.T) {
		// As many at once as there are processors to start them.
		var wg sync.WaitGroup
		defer wg.Wait()
		slots := make(chan struct{}, 4)
		for _, e := range all {
			pub, _ := programs(e.library)
			for qos := range 3 {
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					args := append(pub[1:], m.arguments(e)...)
					args = append(args, "-q", strconv.Itoa(qos), "-t", fmt.Sprintf("matrix/%d/%s", qos, e.name()), "-m", "from "+e.name())
					r := command{}.run(t, pub[0], args...)
					if r.code != 0 {
						t.Errorf("%s %q: exit status %d: %s", pub[0], args, r.code, r.stderr)
					}
				})
			}
		}
	}
}

// background runs a program until the end of the test and returns its lines.
func background(t testing.TB, name string, args ...string) <-chan string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = environment()
	out, err := cmd.StdoutPipe()
	var errs strings.Builder
	cmd.Stderr = &errs
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1024)
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		_ = cmd.Wait() // it is killed below
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-over
		if t.Failed() && errs.Len() > 0 {
			t.Logf("%s %q: %s", name, args, errs.String())
		}
	})
	return lines
}

// mqttjsVersion is the release that is tested.
const mqttjsVersion = "5.14.1"

// mqttjs installs MQTT.js, once for all runs, and returns the path to require.
var mqttjs = sync.OnceValues(func() (string, error) {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("%s is not there: install nodejs and npm", name)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "patchbay-test")
	dir := filepath.Join(cache, "mqttjs-"+mqttjsVersion)
	module := filepath.Join(dir, "node_modules", "mqtt")
	if _, err := os.Stat(module); err == nil {
		return module, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// Another run may be doing the same: each fills a folder of its own, the first
	// to be ready gives it the name.
	fresh, err := os.MkdirTemp(cache, "installing")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "install", "--prefix", fresh, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "mqtt@"+mqttjsVersion)
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm cannot install mqtt@%s (is its registry reachable?): %w\n%s", mqttjsVersion, err, out)
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, again := os.Stat(module); again != nil {
			return "", err
		}
	}
	return module, nil
})

func mqttjsUnavailable() string {
	if _, err := mqttjs(); err != nil {
		return err.Error()
	}
	return ""
}

// joinMQTTjs starts one node with all endpoints.
func joinMQTTjs(t *testing.T, m *matrix, all []endpoint) func(*testing.T) {
	module, err := mqttjs()
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		Name      string `json:"name"`
		Transport string `json:"transport"`
		Version   string `json:"version"`
		Address   string `json:"address"`
	}
	config := struct {
		Module    string  `json:"module"`
		CA        string  `json:"ca"`
		Endpoints []place `json:"endpoints"`
	}{Module: module, CA: m.ca.file}
	for _, e := range all {
		config.Endpoints = append(config.Endpoints, place{e.name(), e.transport, e.version, m.target(e).address})
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	in, lines := node(t, mqttjsScript)
	fmt.Fprintf(in, "%s\n", text)
	ready := make(chan struct{})
	go func() {
		for line := range lines {
			var msg struct {
				To string `json:"to"`
				message
			}
			switch {
			case line == "ready":
				close(ready)
			case json.Unmarshal([]byte(line), &msg) == nil:
				m.received(msg.To, msg.message)
			}
		}
	}()
	select {
	case <-ready:
	case <-deadline(t):
		t.Fatal("MQTT.js: not all clients have connected and subscribed")
	}
	return func(*testing.T) { fmt.Fprintln(in, "publish") }
}

//go:embed testdata/mqttjs.cjs
var mqttjsScript string

// node runs a script until the end of the test.
func node(t *testing.T, script string) (in io.Writer, lines <-chan string) {
	t.Helper()
	// Its input is the script's own, so that it cannot come from there.
	file := filepath.Join(t.TempDir(), "script.cjs")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", file)
	cmd.Env = environment()
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := make(chan string, 1024)
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer close(all)
		for s := bufio.NewScanner(out); s.Scan(); {
			all <- s.Text()
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v\n%s", err, errs.String())
		}
	}()
	t.Cleanup(func() {
		_ = pipe.Close()
		select {
		case <-over:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-over
		}
	})
	return pipe, all
}
