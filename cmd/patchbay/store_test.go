package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt3 "github.com/eclipse/paho.mqtt.golang"
)

const oneListener = `listeners: [{name: tcp, tcp: "127.0.0.1:0"}]` + "\n"

// TestStoreRefusals: a data folder that cannot be used ends the start with one
// line that says which, why, and what to do.
func TestStoreRefusals(t *testing.T) {
	t.Parallel()
	quiet := []string{"serve", "--set", "admin.listen=off", "--set", "admin.socket=off"}
	refused := func(t *testing.T, b *broker, want string, wrap ...string) {
		t.Helper()
		line := append(append(wrap, patchbay), append(quiet, "--config", b.file)...)
		r := command{dir: b.dir}.run(t, line[0], line[1:]...)
		if want = "^patchbay: (\\S+: )?data_dir: \\S*patchbay-data/store " + want + "\n$"; r.code != 1 || !regexp.MustCompile(want).MatchString(r.stderr) {
			t.Errorf("exit status %d, said\n%swant 1 and %s", r.code, r.stderr, want)
		}
	}
	write := func(t *testing.T, b *broker, name, text string) string {
		t.Helper()
		path := filepath.Join(b.dir, "patchbay-data", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("foreign", func(t *testing.T) {
		t.Parallel()
		b := newBroker(t, oneListener)
		write(t, b, "store/photo.jpg", "x")
		refused(t, b, `is not empty and is no Patchbay data folder \(found photo\.jpg\): choose another or empty it`)
	})
	t.Run("in use", func(t *testing.T) {
		t.Parallel()
		b := start(t, oneListener)
		refused(t, b, fmt.Sprintf(`is in use by another broker \(pid %d, since \S+\): stop that one or choose another folder`, b.cmd.Process.Pid))
		roundTrip(t, mustConnect5(t, b.target("tcp", nil), "undisturbed"), "undisturbed")
	})
	t.Run("newer", func(t *testing.T) {
		t.Parallel()
		b := start(t, oneListener)
		b.stop()
		marker := filepath.Join(b.dir, "patchbay-data", "store", "PATCHBAY")
		text, err := os.ReadFile(marker)
		if err != nil {
			t.Fatal(err)
		}
		newer := strings.Replace(string(text), `"schema": 1`, `"schema": 99`, 1)
		if newer == string(text) {
			t.Fatalf("no schema in %s", text)
		}
		if err := os.WriteFile(marker, []byte(newer), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, b, `was written by a newer Patchbay \(schema 99; this one knows up to 1\): use that version, or choose another folder`)
	})
	t.Run("a file", func(t *testing.T) {
		t.Parallel()
		b := newBroker(t, oneListener)
		write(t, b, "store", "x")
		refused(t, b, `is a file: choose a folder`)
	})
	t.Run("below a file", func(t *testing.T) {
		t.Parallel()
		b := newBroker(t, oneListener)
		if err := os.WriteFile(filepath.Join(b.dir, "patchbay-data"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, b, `cannot be, because patchbay-data is a file: choose another folder`)
	})
	t.Run("no permission", func(t *testing.T) {
		t.Parallel()
		if os.Geteuid() == 0 {
			t.Skip("root may write everywhere")
		}
		b := newBroker(t, oneListener)
		write(t, b, "store/x", "")
		dir := filepath.Join(b.dir, "patchbay-data", "store")
		if err := os.Remove(filepath.Join(dir, "x")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		refused(t, b, `gives this process \(user id \d+\) no permission to .*: make that user its owner or choose another folder`)
	})
	t.Run("no permission, as another user", func(t *testing.T) {
		t.Parallel()
		const nobody = "65534"
		if os.Geteuid() != 0 || exec.Command("setpriv", "--reuid", nobody, "--clear-groups", "true").Run() != nil {
			t.Skip("needs root and setpriv")
		}
		b := newBroker(t, oneListener)
		write(t, b, "store/x", "")
		for _, dir := range []string{b.dir, filepath.Dir(patchbay), filepath.Dir(b.file)} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(b.file, 0o644); err != nil {
			t.Fatal(err)
		}
		refused(t, b, `.*gives this process \(user id 65534\) no permission to .*: make that user its owner or choose another folder`,
			"setpriv", "--reuid", nobody, "--clear-groups")
	})
	t.Run("read-only", func(t *testing.T) {
		t.Parallel()
		b := newBroker(t, oneListener)
		dir := filepath.Join(b.dir, "patchbay-data")
		mount := []string{"unshare", "--mount", "--map-root-user", "sh", "-c", `mount -t tmpfs -o ro none "$0" && exec "$@"`, dir}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(mount[0], append(mount[1:], "true")...).CombinedOutput(); err != nil {
			t.Skipf("cannot mount: %v: %s", err, out)
		}
		refused(t, b, `is on a read-only file system: mount it writable or choose another folder`, mount...)
	})
}

// TestMemoryStoreWritesNothing: with store: memory there is nothing in data_dir
// but the socket.
func TestMemoryStoreWritesNothing(t *testing.T) {
	t.Parallel()
	b := start(t, oneListener+"store: memory\n")
	away := mustConnect3(t, b.target("tcp", nil), "away", func(o *mqtt3.ClientOptions) { o.SetCleanSession(false) })
	if err := away.subscribe("a/#", func(message) {}); err != nil {
		t.Fatal(err)
	}
	away.close()
	c := mustConnect5(t, b.target("tcp", nil), "publisher")
	for range 100 {
		if err := c.publish("a/b", 2, strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(b.dir, "patchbay-data")
	if got := list(t, dir); !slices.Equal(got, []string{"admin.sock"}) {
		t.Errorf("data_dir has %q", got)
	}
	if out := b.operator("status").stdout; !strings.Contains(out, "\nStore          memory\n") {
		t.Errorf("status:\n%s", out)
	}
	if r := b.operator("store", "export"); r.code != 1 || !strings.Contains(r.stderr, "store: memory") || r.stdout != "" {
		t.Errorf("export: %d %q %q", r.code, r.stdout, r.stderr)
	}
	b.stop()
	if got := list(t, dir); got != nil {
		t.Errorf("left behind: %q", got)
	}
}

func list(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// exported is what a line of an export has of interest here.
type exported struct {
	Session *struct {
		ClientID string `json:"client_id"`
	}
	Inflight *struct {
		Released bool
		Message  struct{ Topic, Payload string }
	}
	Queued *struct {
		Message struct{ Topic, Payload string }
	}
	Retained *struct {
		Message struct{ Topic, Payload string }
	}
	End *struct{ Sessions, Queued int }
}

// backup is an export, taken apart.
type backup struct {
	queues   map[string]map[string][]int // by client and topic: in flight and waiting
	retained map[string]int
	whole    bool
}

func readBackup(t testing.TB, file string) backup {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := backup{queues: map[string]map[string][]int{}, retained: map[string]int{}}
	var queue map[string][]int
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var l exported
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		switch {
		case l.Session != nil:
			queue = map[string][]int{}
			b.queues[l.Session.ClientID] = queue
		case l.Inflight != nil && l.Inflight.Released: // delivered
		case l.Inflight != nil:
			queue[l.Inflight.Message.Topic] = append(queue[l.Inflight.Message.Topic], number(t, l.Inflight.Message.Payload))
		case l.Queued != nil:
			queue[l.Queued.Message.Topic] = append(queue[l.Queued.Message.Topic], number(t, l.Queued.Message.Payload))
		case l.Retained != nil:
			b.retained[l.Retained.Message.Topic] = number(t, l.Retained.Message.Payload)
		}
		b.whole = l.End != nil
	}
	return b
}

func number(t testing.TB, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Error(err)
	}
	return n
}

// TestBackupOfARunningBroker: under traffic an export is the state of one moment,
// and a broker that starts on what was imported serves it.
func TestBackupOfARunningBroker(t *testing.T) {
	t.Parallel()
	b := start(t, oneListener)
	keep := func(o *mqtt3.ClientOptions) { o.SetCleanSession(false) }
	var away, online []string
	for i := range 3 {
		away = append(away, fmt.Sprint("away-", i))
		online = append(online, fmt.Sprint("online-", i))
	}
	for _, id := range append(away, online...) {
		c := mustConnect3(t, b.target("tcp", nil), id, keep)
		if err := c.subscribe("t/#", func(message) {}); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(id, "away") {
			c.close()
		}
	}
	// Each publisher counts, and retains each number after it was acknowledged.
	const publishers = 3
	var acked [publishers]atomic.Int64
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for i := range publishers {
		c := mustConnect3(t, b.target("tcp", nil), fmt.Sprint("publisher-", i), keep)
		publishing.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.publish(fmt.Sprint("t/", i), byte(1+i%2), fmt.Sprint(n)); err != nil {
					t.Error(err)
					return
				}
				acked[i].Store(int64(n))
				if err := c.wait(c.c.Publish(fmt.Sprint("r/", i), 1, true, fmt.Sprint(n))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var before, after [publishers]int64
	var file string
	for round := range 3 { // the last one counts
		for i := range publishers {
			eventually(t, patience, func() bool { return acked[i].Load() > before[i]+20 }, "publisher %d goes on", i)
			before[i] = acked[i].Load()
		}
		file = filepath.Join(b.dir, fmt.Sprintf("backup-%d.jsonl", round))
		r := command{dir: b.dir}.run(t, patchbay, "store", "export", "--config", b.file, "-o", file)
		if r.code != 0 || r.stderr != "patchbay: a broker has patchbay-data/store open: it answers through patchbay-data/admin.sock\n" {
			t.Fatalf("export: %d %s", r.code, r.stderr)
		}
		for i := range publishers {
			after[i] = acked[i].Load()
		}
	}
	if r := b.operator("store", "check"); r.code != 0 || !strings.HasSuffix(r.stdout, ": all is well\n") {
		t.Errorf("check: %d %s%s", r.code, r.stdout, r.stderr)
	}
	close(stop)
	publishing.Wait()
	b.stop()

	got := readBackup(t, file)
	if !got.whole || len(got.queues) != len(away)+len(online)+publishers {
		t.Fatalf("%d sessions, whole: %v", len(got.queues), got.whole)
	}
	var last [publishers]int
	for i := range publishers {
		topic := fmt.Sprint("t/", i)
		for _, id := range away {
			last[i] = max(last[i], len(got.queues[id][topic]))
		}
		// At QoS 2, from a session that is kept, a message is safe for all or for none
		// [MQTT-4.3.3-10]; at QoS 1 the last one, which was not acknowledged yet, may be safe
		// for some of them.
		least := last[i] - (1 - i%2)
		if int64(last[i]) > after[i]+1 {
			t.Errorf("%s: %d messages, %d were acknowledged after the export", topic, last[i], after[i])
		}
		for _, id := range away {
			if q := got.queues[id][topic]; len(q) < least || int64(len(q)) < before[i] || !slices.Equal(q, count(1, len(q))) {
				t.Errorf("%s: %s has %v, another has %d; %d were acknowledged before the export", topic, id, q, last[i], before[i])
			}
		}
		for _, id := range online { // a part that was not acknowledged, up to the same one
			q := got.queues[id][topic]
			if n := len(q); n > 0 && (q[n-1] < least || q[n-1] > last[i] || !slices.Equal(q, count(q[n-1]-n+1, q[n-1]))) {
				t.Errorf("%s: %s has %v, away ones have %d", topic, id, q, last[i])
			}
		}
		if r := got.retained[fmt.Sprint("r/", i)]; r != last[i] && r != last[i]-1 {
			t.Errorf("r/%d is %d, t/%d is %d", i, r, i, last[i])
		}
	}

	fresh := newBroker(t, oneListener)
	out := command{dir: fresh.dir}.must(t, patchbay, "store", "import", file)
	if want := fmt.Sprintf("patchbay-data/store: %d sessions, ", len(got.queues)); !strings.HasPrefix(out, want) {
		t.Errorf("import: %q, want %q", out, want)
	}
	fresh.begin(nil, "serve", "--config", fresh.file, "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json")
	fresh.ready()
	for _, id := range append(away, online...) {
		wanted := 0
		for _, q := range got.queues[id] {
			wanted += len(q)
		}
		received := receive(t, fresh, id, wanted)
		for topic, q := range got.queues[id] {
			if !slices.Equal(received[topic], q) {
				t.Errorf("%s got %v of %s, want %v", id, received[topic], topic, q)
			}
		}
	}
	reader := mustConnect5(t, fresh.target("tcp", nil), "reader")
	values := make(chan message, publishers)
	if err := reader.subscribe("r/+", func(m message) { values <- m }); err != nil {
		t.Fatal(err)
	}
	for range publishers {
		select {
		case m := <-values:
			if number(t, m.Payload) != got.retained[m.Topic] {
				t.Errorf("%v, want %d", m, got.retained[m.Topic])
			}
		case <-time.After(patience):
			t.Fatal("a retained message is missing")
		}
	}
}

// count returns the numbers from first to last.
func count(first, last int) (n []int) {
	for i := first; i <= last; i++ {
		n = append(n, i)
	}
	return n
}

// receive connects to a session and returns what it has, by topic: n messages, and
// what else comes up to one of QoS 2 that is published after its arrival.
func receive(t testing.TB, b *broker, id string, n int) map[string][]int {
	t.Helper()
	got := make(chan message, n+100)
	c := mustConnect3(t, b.target("tcp", nil), id, func(o *mqtt3.ClientOptions) {
		o.SetCleanSession(false)
		o.SetDefaultPublishHandler(func(_ mqtt3.Client, m mqtt3.Message) {
			got <- message{m.Topic(), string(m.Payload()), m.Qos()}
		})
	})
	const lasts = "t/last-"
	if err := c.publish(lasts+id, 2, "0"); err != nil {
		t.Fatal(err)
	}
	byTopic := map[string][]int{}
	// The client hands out QoS 1 ahead of QoS 2, whose handshake is longer.
	for last, sum := false, 0; !last || sum < n; {
		select {
		case m := <-got:
			if strings.HasPrefix(m.Topic, lasts) {
				last = last || m.Topic == lasts+id
				continue
			}
			sum++
			byTopic[m.Topic] = append(byTopic[m.Topic], number(t, m.Payload))
		case <-time.After(patience):
			t.Fatalf("%s: %d messages of %d, the last one: %v", id, sum, n, last)
		}
	}
	c.close()
	return byTopic
}

// TestImportInterrupted: SIGTERM leaves nothing behind.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(patchbay, "store", "import", "--data-dir", filepath.Join(dir, "data"))
	cmd.Env = environment()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var diag strings.Builder
	cmd.Stderr = &diag
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := io.WriteString(in, `{"patchbay_export":1}`+"\n"+`{"session":{"client_id":"a"}}`+"\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "data", "store.import-*", "PATCHBAY"))
		return found != nil
	}, "the import begins")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	_ = cmd.Wait() // its outcome is in ProcessState
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.HasSuffix(diag.String(), "interrupted: nothing was imported\n") {
		t.Errorf("exit status %d, %q", code, diag.String())
	}
	if got := list(t, dir); got != nil {
		t.Errorf("left behind: %q", got)
	}
}

// TestStorageDocumentation does what docs/storage.md tells operators to do, with
// the broker running and without.
func TestStorageDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, block := range strings.Split(string(text), "```sh\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			if line, _, _ = strings.Cut(line, " # "); strings.HasPrefix(line, "patchbay ") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	if len(lines) < 4 {
		t.Fatalf("docs/storage.md has these commands: %q", lines)
	}
	b := start(t, oneListener)
	c := mustConnect3(t, b.target("tcp", nil), "away", func(o *mqtt3.ClientOptions) { o.SetCleanSession(false) })
	if err := c.subscribe("a/#", func(message) {}); err != nil {
		t.Fatal(err)
	}
	try := func(when string) {
		for _, line := range lines {
			here := command{dir: b.dir, env: []string{"PATH=" + filepath.Dir(patchbay) + ":" + os.Getenv("PATH")}}
			if r := here.run(t, "sh", "-c", line); r.code != 0 {
				t.Errorf("%s, %s: exit status %d\n%s", when, line, r.code, r.stderr)
			}
		}
		for _, name := range list(t, b.dir) {
			if name != "patchbay-data" && name != filepath.Base(b.file) {
				if err := os.RemoveAll(filepath.Join(b.dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	try("running")
	b.stop()
	try("stopped")
}
