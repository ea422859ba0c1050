package storecmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/report"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

const whole = `{"patchbay_export":1}
{"session":{"client_id":"a","session_expiry":3600,"detached":"2026-01-31T12:00:00.000Z","subscriptions":[{"filter":"a/#","qos":1}],"received":[3]}}
{"inflight":{"packet_id":7,"qos":1,"message":{"id":"1","topic":"a/b","qos":1,"payload":"one"}}}
{"queued":{"qos":1,"message":{"id":"2","topic":"a/b","qos":1,"payload":"two"}}}
{"retained":{"message":{"id":"2","topic":"a/b","qos":1,"retain":true,"payload":"two"}}}
{"value":{"bucket":"b","key":"k","version":"3","value":"v"}}
{"end":{"sessions":1,"subscriptions":1,"received":1,"inflight":1,"queued":1,"retained":1,"values":1}}
`

type result struct {
	out, diag string
	err       error
}

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
func run(t testing.TB, stdin io.Reader, args ...string) result {
	t.Helper()
	cmd := Command("1.2.3-test")
	var out, diag bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(stdin)
	cmd.SetOut(&out)
	cmd.SetErr(&diag)
	err := cmd.ExecuteContext(t.Context())
	return result{out.String(), diag.String(), err}
}

// must runs a command that goes well.
func must(t testing.TB, stdin io.Reader, args ...string) string {
	t.Helper()
	r := run(t, stdin, args...)
	if r.err != nil {
		t.Fatalf("patchbay store %q: %v", args, r.err)
	}
	return r.out
}

// restored returns a data_dir with the whole export in it.
func restored(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	must(t, strings.NewReader(whole), "import", "--data-dir", dir)
	return dir
}

// names lists a folder.
func names(t testing.TB, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func TestThereAndBack(t *testing.T) {
	dir := restored(t)
	out := must(t, nil, "export", "--data-dir", dir)
	header, body, _ := strings.Cut(out, "\n")
	if _, want, _ := strings.Cut(whole, "\n"); body != want {
		t.Errorf("exported\n%swant\n%s", body, want)
	}
	if !strings.HasPrefix(header, `{"patchbay_export":1,"version":"1.2.3-test","created":"2`) {
		t.Error(header)
	}
	if out := must(t, nil, "check", "--data-dir", dir); out != "1 sessions, 1 subscriptions, 1 messages in flight, 1 queued, 2 shared, 1 retained, 1 values: all is well\n" {
		t.Errorf("check: %q", out)
	}
	var f report.Finding
	if err := json.Unmarshal([]byte(must(t, nil, "check", "--json", "--data-dir", dir)), &f); err != nil || f.Summary == nil || f.Summary.Received != 1 {
		t.Errorf("check: %+v %v", f, err)
	}
	var st report.Stats
	if err := json.Unmarshal([]byte(must(t, nil, "stats", "--json", "--data-dir", dir)), &st); err != nil || st.Running != nil ||
		st.Folder != filepath.Join(dir, "store") || st.Kinds[0] != (report.Kind{Name: "sessions", Records: 1, Bytes: st.Kinds[0].Bytes}) {
		t.Errorf("stats: %+v %v", st, err)
	}
	text := must(t, nil, "stats", "--data-dir", dir)
	for _, want := range []string{filepath.Join(dir, "store") + ": schema 1, ", " 1 ", " B retained messages\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("stats: no %q in\n%s", want, text)
		}
	}
	// Looking changes nothing: the folder still can be looked at, and imported into
	// nowhere.
	if r := run(t, strings.NewReader(whole), "import", "--data-dir", dir); r.code() != 1 || !strings.Contains(r.err.Error(), "store is not empty: choose another data_dir") {
		t.Errorf("import twice: %d %v", r.code(), r.err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "store" {
		t.Errorf("data_dir has %q", got)
	}
}

func TestExportToFile(t *testing.T) {
	dir, folder := restored(t), t.TempDir()
	file := filepath.Join(folder, "backup.jsonl")
	if err := os.WriteFile(file, []byte("the one before"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := run(t, nil, "export", "--data-dir", t.TempDir(), "-o", file); r.code() != 1 || !strings.Contains(r.err.Error(), "does not exist: there is no store to read") {
		t.Errorf("%d %v", r.code(), r.err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "the one before" || len(names(t, folder)) != 1 {
		t.Errorf("an export that failed leaves %q, %v", b, names(t, folder))
	}
	if out := must(t, nil, "export", "--data-dir", dir, "-o", file); out != "" {
		t.Errorf("said %q", out)
	}
	info, err := os.Stat(file)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 || len(names(t, folder)) != 1 {
		t.Errorf("%v %v %q", info, err, names(t, folder))
	}
	must(t, nil, "import", file, "--data-dir", filepath.Join(folder, "new"))
	if r := run(t, nil, "export", "--data-dir", dir, "-o", filepath.Join(folder, "none", "x")); r.code() != 1 {
		t.Errorf("%d %v", r.code(), r.err)
	}
}

// What cannot be imported leaves nothing behind, and what was there as it was.
func TestImportLeavesNothing(t *testing.T) {
	cut := whole[:strings.LastIndex(whole, `{"end"`)]
	for name, text := range map[string]string{
		"cut short": cut, "bad line": cut + "x\n", "nothing": "",
		"count": strings.Replace(whole, `"queued":1,`, `"queued":2,`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			for _, dir := range []string{filepath.Join(parent, "a", "b"), parent} {
				r := run(t, strings.NewReader(text), "import", "-", "--data-dir", dir)
				if r.code() != 1 || !strings.HasPrefix(r.err.Error(), "standard input: line ") {
					t.Errorf("%d %v", r.code(), r.err)
				}
				if got := names(t, parent); got != nil {
					t.Errorf("left behind: %q", got)
				}
			}
		})
	}
	t.Run("foreign", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "store", "mine")
		if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if r := run(t, strings.NewReader(whole), "import", "--data-dir", dir); r.code() != 1 || !strings.Contains(r.err.Error(), "is not empty") {
			t.Errorf("%d %v", r.code(), r.err)
		}
		if got := names(t, filepath.Dir(file)); len(got) != 1 || len(names(t, dir)) != 1 {
			t.Errorf("%q", got)
		}
	})
	t.Run("an empty folder is taken", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "store"), 0o700); err != nil {
			t.Fatal(err)
		}
		must(t, strings.NewReader(whole), "import", "--data-dir", dir)
		must(t, nil, "check", "--data-dir", dir)
	})
	t.Run("no such file", func(t *testing.T) {
		if r := run(t, nil, "import", "none.jsonl", "--data-dir", t.TempDir()); r.code() != 1 || !errors.Is(r.err, os.ErrNotExist) {
			t.Errorf("%d %v", r.code(), r.err)
		}
	})
}

