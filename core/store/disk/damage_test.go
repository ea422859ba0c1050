package disk

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// spoil flips a bit in the value of the first record of a keyspace that match
// accepts, below the store's feet.
func (s *Store) spoil(t testing.TB, space byte, match func(key []byte) bool) {
	t.Helper()
	lower, upper := format.Span(space)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if match == nil || match(it.Key()) {
			value := bytes.Clone(it.Value())
			value[len(value)/2] ^= 4
			if err := s.db.Set(bytes.Clone(it.Key()), value, pebble.Sync); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no record in %c", space)
}

func TestCorruptRecordsAreQuarantined(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	load(t, s)
	r := store.NewReceipt()
	var clients []*client
	for i := range 5 {
		c := create(s, fmt.Sprint("c", i), true)
		c.Subscribe("a", store.Subscription{QoS: 1})
		c.Subscribe("b", store.Subscription{QoS: 1})
		c.Received(1, r)
		c.Received(2, r)
		for j := range 5 {
			c.Add(store.Entry{Message: message(fmt.Sprint("m", j)), QoS: 1}, 0, false, r)
		}
		for range 2 {
			e, _ := c.Pop()
			c.Sent(e, c.FirstSeq()+e.Pos)
		}
		clients = append(clients, c)
	}
	addShared(s, "shared", 1, r, clients...)
	m := message("r")
	s.Retain("", m, r)
	s.Retain("ns", m, r)
	safe(t, r)
	v := s.Values()
	for _, k := range []string{"a", "b"} {
		if _, err := v.Set("bucket", k, []byte(k), 0); err != nil {
			t.Fatal(err)
		}
	}
	s.syncNow(t)

	of := func(c *client, kind byte) func([]byte) bool {
		return func(key []byte) bool {
			session, k, _, ok := format.SplitSessionKey(key)
			return ok && session == c.key && k == kind
		}
	}
	at := func(c *client, n uint64) func([]byte) bool {
		return func(key []byte) bool {
			session, pos, ok := format.SplitPairKey(key)
			return ok && session == c.key && pos == c.FirstSeq()+n
		}
	}
	s.spoil(t, format.Sessions, of(clients[0], format.KindRecord))
	s.spoil(t, format.Sessions, of(clients[1], format.KindSubscription))
	s.spoil(t, format.Sessions, of(clients[1], format.KindReceived))
	s.spoil(t, format.Contents, at(clients[1], 3)) // waits
	s.spoil(t, format.Contents, at(clients[2], 0)) // in flight
	s.spoil(t, format.Index, func(key []byte) bool { session, _, _ := format.SplitPairKey(key); return session == clients[3].key })
	s.spoil(t, format.Retained, nil)
	s.spoil(t, format.Values, nil)
	s.Close()

	var log bytes.Buffer
	s = open(t, Options{FS: fs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f := load(t, s)
	if len(f.sessions) != 4 || f.sessions["/c0"] != nil {
		t.Fatalf("sessions: %v", f.sessions)
	}
	c1 := f.sessions["/c1"]
	if len(c1.saved.Subscriptions) != 1 || len(c1.saved.Received) != 1 {
		t.Fatalf("%+v", c1.saved)
	}
	flight := func(name string) (texts []string) {
		for _, in := range f.sessions[name].restoredFlight(t) {
			texts = append(texts, string(in.Message.Payload))
		}
		return texts
	}
	for _, tc := range []struct {
		name            string
		flight, waiting []string
	}{
		{"/c1", []string{"m0", "m1"}, []string{"m2", "m4", "shared"}},
		{"/c2", []string{"m1"}, []string{"m2", "m3", "m4", "shared"}},
		// Its index is gone: the message has been sent, but nobody knows.
		{"/c3", []string{"m1"}, []string{"m2", "m3", "m4", "shared"}},
		{"/c4", []string{"m0", "m1"}, []string{"m2", "m3", "m4", "shared"}},
	} {
		if got := flight(tc.name); !slices.Equal(got, tc.flight) {
			t.Errorf("%s: in flight %v", tc.name, got)
		}
		if got := f.sessions[tc.name].drain(t); !slices.Equal(got, tc.waiting) {
			t.Errorf("%s: waiting %v", tc.name, got)
		}
	}
	if len(f.retained) != 1 {
		t.Errorf("retained: %v", f.retained)
	}
	v = s.Values()
	if _, _, err := v.Get("bucket", "a"); err != store.ErrNotFound {
		t.Errorf("Get: %v", err)
	}
	if b, _, err := v.Get("bucket", "b"); err != nil || string(b) != "b" {
		t.Errorf("Get: %s %v", b, err)
	}
	if n := s.Stats().Quarantined; n != 8 {
		t.Errorf("%d records in quarantine", n)
	}
	if n := strings.Count(log.String(), "quarantine"); n != 8 {
		t.Errorf("%d log lines:\n%s", n, log.String())
	}
	if !strings.Contains(log.String(), "subscription of session") {
		t.Errorf("log:\n%s", log.String())
	}
	s.Close()

	// They stay there, and Check shows them.
	view, err := OpenReadOnly(Options{Dir: "data", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	var problems []string
	sum, err := view.Check(func(p Problem) { problems = append(problems, p.Record+": "+p.What) })
	if err != nil || sum.Quarantined != 8 {
		t.Errorf("%+v, %v", sum, err)
	}
	if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "in quarantine since") }) {
		t.Errorf("problems: %v", problems)
	}
}

// A table with damaged blocks serves what is in the others.
func TestDamagedTable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, Options{Dir: dir, FS: vfs.Default, Sync: SyncNever})
	load(t, s)
	const sessions, each = 400, 20
	rng := rand.New(rand.NewPCG(1, 1))
	r := store.NewReceipt()
	for i := range sessions {
		c := create(s, fmt.Sprint(i), false)
		for j := range each {
			body := make([]byte, 200)
			for k := range body {
				body[k] = byte(rng.Uint32())
			}
			m := (&packet.Message{Topic: []byte(fmt.Sprint(j)), Payload: body, QoS: 1}).Keep(1)
			c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
		}
	}
	safe(t, r)
	if err := s.compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	lower, upper := format.Span(format.Sessions)
	if err := s.db.Compact(t.Context(), lower, upper, false); err != nil {
		t.Fatal(err)
	}
	s.Close()

	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	flips := 0
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// Not at the end, where the index is: a table without one is lost.
		for at := 10_000; at < len(b)*3/4; at += 900_000 {
			b[at] ^= 0x10
			flips++
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if flips == 0 {
		t.Fatal("nothing was damaged")
	}

	s = open(t, Options{Dir: dir, FS: vfs.Default, Sync: SyncNever, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	f := load(t, s)
	if n := len(f.sessions); n < sessions*3/4 {
		t.Errorf("%d of %d sessions", n, sessions)
	}
	messages := 0
	for _, c := range f.sessions {
		c.restoredFlight(t)
		messages += len(c.drain(t))
	}
	t.Logf("%d bits flipped: %d of %d sessions, %d of %d messages served, %d spans skipped",
		flips, len(f.sessions), sessions, messages, sessions*each, s.damage.blocks.Load())
	if messages < sessions*each*3/4 || messages == sessions*each {
		t.Errorf("%d of %d messages", messages, sessions*each)
	}
	if s.Stats().Quarantined == 0 {
		t.Error("nothing was counted")
	}
	// It goes on.
	c := create(s, "new", false)
	safe(t, c.add("x", false))
	until(t, "sweep", s.counted.Load)
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func TestPowerLossWithoutSync(t *testing.T) {
	for _, mode := range []SyncMode{SyncInterval, SyncNever} {
		for seed := range uint64(fewer(20)) {
			fs := vfs.NewCrashableMem()
			s := open(t, Options{FS: fs, Sync: mode, Interval: time.Hour})
			load(t, s)
			c := create(s, "c", false)
			for i := range 300 {
				r := store.NewReceipt()
				m := (&packet.Message{Payload: fmt.Appendf(nil, "%04000d", i), QoS: 1}).Keep(1)
				c.Add(store.Entry{Message: m, QoS: 1}, 0, false, r)
				safe(t, r)
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))})
			s.Close()
			s, err := Open(Options{Dir: "data", FS: clone, Sync: mode})
			if err != nil {
				t.Fatalf("mode %d, seed %d: %v", mode, seed, err)
			}
			f := load(t, s)
			if c := f.sessions["/c"]; c != nil {
				c.restoredFlight(t)
				for i, text := range c.drain(t) {
					if text != fmt.Sprintf("%04000d", i) {
						t.Fatalf("mode %d, seed %d: message %d is %s", mode, seed, i, text)
					}
				}
			}
			s.Close()
		}
	}
}
