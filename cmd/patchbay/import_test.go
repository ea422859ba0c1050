package main_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"
)

// mosquittoBroker starts a Mosquitto and returns what ends it. The test is skipped where there is none.
func mosquittoBroker(t *testing.T, conf, address string) (stop func()) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			missing(t, "there is no mosquitto to compare with (Debian: mosquitto)")
		}
	}
	cmd := exec.Command(program, "-c", conf)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); <-ended })
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("mosquitto:\n%.4000s", &log)
		}
	})
	eventually(t, patience, func() bool {
		select {
		case <-ended:
			t.Fatalf("mosquitto has ended:\n%s", &log)
		default:
		}
		return listens(address)
	}, "mosquitto listens")
	return stop
}

func listens(address string) bool {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	c, err := net.Dial(network, address)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// freePort is a port that nobody has, and that no connection gets by chance.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(10000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// moved is a configuration of Mosquitto with what belongs to it, which Patchbay takes over.
type moved struct {
	t        *testing.T
	dir      string
	conf     string
	ports    []int
	ca       *authority
	replaced []string
}

func newMoved(t *testing.T) *moved {
	t.Helper()
	dir, err := os.MkdirTemp("", "mv") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &moved{t: t, dir: dir, conf: filepath.Join(dir, "mosquitto.conf"), ca: newAuthority(t, dir, "ca")}
	m.ca.issue("server")
	m.replaced = []string{"DIR", dir}
	for i := range 4 {
		m.ports = append(m.ports, freePort(t))
		m.replaced = append(m.replaced, fmt.Sprintf("PORT%d", i), fmt.Sprint(m.ports[i]))
	}
	return m
}

// write writes a file, with DIR and PORT0 to PORT3 replaced.
func (m *moved) write(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.NewReplacer(m.replaced...).Replace(text)), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// configure writes the configuration and a password_file with ann, bob and admin, whose
// passwords are their names.
func (m *moved) configure(text string) {
	m.t.Helper()
	if os.Geteuid() == 0 {
		text = "user root\n" + text // or it could not read the files
	}
	m.write("mosquitto.conf", text)
	passwd, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		missing(m.t, "there is no mosquitto_passwd (Debian: mosquitto)")
	}
	args := []string{"-c", "-b"}
	for _, name := range []string{"ann", "bob", "admin"} {
		command{dir: m.dir}.must(m.t, passwd, append(args, "users", name, name)...)
		args = []string{"-b"}
	}
}

// patchbay imports the configuration and starts a broker with it.
func (m *moved) patchbay() (b *broker, report string) {
	m.t.Helper()
	out := filepath.Join(m.dir, "out")
	report = command{dir: m.dir}.must(m.t, patchbay, "config", "import", m.conf, "--output", out)
	b = newBroker(m.t, "")
	b.begin(nil, "serve", "--config", filepath.Join(out, "patchbay.yaml"), "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	b.ready()
	return b, report
}

// asker is a client that tries to get in, and to speak and hear.
type asker struct {
	name, id, user, password string
	to                       target
}

// asked is one of them who is in.
type asked struct {
	client
	mu  sync.Mutex
	got []string
}

func (a *asked) hear(m message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got = append(a.got, m.Topic+" "+m.Payload)
}

func (a *asked) heard() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Clone(a.got)
	slices.Sort(list)
	return list
}

func (a asker) connect(version int) (client, error) {
	id := fmt.Sprintf("%s%d", a.id, version)
	if version == 3 {
		return connect3(a.to, id, func(o *mqtt3.ClientOptions) { o.SetUsername(a.user).SetPassword(a.password) })
	}
	return connect5(a.to, id, func(c *paho.Connect) {
		c.Username, c.UsernameFlag = a.user, a.user != ""
		c.Password, c.PasswordFlag = []byte(a.password), a.password != ""
	})
}

// answers says who gets in, and who hears what of whom: each client subscribes to
// everything, and publishes to each topic. The first of list may do everything.
func answers(t *testing.T, list []asker, topics ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	var names []string
	in := map[string]*asked{}
	for _, a := range list {
		for _, version := range []int{3, 5} {
			name := fmt.Sprintf("%s/%d", a.name, version)
			c, err := a.connect(version)
			if err != nil {
				out[name] = "refused"
				continue
			}
			x := &asked{client: c}
			if err := c.subscribe("#", x.hear); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			names = append(names, name)
			in[name] = x
		}
	}
	if len(names) == 0 || !strings.HasPrefix(names[0], list[0].name+"/") {
		return out
	}
	for _, name := range names {
		for _, topic := range topics {
			_ = in[name].publish(topic, 1, name) // MQTT 5 is told if that is refused, 3.1.1 is not
		}
	}
	if err := in[names[0]].publish("marker", 1, "end"); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		eventually(t, patience, func() bool { return slices.Contains(in[name].heard(), "marker end") }, "%s hears the end", name)
		out[name] = strings.Join(in[name].heard(), ", ")
	}
	for _, name := range names {
		in[name].close()
	}
	return out
}

