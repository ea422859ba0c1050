package main_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// interceptDeadline is that of the interceptors that fail, and slack what a busy machine
// may add to it.
const (
	interceptDeadline = 300 * time.Millisecond
	slack             = 3 * time.Second
)

// fault is what a plugin in some runtime can do wrong, by the word that it is told.
type fault struct {
	runtime pluginhost.Runtime
	letter  string
	word    string
	garbage bool // of the plugin that is not written with the SDK
}

// ends reports whether the plugin's process ends with it.
func (f fault) ends() bool {
	return f.runtime == pluginhost.Process && (f.word == "exit" || f.word == "eat")
}

func (f fault) name() string { return f.word + "-" + f.letter }

// topic is where what is published meets with the fault, or with another word.
func (f fault) topic(word string) string {
	if f.garbage {
		return "garbage/" + f.name() + "/" + word
	}
	return "edit/" + f.name() + "/" + word
}

// interceptFaults lists what a plugin can do wrong in the place of a verdict; what is in
// one list happens at once. What a builtin plugin cannot survive (exiting, taking memory
// without end) ends the broker that it is part of, and what hangs or loops there hangs or
// loops in the broker: that is its nature. Where it may block it may also hang; see
// TestPluginFaultsWhereClientsWait.
func interceptFaults() (all [][]fault) {
	for _, r := range runtimes {
		words := []string{"panic", "fail", "wrong"}
		if r.runtime != pluginhost.Builtin {
			words = append(words, "hang", "exit", "eat")
		}
		if r.runtime == pluginhost.WASM {
			words = append(words, "spin")
		}
		for _, word := range words {
			all = append(all, []fault{{runtime: r.runtime, letter: r.letter, word: word}})
		}
		kinds := map[pluginhost.Runtime][]string{
			pluginhost.Process: {"event", "action", "topic", "bytes", "seq", "end"},
			pluginhost.WASM:    {"event", "action", "topic", "bytes", "outside", "huge", "wordless"},
		}
		var garbage []fault
		for _, kind := range kinds[r.runtime] {
			garbage = append(garbage, fault{runtime: r.runtime, letter: r.letter, word: kind, garbage: true})
		}
		if garbage != nil {
			all = append(all, garbage)
		}
	}
	// Last, since it takes the processors until it is ended.
	return append(all, []fault{{runtime: pluginhost.Process, letter: "p", word: "spin"}})
}

// TestPluginFaults: whatever a plugin does wrong, its failure policy answers in time, the
// broker's other clients do not notice, operators see it, and when it does right again it
// is asked again, without anybody's help.
//
// It runs alone, because it measures.
func TestPluginFaults(t *testing.T) {
	built := plugins(t)
	faults := interceptFaults()
	b := startWithPlugins(t, oneListener+"plugins:\n"+faultEntries(built, slices.Concat(faults...))+loopEntries(built)+floodEntries(built), nil)
	all := newWatcher(t, b, "edit/#", "garbage/#", "watch/#", "consume/#")
	others := newPairs(t, b, 3)
	others.round(t) // everything has been used once
	before := others.p99(t, nil)
	limit := 5*before + 250*time.Millisecond // as in TestCrowd
	t.Logf("p99 of %d others: %v before", len(others), before)

	loops := startLoops(t, b, all)
	for _, group := range faults {
		name := string(group[0].runtime) + "/" + group[0].word
		if group[0].garbage {
			name = string(group[0].runtime) + "/garbage"
		}
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			var victims []*victim
			for _, f := range group {
				victims = append(victims, newVictim(t, b.in(t), f))
			}
			for _, v := range victims {
				v.provoke(stop)
			}
			with := others.round(t)
			if with > limit {
				t.Errorf("p99 has moved from %v to %v", before, with)
			}
			for _, v := range victims {
				<-v.enough
				v.look()
			}
			close(stop)
			for _, v := range victims {
				v.check(all)
				t.Logf("%-8s p99 of others %v; %d messages, the slowest took %v; %v", v.fault.word, with, v.sent, v.slowest.Round(time.Millisecond), &v.shown)
			}
		})
	}
	for _, f := range slices.Concat(faults...) {
		t.Run("recovery/"+f.name(), func(t *testing.T) { newVictim(t, b.in(t), f).recovers(all) })
	}
	t.Run("flood", func(t *testing.T) { flood(t, b.in(t), others, limit) })
	loops.check()
	// It spins until it is ended. What it is asked it answers again, all the same.
	killPlugin(t, b, "spin-p")
	t.Logf("p99 of others: %v before, %v after", before, others.round(t))
}