// spoil writes records that nobody can read, behind the store's back.
func spoil(t testing.TB, dir string) {
	t.Helper()
	db, err := pebble.Open(filepath.Join(dir, "store"), &pebble.Options{
		FormatMajorVersion: pebble.FormatFlushableIngestExcises,
		Merger:             &pebble.Merger{Name: "patchbay.shared.1", Merge: pebble.DefaultMerger.Merge},
		Logger:             silent{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("r\x00spoilt/\x1b[2J"), []byte("x"), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}

func TestCheckFindsProblems(t *testing.T) {
	dir := restored(t)
	spoil(t, dir)
	r := run(t, nil, "check", "--data-dir", dir)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.code() != 1 || r.err.Error() != "1 problem" || len(lines) != 2 || !strings.HasPrefix(lines[0], "retained message ") ||
		!strings.Contains(lines[0], "spoilt/") || !strings.HasSuffix(lines[1], ": 1 problem") || strings.Contains(r.out, "\x1b") {
		t.Errorf("%d %v\n%s", r.code(), r.err, r.out)
	}
	r = run(t, nil, "check", "--json", "--data-dir", dir)
	var p report.Finding
	line, _, _ := strings.Cut(r.out, "\n")
	if err := json.Unmarshal([]byte(line), &p); err != nil || p.Problem == nil || r.code() != 1 {
		t.Errorf("%d %s %v", r.code(), r.out, err)
	}
	// The rest is exported, and that something is missing is said.
	r = run(t, nil, "export", "--data-dir", dir)
	if r.err != nil || !strings.Contains(r.out, `"retained":1,"values":1,"unreadable":1}}`) || r.diag != "patchbay: 1 records could not be read and are not in the export: see patchbay store check\n" {
		t.Errorf("%v %q\n%s", r.err, r.diag, r.out)
	}
	must(t, strings.NewReader(r.out), "import", "--data-dir", filepath.Join(t.TempDir(), "new"))
}

func TestWhereAndExitCodes(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	must(t, strings.NewReader(whole), "import") // into ./patchbay-data
	must(t, strings.NewReader(whole), "import", "--data-dir", "other")
	other, wrong := write("other.yaml", "data_dir: other\n"), write("wrong.yaml", "data_dirr: other\n")
	quiet := write("quiet.yaml", "admin: {socket: off}\n")
	inUse, err := disk.Open(disk.Options{Dir: filepath.Join("patchbay-data", "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.Close()
	for _, c := range []struct {
		name string
		env  string
		args string
		code int
		want string
	}{
		{"configured", "", "check --config other.yaml", 0, ""},
		{"variable", other, "check", 0, ""},
		{"flag before configuration", "", "check --data-dir other --config quiet.yaml", 0, ""},
		{"flag without configuration", wrong, "check --data-dir other", 0, ""},
		{"wrong configuration", wrong, "stats", 2, "correct it, or give --data-dir"},
		{"no such configuration", "", "export -c none.yaml", 2, "none.yaml"},
		{"nothing there", "", "stats --data-dir none", 1, "data_dir none/store does not exist"},
		{"nothing to check", "", "check --data-dir none", 2, "data_dir none/store does not exist"},
		{"in use", "", "stats", 1, "this very process) has it open"},
		{"in use, and no socket", "", "check", 2, "\nno running broker at ./patchbay-data/admin.sock"},
		{"in use, socket off", "", "export --config " + quiet, 1, "admin.socket is off in the configuration: give --socket"},
		{"socket", "", "export --socket none.sock", 1, "no running broker at ./none.sock"},
		{"check by socket", "", "check --socket none.sock", 2, "no running broker at ./none.sock"},
		{"arguments", "", "export file", 2, "unknown command"},
		{"files", "", "import a b", 2, "accepts at most 1 arg(s), received 2"},
		{"flag", "", "check --fast", 2, "unknown flag: --fast"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATCHBAY_CONFIG", c.env)
			r := run(t, nil, strings.Fields(c.args)...)
			if r.code() != c.code || c.code != 0 && !strings.Contains(r.err.Error(), c.want) {
				t.Errorf("exit %d, %v; want %d %s", r.code(), r.err, c.code, c.want)
			}
		})
	}
}

// A check whose answer ends early is none.
func TestCheckCutShort(t *testing.T) {
	for _, text := range []string{"", `{"problem":{"record":"r","what":"w"}}` + "\n", `{"summary":{"sess`} {
		if err := printFindings(io.Discard, strings.NewReader(text), false); err == nil || err.Error() != "the check was cut short" {
			t.Errorf("%q: %v", text, err)
		}
	}
}