// compare has both brokers asked the same, one after the other at the same place.
func (m *moved) compare(list []asker, topics ...string) (report string) {
	m.t.Helper()
	first := list[0].to.address
	stop := mosquittoBroker(m.t, m.conf, first)
	want := answers(m.t, list, topics...)
	stop()
	b, report := m.patchbay()
	got := answers(m.t, list, topics...)
	for name, w := range want {
		if got[name] != w {
			m.t.Errorf("%s:\nmosquitto: %s\npatchbay:  %s", name, w, got[name])
		}
	}
	if len(got) != len(want) {
		m.t.Errorf("%d answers of mosquitto, %d of patchbay", len(want), len(got))
	}
	if m.t.Failed() {
		m.t.Log(report)
	}
	b.stop()
	return report
}

func (m *moved) tcp(i int) target {
	return target{network: "tcp", address: fmt.Sprintf("127.0.0.1:%d", m.ports[i])}
}

func (m *moved) tls(i int, certs ...*pair) target {
	return target{network: "tls", address: fmt.Sprintf("127.0.0.1:%d", m.ports[i]), tls: m.ca.config(certs...)}
}

const aclFile = `topic read public/#
topic write inbox/anonymous
user ann
topic readwrite plant/#
topic deny plant/secret
topic read public/#
user admin
topic #
pattern write dev/%u/#
pattern write client/%c/up
pattern read marker
`

var ruled = []string{
	"public/news", "inbox/anonymous", "plant/1", "plant/secret", "dev/ann/t", "dev/bob/t", "client/one3/up", "client/one5/up", "client/two5/up", "other",
}

