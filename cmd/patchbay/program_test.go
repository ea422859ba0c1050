package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNoConfiguration starts the program as it comes. Its ports may be in use on
// this machine: then that has to be said, and is as good a test.
func TestNoConfiguration(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "")
	b.begin(nil)
	line, ok := b.log.awaitLine("")
	if !ok {
		t.Fatal("the program says nothing")
	}
	if strings.HasPrefix(line, "patchbay: ") {
		if !regexp.MustCompile(`^patchbay: (listeners\[0\]\.tcp|admin\.listen): .*(address already in use)`).MatchString(line) {
			t.Errorf("%s", line)
		}
		if code := b.exit(); code != 1 {
			t.Errorf("exit status %d", code)
		}
		return
	}
	b.ready()
	for name, address := range map[string]string{"tcp:1883": "127.0.0.1:1883", "admin": "127.0.0.1:18083"} {
		if b.addr[name] != address {
			t.Errorf("%s listens on %q, want %s", name, b.addr[name], address)
		}
	}
	if got := b.log.find("started")[0].text("configuration"); got != "defaults" {
		t.Errorf("configuration: %s", got)
	}
	roundTrip(t, mustConnect5(t, target{network: "tcp", address: "127.0.0.1:1883"}, "default"), "default/5")
	roundTrip(t, mustConnect3(t, target{network: "tcp", address: "[::1]:1883"}, "default-3"), "default/3")
	if got := b.operator("status").stdout; !strings.Contains(got, "Connections    2 now") {
		t.Errorf("status:\n%s", got)
	}
}

// TestWhichConfiguration: --config before PATCHBAY_CONFIG before ./patchbay.yaml
// before nothing; environment over file, flags over both.
func TestWhichConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"flag.yaml", "variable.yaml", "patchbay.yaml"} {
		text := fmt.Sprintf("mqtt: {max_qos: 1, max_topic_levels: %d}\n", len(name))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, dir string
		env, args []string
		want      []string
	}{
		{"flag", dir, []string{"PATCHBAY_CONFIG=variable.yaml"}, []string{"--config", "flag.yaml"}, []string{"max_topic_levels: 9 ", "flag.yaml:1", "max_qos: 1"}},
		{"variable", dir, []string{"PATCHBAY_CONFIG=variable.yaml"}, nil, []string{"max_topic_levels: 13 ", "variable.yaml:1"}},
		{"working directory", dir, nil, nil, []string{"max_topic_levels: 13 ", "patchbay.yaml:1"}},
		{"none", t.TempDir(), nil, nil, []string{"max_topic_levels: 128", "max_qos: 2"}},
		{"environment over file", dir, []string{"PATCHBAY_MQTT_MAX_TOPIC_LEVELS=7"}, nil, []string{"max_topic_levels: 7 ", "PATCHBAY_MQTT_MAX_TOPIC_LEVELS"}},
		{"flag over environment", dir, []string{"PATCHBAY_MQTT_MAX_TOPIC_LEVELS=7"}, []string{"--set", "mqtt.max_topic_levels=8"}, []string{"max_topic_levels: 8 ", "command line"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := command{dir: test.dir, env: test.env}.must(t, patchbay, append([]string{"config", "print"}, test.args...)...)
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
	t.Run("serve", func(t *testing.T) {
		b := newBroker(t, "")
		if err := os.WriteFile(filepath.Join(b.dir, "patchbay.yaml"), []byte(`listeners: [{name: found, tcp: "127.0.0.1:0"}]`), 0o600); err != nil {
			t.Fatal(err)
		}
		b.begin([]string{"PATCHBAY_ADMIN_LISTEN=127.0.0.1:0"}, "serve")
		b.ready()
		roundTrip(t, mustConnect5(t, b.target("found", nil), "found"), "found")
	})
}

// TestRefusals: what is wrong is said in one line that names the place and the
// key, and the exit status tells configuration and usage (2) from the rest (1).
func TestRefusals(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	address := taken.Addr().String()
	quiet := []string{"--set", "admin.listen=off", "--set", "admin.socket=off"}
	for _, test := range []struct {
		name, yaml string
		env, args  []string
		code       int
		stderr     string // regular expression for all of it
	}{
		{"unknown key", "mqtt:\n  max_qso: 1\n", nil, nil, 2, `broker\.yaml:2: mqtt\.max_qso: unknown key; did you mean max_qos\?`},
		{"wrong type", "mqtt: {max_qos: two}\n", nil, nil, 2, `broker\.yaml:1: mqtt\.max_qos: .*0 to 2`},
		{"several at once", "mqtt: {max_qos: 3}\nsession: {max_inflight: 0}\n", nil, nil, 2, `broker\.yaml:1: mqtt\.max_qos: .*\npatchbay: .*broker\.yaml:2: session\.max_inflight: .*`},
		{"syntax", "mqtt: [\n", nil, nil, 2, `broker\.yaml:\d: .*`},
		{"impossible combination", "listeners: [{tls: \":0\"}]\n", nil, nil, 2, `broker\.yaml:1: listeners\[0\]\.tls: needs cert and key.*`},
		{"two listeners in one place", "listeners: [{tcp: \":1883\"}, {tcp: \"127.0.0.1:1883\"}]\n", nil, nil, 2, `broker\.yaml:1: listeners\[1\]\.tcp: 127\.0\.0\.1:1883 is taken by listeners\[0\].*`},
		{"no such file", "", nil, []string{"--config", "absent.yaml"}, 2, `absent\.yaml: no such file or directory`},
		{"variable", "", []string{"PATCHBAY_LOG_LEVEL=loud"}, nil, 2, `environment PATCHBAY_LOG_LEVEL: log\.level: "loud".*debug.*`},
		{"unknown variable", "", []string{"PATCHBAY_LOG_LEVLE=debug"}, nil, 2, `environment PATCHBAY_LOG_LEVLE: .*PATCHBAY_LOG_LEVEL.*`},
		{"flag", "", nil, []string{"--set", "mqtt.max_qos=9"}, 2, `command line: mqtt\.max_qos: .*`},
		{"open to others without authentication", "listeners: [{tcp: \"192.0.2.1:1883\"}]\n", nil, nil, 2, `broker\.yaml:1: listeners\[0\]\.tcp: 192\.0\.2\.1:1883 can be reached from elsewhere .*allow_anonymous.*`},
		{"admin open to others", "admin: {listen: \"0.0.0.0:0\"}\n", nil, nil, 2, `broker\.yaml:1: admin\.listen: 0\.0\.0\.0:0 is not loopback: set admin\.token.*`},
		{"port taken, file", "mqtt: {}\nlisteners: [{tcp: \"" + address + "\"}]\n", nil, quiet, 1, `broker\.yaml:2: listeners\[0\]\.tcp: cannot listen on ` + address + `: address already in use.*`},
		{"port taken, flag", "", nil, append(quiet, "--listen", "ws://"+address+"/mqtt"), 1, `command line: listeners\[0\]\.ws: cannot listen on ` + address + `: address already in use.*`},
		{"port taken, variable", "", []string{"PATCHBAY_LISTENERS=tcp://" + address}, quiet, 1, `environment PATCHBAY_LISTENERS: listeners\[0\]\.tcp: cannot listen on .*`},
		{"port taken, admin", "listeners: [{tcp: \"127.0.0.1:0\"}]\nadmin: {listen: \"" + address + "\"}", nil, nil, 1, `broker\.yaml:2: admin\.listen: ` + address + `: address already in use.*`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, test.yaml)
			args := append([]string{"serve"}, test.args...)
			if !strings.Contains(strings.Join(args, " "), "--config") {
				args = append(args, "--config", b.file)
			}
			r := command{dir: b.dir, env: test.env}.run(t, patchbay, args...)
			if r.code != test.code {
				t.Errorf("exit status %d, want %d", r.code, test.code)
			}
			if want := `^patchbay: (\S*/)?` + test.stderr + "\n$"; !regexp.MustCompile(want).MatchString(r.stderr) {
				t.Errorf("said\n%swant %s", r.stderr, want)
			}
		})
	}
}

