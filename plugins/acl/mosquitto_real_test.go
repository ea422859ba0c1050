package acl

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mosquitto starts Mosquitto with an acl_file, and returns the path of its socket; "" if
// it refuses the file. The test is skipped where there is no Mosquitto.
func mosquitto(t *testing.T, acl string) (socket string) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program = "/usr/sbin/mosquitto"; !exists(program) {
			t.Skip("no mosquitto here to compare with")
		}
	}
	dir, err := os.MkdirTemp("", "acl") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "sock")
	config := filepath.Join(dir, "conf")
	text := "listener 0 " + socket + "\nallow_anonymous true\nacl_file " + file(t, acl) + "\n"
	if os.Geteuid() == 0 {
		text += "user root\n" // or it could not read the files
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", config)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return socket
		}
		select {
		case <-ended:
			if !strings.Contains(log.String(), "acl_file") && !strings.Contains(log.String(), "acl file") {
				t.Fatalf("mosquitto has ended: %s", &log)
			}
			return ""
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("mosquitto does not listen")
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// wire is an MQTT 5 client that knows what this test needs.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func (w *wire) send(kind byte, parts ...[]byte) {
	w.t.Helper()
	body := []byte{}
	for _, p := range parts {
		body = append(body, p...)
	}
	packet := binary.AppendUvarint([]byte{kind}, uint64(len(body)))
	if _, err := w.conn.Write(append(packet, body...)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) read() (kind byte, body []byte) {
	w.t.Helper()
	kind, err := w.in.ReadByte()
	if err == nil {
		var n uint64
		if n, err = binary.ReadUvarint(w.in); err == nil {
			body = make([]byte, n)
			_, err = io.ReadFull(w.in, body)
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return kind, body
}

func connect(t *testing.T, socket string, c Client) *wire {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	w := &wire{t, conn, bufio.NewReader(conn)}
	flags, user := byte(2), []byte(nil)
	if c.Username != "" {
		flags, user = 0x82, text(c.Username)
	}
	w.send(0x10, text("MQTT"), []byte{5, flags, 0, 0, 0}, text(c.ClientID), user)
	if kind, body := w.read(); kind != 0x20 || body[1] != 0 {
		t.Fatalf("connect %+v: %x %x", c, kind, body)
	}
	return w
}

// publish reports whether a message of QoS 1 is accepted.
func (w *wire) publish(topic string) bool {
	w.t.Helper()
	w.send(0x32, text(topic), []byte{0, 1, 0}, []byte("x"))
	for {
		kind, body := w.read()
		if kind == 0x40 {
			return len(body) < 3 || body[2] < 0x80
		}
	}
}

func (w *wire) subscribe(filters ...string) error {
	w.t.Helper()
	parts := [][]byte{{0, 7, 0}}
	for _, f := range filters {
		parts = append(parts, text(f), []byte{0})
	}
	w.send(0x82, parts...)
	kind, body := w.read()
	if kind != 0x90 {
		return fmt.Errorf("packet %x", kind)
	}
	for _, code := range body[3:] {
		if code >= 0x80 {
			return errors.New("refused")
		}
	}
	return nil
}

// received are the topics that have come until now.
func (w *wire) received() map[string]bool {
	w.t.Helper()
	w.send(0xC0)
	out := map[string]bool{}
	for {
		kind, body := w.read()
		if kind == 0xD0 {
			return out
		}
		n := binary.BigEndian.Uint16(body)
		out[string(body[2:2+n])] = true
	}
}

func randomFile(r *rand.Rand) string {
	var b strings.Builder
	lines := func(word string, n int, levels ...string) {
		for range r.IntN(n) {
			fmt.Fprintf(&b, "%s %s%s\n", word, pick(r, "", "read ", "write ", "readwrite ", "deny "), randomFilter(r, levels...))
		}
	}
	plain := []string{"a", "b", "ann", "+", "$x", "%u"}
	lines("topic", 8, plain...)
	for range r.IntN(5) {
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "user %s\n", pick(r, "ann", "bob", "u+"))
			lines("topic", 8, plain...)
		}
		lines("pattern", 4, "a", "b", "%u", "%c", "+", "x%c", "%u%c")
	}
	b.WriteString("user root\ntopic readwrite #\ntopic readwrite $x/#\n")
	return b.String()
}

// For random files, clients and topics, what Mosquitto allows is what the permissions
// allow that clients get of this plugin.
func TestAgainstMosquitto(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	clients := []Client{
		{ClientID: "a"}, {ClientID: "c1"}, {Username: "ann", ClientID: "c1"}, {Username: "ann", ClientID: "b"}, {Username: "bob", ClientID: "a"},
		{Username: "u+", ClientID: "a"}, {Username: "ann", ClientID: "#"}, {Username: "eve", ClientID: "ann"},
	}
	topics := []string{
		"a", "b", "a/b", "b/a", "ann", "ann/a", "ann/c1", "a/ann", "a/ann/c1", "bob/a", "bob/a/b", "xc1", "a/xc1", "annc1", "c1/ann",
		"c1", "%u", "a/%u", "$x", "$x/a", "$x/ann/b", "b/xb", "other/b/c",
	}
	files := 30
	if testing.Short() {
		files = 3
	}
	seen := map[string]int{}
	for n := range files {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			text := randomFile(r)
			socket := mosquitto(t, text)
			if socket == "" {
				t.Fatalf("mosquitto refuses\n%s", text)
			}
			rules := rulesOf(t, `{"acl_file":`+jsonOf(t, file(t, text))+`}`)
			for i, c := range clients {
				compare(t, socket, rules, c, fmt.Sprintf("root%d", i), topics, seen)
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
	if t.Failed() || t.Skipped() || len(seen) == 0 {
		return
	}
	for _, what := range []string{"write true", "write false", "read true", "read false"} {
		if seen[what] < 15*files {
			t.Errorf("the test asks too little: %v", seen)
		}
	}
}

func compare(t *testing.T, socket string, rules *Rules, c Client, root string, topics []string, seen map[string]int) {
	t.Helper()
	p := permissionsOf(t, rules, c)
	w := connect(t, socket, c)
	if err := w.subscribe("#", "$x/#"); err != nil {
		t.Fatalf("%+v may not subscribe: %v", c, err)
	}
	for _, filter := range []string{"#", "$SYS/#"} {
		if !ask(p, Question{Action: "subscribe", Topic: filter}) {
			t.Errorf("%+v may not subscribe to %s", c, filter)
		}
	}
	publisher := connect(t, socket, Client{Username: "root", ClientID: root})
	for _, topic := range topics {
		if !publisher.publish(topic) {
			t.Fatalf("root may not publish to %s", topic)
		}
	}
	got := w.received()
	for _, topic := range topics {
		may := ask(p, Question{Action: "receive", Topic: topic})
		if may && strings.HasPrefix(topic, "$") {
			may = ask(p, Question{Action: "subscribe", Topic: "$x/#"})
		}
		if got[topic] != may {
			t.Errorf("%+v read %s: mosquitto says %v, we %v", c, topic, got[topic], may)
		}
		may = ask(p, Question{Action: "publish", Topic: topic})
		wrote := w.publish(topic)
		if wrote != may {
			t.Errorf("%+v write %s: mosquitto says %v, we %v", c, topic, wrote, may)
		}
		seen[fmt.Sprint("read ", got[topic])]++
		seen[fmt.Sprint("write ", wrote)]++
	}
}

// What Mosquitto takes as an acl_file, and what it refuses, we do too.
func TestFileLinesAsMosquitto(t *testing.T) {
	for text, want := range fileLines {
		if want == "UTF-8" || want == "U+0000" {
			continue
		}
		if took := mosquitto(t, text) != ""; took != (want == "") {
			t.Errorf("%q: Mosquitto takes it: %v", text, took)
		}
	}
	if socket := mosquitto(t, "# nothing\n"); connect(t, socket, Client{ClientID: "c"}).publish("a") {
		t.Error("with an acl_file without rules, Mosquitto allows something")
	}
}