// TestImport: a real Mosquitto, and Patchbay with its imported configuration, answer all
// clients alike.
func TestImport(t *testing.T) {
	t.Parallel()
	t.Run("passwords and rules", func(t *testing.T) {
		t.Parallel()
		m := newMoved(t)
		m.write("rules", aclFile)
		m.write("conf.d/B.conf", "acl_file DIR/rules\n")
		m.write("conf.d/a.conf", "password_file DIR/users\n")
		m.write("conf.d/not-this", "allow_anonymous true\n")
		m.configure(`persistence true
persistence_location DIR/
listener PORT0 127.0.0.1
listener PORT1 127.0.0.1
cafile DIR/ca.pem
certfile DIR/server.pem
keyfile DIR/server.key
listener PORT2 127.0.0.1
protocol websockets
listener 0 DIR/sock
include_dir DIR/conf.d
`)
		var list []asker
		for i, to := range []target{m.tcp(0), m.tls(1), {network: "ws", address: m.tcp(2).address}, {network: "unix", address: filepath.Join(m.dir, "sock")}} {
			prefix := fmt.Sprintf("%s %d", to.network, i)
			list = append(list,
				asker{prefix + " admin", fmt.Sprintf("admin%d-", i), "admin", "admin", to},
				asker{prefix + " ann", fmt.Sprintf("ann%d-", i), "ann", "ann", to},
				asker{prefix + " wrong", "x", "ann", "bob", to},
				asker{prefix + " unknown", "x", "carl", "carl", to},
				asker{prefix + " nobody", "x", "", "", to})
		}
		list = append(list, asker{"bob", "one", "bob", "bob", m.tcp(0)})
		m.compare(list, ruled...)
	})
	for _, anonymous := range []string{"true", "false"} {
		t.Run("rules alone, anonymous "+anonymous, func(t *testing.T) {
			t.Parallel()
			m := newMoved(t)
			m.write("rules", "topic #\n"+aclFile)
			m.configure("listener PORT0 127.0.0.1\nacl_file DIR/rules\nallow_anonymous " + anonymous + "\n")
			m.compare([]asker{
				{"admin", "two", "admin", "whatever", m.tcp(0)}, {"nobody", "one", "", "", m.tcp(0)}, {"ann", "three", "ann", "x", m.tcp(0)},
			}, ruled...)
		})
	}
	t.Run("passwords and guests", func(t *testing.T) {
		t.Parallel()
		m := newMoved(t)
		m.write("rules", aclFile)
		m.configure("per_listener_settings true\nlistener PORT0 127.0.0.1\nallow_anonymous true\npassword_file DIR/users\nacl_file DIR/rules\nallow_zero_length_clientid false\n")
		m.compare([]asker{
			{"admin", "two", "admin", "admin", m.tcp(0)}, {"nobody", "one", "", "", m.tcp(0)}, {"ann", "three", "ann", "ann", m.tcp(0)}, {"wrong", "four", "ann", "x", m.tcp(0)},
		}, append(ruled, "client/three5/up")...)
	})
	t.Run("certificates", func(t *testing.T) {
		t.Parallel()
		m := newMoved(t)
		m.write("rules", aclFile)
		admin, ann, gone, foreign := m.ca.issue("admin"), m.ca.issue("ann"), m.ca.issue("bob"), newAuthority(t, t.TempDir(), "foreign").issue("admin")
		m.ca.revoke("crl", gone)
		m.configure(`listener PORT0 127.0.0.1
cafile DIR/ca.pem
certfile DIR/server.pem
keyfile DIR/server.key
crlfile DIR/crl.crl
require_certificate true
use_identity_as_username true
acl_file DIR/rules
`)
		m.compare([]asker{
			{"admin", "one", "", "", m.tls(0, admin)}, {"ann", "two", "", "", m.tls(0, ann)}, {"ann as admin", "three", "admin", "admin", m.tls(0, ann)},
			{"revoked", "four", "", "", m.tls(0, gone)}, {"foreign", "five", "", "", m.tls(0, foreign)}, {"none", "six", "admin", "admin", m.tls(0)},
		}, ruled...)
	})
	t.Run("certificates and passwords", func(t *testing.T) {
		t.Parallel()
		m := newMoved(t)
		m.write("rules", aclFile)
		ann := m.ca.issue("ann")
		m.configure(`allow_anonymous false
password_file DIR/users
acl_file DIR/rules
listener PORT0 127.0.0.1
listener PORT1 127.0.0.1
cafile DIR/ca.pem
certfile DIR/server.pem
keyfile DIR/server.key
require_certificate true
use_identity_as_username true
listener PORT2 127.0.0.1
cafile DIR/ca.pem
certfile DIR/server.pem
keyfile DIR/server.key
`)
		m.compare([]asker{
			{"admin", "one", "admin", "admin", m.tcp(0)}, {"nobody", "x", "", "", m.tcp(0)}, {"ann by certificate", "two", "", "", m.tls(1, ann)},
			{"ann without", "three", "ann", "ann", m.tls(1)}, {"ann by password", "four", "ann", "ann", m.tls(2)}, {"ann with both", "five", "ann", "wrong", m.tls(2, ann)},
		}, ruled...)
	})
}