// TestUsage: mistakes on the command line.
func TestUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"srve":                     `unknown command "srve" (did you mean "serve"?); see patchbay --help`,
		"serve now":                `unknown command "now" for "patchbay serve"`,
		"serve --confg x":          "unknown flag: --confg; see patchbay serve --help",
		"serve --set mqtt.max_qos": `--set "mqtt.max_qos" is not KEY=VALUE`,
		"config chek":              `unknown command "chek" for "patchbay config"`,
		"version x":                `unknown command "x" for "patchbay version"`,
		"status --bogus":           "unknown flag: --bogus",
		"pub -t a":                 "-m",
		"pub -t a -m b -q 3":       "QoS is 0, 1 or 2",
		"bench bogus":              "bogus",
		"passwd":                   "",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			r := command{dir: t.TempDir()}.run(t, patchbay, strings.Fields(args)...)
			if r.code != 2 || !strings.HasPrefix(r.stderr, "patchbay: ") || !strings.Contains(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("exit status %d, %q; want 2 and one line with %q", r.code, r.stderr, want)
			}
		})
	}
	r := command{dir: t.TempDir()}.run(t, patchbay, "status")
	if want := "patchbay: no running broker at ./patchbay-data/admin.sock: start one, or give --socket\n"; r.code != 1 || r.stderr != want {
		t.Errorf("status without a broker: exit status %d, %q", r.code, r.stderr)
	}
}

// TestVersionAndCompletion: what needs no broker.
func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()
	if out := (command{}).must(t, patchbay, "version"); !regexp.MustCompile(`^patchbay \S+, go1\.\d+\S*, \w+/\w+\n$`).MatchString(out) {
		t.Errorf("version: %q", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		script := command{}.must(t, patchbay, "completion", shell)
		if !strings.Contains(script, "patchbay") {
			t.Errorf("completion %s: %q", shell, script)
		}
		checker, err := exec.LookPath(shell)
		if err != nil || shell == "powershell" {
			continue
		}
		if r := (command{stdin: script}).run(t, checker, "-n"); r.code != 0 {
			t.Errorf("%s does not take its completion: %s", shell, r.stderr)
		}
	}
	for args, want := range map[string]string{
		"serve --conf":    "--config",
		"cl":              "clients",
		"clients ":        "kick",
		"pub -q ":         "2",
		"config ":         "schema",
		"bench fan-":      "fan-out",
		"passwd --hash b": "bcrypt",
	} {
		words := append([]string{"__complete"}, strings.Split(args, " ")...)
		if out := (command{}).must(t, patchbay, words...); !strings.Contains(out, want) {
			t.Errorf("completion of %q: no %q in\n%s", args, want, out)
		}
	}
}
