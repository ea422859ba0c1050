package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/dump"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/report"
	"github.com/patchbay-mq/patchbay/core/broker"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// newDurable returns a broker with a durable store, and a Server for it.
func newDurable(t testing.TB, files vfs.FS) (b *broker.Broker, s *Server, address string, shutdown func()) {
	t.Helper()
	st, err := disk.Open(disk.Options{Dir: "data/store", FS: files})
	if err != nil {
		t.Fatal(err)
	}
	b, address = newBroker(t, func(o *broker.Options) { o.Store = st })
	ctx, shutdown := context.WithCancel(t.Context())
	s, err = Start(ctx, Options{
		Broker: b, Config: config.Admin{Listen: "127.0.0.1:0"}, DataDir: dataDir(t), Version: "1.2.3-test",
		Logger: slog.New(slog.DiscardHandler), Store: st, StoreDir: "data/store",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, s) })
	return b, s, address, shutdown
}

// fill makes a session "away" with n queued messages of size bytes.
func fill(t testing.TB, b *broker.Broker, address string, n, size int) {
	t.Helper()
	away := connect(t, address, "away", true)
	done(t, away.Subscribe("q/#", 1, nil))
	away.Disconnect(0)
	eventually(t, "it is away", func() bool { i, ok := b.Client("", "away"); return ok && !i.Online })
	c := connect(t, address, "publisher", false)
	for i := range n {
		done(t, c.Publish(fmt.Sprint("q/", i), 1, i == 0, strings.Repeat("x", size)))
	}
}

func call(t testing.TB, s *Server, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	answer, err := Open(ctx, s.Socket(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	text, err := io.ReadAll(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestStoreCalls(t *testing.T) {
	b, s, address, _ := newDurable(t, vfs.NewMem())
	fill(t, b, address, 3, 10)
	st := decode[report.Stats](t, call(t, s, PathStore))
	records := map[string]int64{}
	for _, k := range st.Kinds {
		records[k.Name] = k.Records
	}
	if st.Folder != "data/store" || st.Running == nil || st.Running.Written != 3 || st.Running.Commits == 0 || st.DiskBytes == 0 ||
		records["sessions"] != 1 || records["subscriptions"] != 1 || records["contents"] != 3 || records["retained"] != 1 {
		t.Errorf("%+v %+v", st, st.Running)
	}
	findings := jsonLines[report.Finding](t, call(t, s, PathStoreCheck))
	if len(findings) != 1 || findings[0].Summary == nil || findings[0].Summary.Queued != 3 || findings[0].Summary.Problems != 0 {
		t.Errorf("check: %+v", findings)
	}
	var text bytes.Buffer
	n, err := dump.Copy(&text, strings.NewReader(call(t, s, PathStoreExport)))
	if err != nil || n != (dump.Counts{Sessions: 1, Subscriptions: 1, Queued: 3, Retained: 1}) {
		t.Errorf("export: %+v %v\n%s", n, err, text.String())
	}
	status := at(t, s, "status")
	wantContains(t, status, "\nStore          data/store, ", " free\n")
	if got := decode[map[string]json.RawMessage](t, at(t, s, "status", "--json")); !strings.Contains(string(got["store"]), `"mode": "disk"`) {
		t.Errorf("status: %s", got["store"])
	}
	r, err := newRegistry(b, s.opts.Store, nil, "1")
	if err != nil {
		t.Fatal(err)
	}
	families := gather(t, r)
	for name, wanted := range map[string]func(float64) bool{
		"patchbay_store_commits_total":          func(v float64) bool { return v > 0 },
		"patchbay_store_written_messages_total": func(v float64) bool { return v == 3 },
		"patchbay_store_written_bytes_total":    func(v float64) bool { return v > 0 },
		"patchbay_store_disk_bytes":             func(v float64) bool { return v > 0 },
		"patchbay_store_full":                   func(v float64) bool { return v == 0 },
		"patchbay_store_quarantined_total":      func(v float64) bool { return v == 0 },
	} {
		m := families[name].GetMetric()[0]
		if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); !wanted(v) {
			t.Errorf("%s is %v", name, v)
		}
	}
	// They are not for the network.
	for _, path := range []string{PathStore, PathStoreCheck, PathStoreExport} {
		if r, _ := fetch(t, http.DefaultClient, urlOf(s, path), nil); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s over TCP: %d", path, r.StatusCode)
		}
	}
}

func TestStoreCallsWithoutStore(t *testing.T) {
	b, _ := newBroker(t)
	s := start(t, b, nil)
	for _, path := range []string{PathStore, PathStoreCheck, PathStoreExport} {
		_, err := Open(t.Context(), s.Socket(), path)
		var coded interface{ ExitCode() int }
		if !errors.As(err, &coded) || !strings.Contains(err.Error(), "store: memory") {
			t.Errorf("%s: %v", path, err)
		}
	}
	wantContains(t, at(t, s, "status"), "\nStore          memory\n")
}

// An export that nobody reads on does not keep the broker from closing its store,
// and is not taken for a whole one.
func TestShutdownEndsExport(t *testing.T) {
	b, s, address, shutdown := newDurable(t, vfs.NewMem())
	fill(t, b, address, 60, 100_000)
	answer, err := Open(t.Context(), s.Socket(), PathStoreExport)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if _, err := bufio.NewReaderSize(answer, 16).ReadByte(); err != nil {
		t.Fatal(err)
	}
	shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error("close the broker:", err)
	}
	if n, err := dump.Copy(io.Discard, answer); err == nil {
		t.Errorf("it came to its end: %+v", n)
	}
	if _, err := Open(t.Context(), s.Socket(), PathStoreCheck); err == nil || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("another one: %v", err)
	}
	if got := at(t, s, "status"); !strings.Contains(got, "Store          data/store") {
		t.Error(got)
	}
}

// full is a disk without space.
type full struct{ vfs.FS }

func (f full) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{TotalBytes: 1 << 40, UsedBytes: 1<<40 - 32<<20, AvailBytes: 32 << 20}, nil
}

func (f full) Unwrap() vfs.FS { return f.FS }

// A broker with a full disk is ready, and says what is the matter to those who may
// know.
func TestFullIsReadyButDegraded(t *testing.T) {
	_, s, _, _ := newDurable(t, full{vfs.NewMem()})
	if r, text := fetch(t, http.DefaultClient, urlOf(s, "/readyz"), nil); r.StatusCode != http.StatusOK || text != "ready, degraded: the disk of data_dir is full\n" {
		t.Errorf("readyz: %d %q", r.StatusCode, text)
	}
	stranger := func(r *http.Request) { r.Host = "example.org" }
	if r, text := fetch(t, http.DefaultClient, urlOf(s, "/readyz"), stranger); r.StatusCode != http.StatusOK || text != "ready\n" {
		t.Errorf("readyz for strangers: %d %q", r.StatusCode, text)
	}
	if _, text := fetch(t, http.DefaultClient, urlOf(s, "/healthz"), nil); text != "ok\n" {
		t.Errorf("healthz: %q", text)
	}
	if _, text := fetch(t, http.DefaultClient, urlOf(s, "/metrics"), nil); !strings.Contains(text, "\npatchbay_store_full 1\n") {
		t.Error("the metric does not say so")
	}
	wantContains(t, at(t, s, "status"), "FULL: nothing new is stored")
}