// TestImportBridge: what a bridge of Mosquitto takes to another broker and from there, the
// imported one does too.
func TestImportBridge(t *testing.T) {
	t.Parallel()
	m, far := newMoved(t), newMoved(t)
	far.write("rules", "user bob\ntopic #\ntopic write $SYS/broker/connection/#\nuser admin\ntopic #\n")
	far.configure(`listener PORT0 127.0.0.1
listener PORT1 127.0.0.1
cafile DIR/ca.pem
certfile DIR/server.pem
keyfile DIR/server.key
password_file DIR/users
acl_file DIR/rules
`)
	mosquittoBroker(t, far.conf, far.tcp(0).address)
	m.configure(fmt.Sprintf(`listener PORT0 127.0.0.1
allow_anonymous true
connection up and down
address 127.0.0.1:%d
bridge_cafile %s
remote_username bob
remote_password bob
restart_timeout 1
notification_topic status/bridge
topic sensors/# out 1 plant/ site/7/
topic cmd/+ in 2 from/ to/7/
topic shared/# both 1
topic "" both 1 here/single there/single
topic plain
`, far.ports[1], far.ca.file))
	admin := asker{"admin", "admin", "admin", "admin", far.tcp(0)}
	var want [2][]string
	for i, which := range []string{"mosquitto", "patchbay"} {
		var stop func()
		if which == "mosquitto" {
			stop = mosquittoBroker(t, m.conf, m.tcp(0).address)
		} else {
			b, report := m.patchbay()
			stop = b.stop
			t.Log(report)
		}
		there, here := &asked{}, &asked{}
		var err error
		if there.client, err = admin.connect(5); err != nil {
			t.Fatal(err)
		}
		if here.client, err = (asker{id: "near", to: m.tcp(0)}).connect(5); err != nil {
			t.Fatal(err)
		}
		for _, x := range []*asked{there, here} {
			if err := x.subscribe("#", x.hear); err != nil {
				t.Fatal(err)
			}
		}
		// The bridge is there when something comes through both ways.
		n := 0
		eventually(t, patience, func() bool {
			n++
			if here.publish("shared/ready", 1, "up") != nil || there.publish("shared/ready2", 1, "down") != nil {
				return false
			}
			return slices.Contains(there.heard(), "shared/ready up") && slices.Contains(here.heard(), "shared/ready2 down")
		}, "%s's bridge works", which)
		for _, topic := range []string{"plant/sensors/t", "sensors/t", "from/cmd/x", "shared/1", "here/single", "plain", "plain/x", "elsewhere"} {
			if err := here.publish(topic, 1, "near"); err != nil {
				t.Fatal(err)
			}
		}
		for _, topic := range []string{"to/7/cmd/go", "to/7/cmd/a/b", "cmd/go", "shared/2", "there/single", "site/7/sensors/t", "plain"} {
			if err := there.publish(topic, 1, "far"); err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range []*asked{here, there} {
			end := "shared/end " + map[bool]string{true: "far", false: "near"}[x == here]
			other := map[bool]*asked{true: there, false: here}[x == here]
			eventually(t, patience, func() bool {
				_ = other.publish("shared/end", 1, strings.TrimPrefix(end, "shared/end "))
				return slices.Contains(x.heard(), end)
			}, "%s: the end", which)
		}
		// Each route has its own way: what is missing may still be on it.
		crossed := func() [2][]string { return [2][]string{crossing(here.heard(), "far"), crossing(there.heard(), "near")} }
		if i == 0 {
			time.Sleep(200 * time.Millisecond) // for what must not come
			want = crossed()
		} else {
			eventually(t, patience, func() bool { g := crossed(); return slices.Equal(g[0], want[0]) && slices.Equal(g[1], want[1]) },
				"patchbay's bridge does the same; %v", crossed())
		}
		here.close()
		there.close()
		stop()
	}
	wanted := [2][]string{{"from/cmd/go far", "here/single far", "shared/2 far"}, {"plain near", "shared/1 near", "site/7/sensors/t near", "there/single near"}}
	for i := range want {
		if !slices.Equal(want[i], wanted[i]) {
			t.Errorf("%d: %v", i, want[i])
		}
	}
}

// crossing is what has come from the other side, each once.
func crossing(list []string, from string) (out []string) {
	for _, s := range slices.Compact(list) {
		if strings.HasSuffix(s, " "+from) && !strings.HasPrefix(s, "shared/end") {
			out = append(out, s)
		}
	}
	return out
}

// TestFromMosquitto: the example of docs/from-mosquitto.md says what it says, and its entry
// for retained messages brings them over.
func TestFromMosquitto(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/from-mosquitto.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		_, rest, ok := strings.Cut(string(text), "```"+language+"\n")
		code, _, _ := strings.Cut(rest, "```")
		if !ok {
			t.Fatalf("no block of %s", language)
		}
		return code
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mosquitto.conf"), []byte(block("conf")), 0o600); err != nil {
		t.Fatal(err)
	}
	r := command{dir: dir}.run(t, patchbay, "config", "import", "mosquitto.conf")
	for line := range strings.Lines(block("text")) {
		if !strings.Contains(r.stderr, line) {
			t.Errorf("the report has no %s\n%s", line, r.stderr)
		}
	}
	if r.code != 0 || !strings.Contains(r.stdout, "plugin: bridge-mqtt") || strings.Contains(r.stdout, "site-7/\n") {
		t.Errorf("%d\n%s", r.code, r.stdout)
	}

	m := newMoved(t)
	m.configure("listener PORT0 127.0.0.1\nallow_anonymous true\n")
	mosquittoBroker(t, m.conf, m.tcp(0).address)
	c := mustConnect5(t, m.tcp(0), "publisher")
	if err := c.send(&paho.Publish{Topic: "a/b", QoS: 1, Retain: true, Payload: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	b := start(t, "listeners: [{name: tcp, tcp: \"127.0.0.1:0\"}]\n"+strings.Replace(block("yaml"), "127.0.0.1:11883", m.tcp(0).address, 1))
	eventually(t, patience, func() bool { return strings.Contains(b.operator("retained", "list").stdout, "a/b") }, "the retained message is here")
}