// faultEntries has an entry for each plugin that fails.
func faultEntries(built *builtPlugins, faults []fault) string {
	var all strings.Builder
	for _, f := range faults {
		switch {
		case f.garbage && f.runtime == pluginhost.Process:
			fmt.Fprintf(&all, "  - {name: %s, path: %s, dev: true}\n", f.name(), built.garbageProgram)
		case f.garbage:
			fmt.Fprintf(&all, "  - {name: %s, path: %s}\n", f.name(), built.garbageWASM)
		default:
			all.WriteString(built.entry(f.name(), f.runtime, fmt.Sprintf(
				"config: {only: %s}, hooks: {authenticate: off, intercept_publish: {deadline: %v}}", f.name(), interceptDeadline)))
		}
	}
	return all.String()
}

// victim is a client whose messages a plugin fails to decide about.
type victim struct {
	raw
	t       *testing.T
	b       *broker
	r       *bufio.Reader
	fault   fault
	id      uint16
	sent    int
	slowest time.Duration
	failed  error
	enough  chan struct{} // closed when the breaker ought to be open
	over    chan struct{} // closed when no more is sent
	shown   shownFault
}

func newVictim(t *testing.T, b *broker, f fault) *victim {
	t.Helper()
	r, err := connectRaw(b.addr["tcp"], "victim-"+f.name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return &victim{raw: r, t: t, b: b, r: bufio.NewReader(r), fault: f, enough: make(chan struct{}), over: make(chan struct{})}
}

// publish sends a message at QoS 1 and returns how long its acknowledgement has taken.
func (v *victim) publish(word, payload string) (time.Duration, error) {
	v.id++
	id := binary.BigEndian.AppendUint16(nil, v.id)
	began := time.Now()
	if _, err := v.Write(packet(0x32, text(v.fault.topic(word)), id, []byte(payload))); err != nil {
		return 0, err
	}
	_ = v.SetReadDeadline(time.Now().Add(patience))
	first, _, body, err := readPacket(v.r)
	if err != nil {
		return 0, err
	}
	if first != 0x40 || string(body) != string(id) {
		return 0, fmt.Errorf("got % x % x in the place of PUBACK", first, body)
	}
	return time.Since(began), nil
}

// provoke has the plugin fail again and again until stop, and more often than it may in
// a row.
func (v *victim) provoke(stop <-chan struct{}) {
	tell := sync.OnceFunc(func() { close(v.enough) })
	go func() {
		defer close(v.over)
		defer tell()
		for !closed(stop) || v.sent < provocations {
			took, err := v.publish(v.fault.word, "x")
			if err != nil {
				v.failed = fmt.Errorf("message %d: %w", v.sent, err)
				return
			}
			v.sent++
			v.slowest = max(v.slowest, took)
			if v.sent == provocations {
				tell()
			}
			time.Sleep(2 * time.Millisecond) // a steady rate is enough
		}
	}()
}

// look notes what operators see.
func (v *victim) look() {
	v.t.Helper()
	v.shown.metrics = v.b.metrics()
	v.shown.info, _ = v.b.plugin(v.fault.name())
}

// check is called when no more is to be sent.
func (v *victim) check(all *watcher) {
	v.t.Helper()
	<-v.over
	if v.failed != nil {
		v.t.Fatalf("%s: %v", v.fault.name(), v.failed)
	}
	if v.slowest > interceptDeadline+slack {
		v.t.Errorf("%s: the policy has answered after %v", v.fault.name(), v.slowest)
	}
	v.shown.check(v.t, v.fault)
	// What continues in spite of the plugin arrives as it was.
	all.await(v.t, v.fault.topic(v.fault.word), func(n int, payload string) bool { return n == v.sent && payload == "x" })
}

// provocations are enough to have the breaker open.
const provocations = 8

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// recovers waits until the plugin decides again.
func (v *victim) recovers(all *watcher) {
	v.t.Helper()
	word, decided := "stamp", func() bool {
		_, payload := all.last(v.fault.topic("stamp"))
		return strings.Contains(payload, v.fault.name()+"=")
	}
	if v.fault.garbage {
		dropped := hookOf(v.info()).Verdicts["drop"]
		word, decided = "works", func() bool { return hookOf(v.info()).Verdicts["drop"] > dropped }
	}
	eventually(v.t, patience, func() bool {
		if _, err := v.publish(word, "y"); err != nil {
			v.t.Fatal(err)
		}
		return decided() && v.info().State == "serving"
	}, "%s decides again: %s", v.fault.name(), v.b.show(v.fault.name()))
}

func (v *victim) info() pluginhost.Info {
	v.t.Helper()
	i, _ := v.b.pluginNow(v.fault.name())
	return i
}

// hookOf returns what is known of a plugin's interceptor.
func hookOf(i pluginhost.Info) pluginhost.HookInfo {
	for _, h := range i.Hooks {
		if h.Point == "intercept_publish" {
			return h
		}
	}
	return pluginhost.HookInfo{}
}

// shownFault is what operators see of a fault.
type shownFault struct {
	info    pluginhost.Info
	metrics map[string]float64
}

func (s *shownFault) String() string {
	h := hookOf(s.info)
	return fmt.Sprintf("%s, failures %d, timeouts %d, by policy %d, restarts %d", s.info.State, h.Failures, h.Timeouts, h.Policy, s.info.Restarts)
}

func (s *shownFault) check(t *testing.T, f fault) {
	t.Helper()
	h := hookOf(s.info)
	metric := func(suffix string) float64 {
		return s.metrics[pluginMetric(t, suffix, fmt.Sprintf("hook=%q,plugin=%q", h.Point, f.name()))]
	}
	switch {
	case f.ends():
		if s.info.Restarts == 0 && s.info.State == "serving" {
			t.Errorf("%+v", s.info)
		}
	case s.info.State != "degraded" || s.info.Error == "" || h.Failures < 5:
		t.Errorf("%+v", s.info)
	case s.metrics[pluginMetric(t, "state", fmt.Sprintf(`plugin=%q,state="degraded"`, f.name()))] != 1:
		t.Error("its state is not in /metrics")
	}
	if h.Policy < 5 || metric("policy_total") < 5 || metric("failures_total") < 1 {
		t.Errorf("policy %d, in /metrics %v, failures %v", h.Policy, metric("policy_total"), metric("failures_total"))
	}
	if late := f.word == "hang" && f.runtime == pluginhost.Process; late && (h.Timeouts == 0 || metric("timeouts_total") == 0) {
		t.Errorf("timeouts %d, in /metrics %v", h.Timeouts, metric("timeouts_total"))
	}
}

// watcher is a subscriber that counts by topic.
type watcher struct {
	mu sync.Mutex
	n  map[string]int
	of map[string]string // the last payload
}

func newWatcher(t *testing.T, b *broker, filters ...string) *watcher {
	t.Helper()
	w := &watcher{n: map[string]int{}, of: map[string]string{}}
	c := mustConnect5(t, b.target("tcp", nil), "watcher")
	for _, f := range filters {
		if err := c.subscribe(f, w.got); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *watcher) got(m message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n[m.Topic]++
	w.of[m.Topic] = m.Payload
}

func (w *watcher) last(topic string) (n int, payload string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n[topic], w.of[topic]
}

func (w *watcher) await(t *testing.T, topic string, wanted func(n int, payload string) bool) {
	t.Helper()
	eventually(t, patience, func() bool { return wanted(w.last(topic)) }, "%s is as wanted: %s", topic, lazily(func() string {
		n, payload := w.last(topic)
		return fmt.Sprintf("%d so far, the last %q", n, payload)
	}))
}

func floodEntries(built *builtPlugins) string {
	var all strings.Builder
	for _, r := range runtimes {
		all.WriteString(built.entry("flood-"+r.letter, r.runtime, "hooks: {authenticate: off}, config: {only: flood-"+r.letter+"}"))
	}
	return all.String()
}

// flood has plugins write to the log as fast as they can for two seconds. The log gets
// some of it, says that there was more, and nobody else notices.
func flood(t *testing.T, b *broker, others pairs, limit time.Duration) {
	c := mustConnect5(t, b.target("tcp", nil), "flood")
	began := time.Now()
	for _, r := range runtimes {
		if err := c.publish("watch/flood-"+r.letter+"/flood", 1, "x"); err != nil {
			t.Fatal(err)
		}
	}
	with := max(others.round(t), others.round(t), others.round(t))
	if with > limit {
		t.Errorf("p99 of others has moved to %v", with)
	}
	for _, r := range runtimes {
		name, lines := "flood-"+r.letter, 0
		b.await("lines of a plugin were left out: there were too many", func(r record) bool { return r.text("plugin") == name })
		for line := range strings.Lines(b.log.tail(1 << 20)) {
			if strings.Contains(line, "flood flood") && strings.Contains(line, fmt.Sprintf("%q", name)) {
				lines++
			}
		}
		// 500 at once and 100 a second.
		if most := 500 + int(100*(time.Since(began).Seconds()+1)); lines == 0 || lines > most {
			t.Errorf("%s: %d lines in the log, want at most %d", name, lines, most)
		}
		t.Logf("%-8s p99 of others %v, %d lines in the log", r.runtime, with, lines)
	}
}

// killPlugin ends the process of a plugin, which is then started again.
func killPlugin(t *testing.T, b *broker, name string) {
	t.Helper()
	before, _ := b.plugin(name)
	if p, err := os.FindProcess(before.PID); err != nil || p.Kill() != nil {
		t.Fatalf("kill %d: %v", before.PID, err)
	}
	b.awaitPlugin(name, "is started again", func(i pluginhost.Info) bool { return i.Restarts == before.Restarts+1 && i.State == "serving" })
}
