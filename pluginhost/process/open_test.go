//go:build unix

package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func script(t *testing.T, text string, mode os.FileMode) (path, sum string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	raw := sha256.Sum256([]byte(text))
	return path, hex.EncodeToString(raw[:])
}

func TestLoad(t *testing.T) {
	path, right := script(t, "#!/bin/sh\n", 0o700)
	plain, _ := script(t, "text", 0o600)
	for _, c := range []struct {
		name  string
		o     Options
		cause Cause
		says  string
	}{
		{"pinned", Options{Path: path, SHA256: right}, 0, ""},
		{"pinned in capitals", Options{Path: path, SHA256: strings.ToUpper(right)}, 0, ""},
		{"dev", Options{Path: path, Dev: true}, 0, ""},
		{"self", Options{Self: true}, 0, ""},
		{"no sum", Options{Path: path}, NotPinned, "that is " + right},
		{"dev does not undo a sum", Options{Path: path, Dev: true, SHA256: strings.Repeat("0", 64)}, WrongSum, right},
		{"wrong sum", Options{Path: path, SHA256: strings.Repeat("0", 64)}, WrongSum, right},
		{"no sum at all", Options{Path: path, SHA256: "md5:1"}, WrongSum, `"md5:1"`},
		{"missing", Options{Path: path + "x", Dev: true}, NotExecutable, "no such file"},
		{"folder", Options{Path: t.TempDir(), Dev: true}, NotExecutable, "not a file"},
		{"not executable", Options{Path: plain, Dev: true}, NotExecutable, "not marked"},
		{"nothing", Options{}, 0, "no program"},
		{"both", Options{Self: true, Path: path}, 0, "both Self and"},
		{"cookie", Options{Self: true, Env: []string{"PATCHBAY_PLUGIN=x"}}, 0, `"PATCHBAY_PLUGIN"`},
		{"mux", Options{Self: true, Env: []string{"PLUGIN_MULTIPLEX_GRPC"}}, 0, `"PLUGIN_MULTIPLEX_GRPC"`},
		{"long", Options{Self: true, SocketDir: "/" + strings.Repeat("x", 90)}, 0, "too long"},
		{"window", Options{Self: true, Window: 9}, 0, "window of 9"},
		{"no pid", Options{Reattach: &Reattach{Addr: Addr{"unix", "/x"}}}, 0, "pid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(c.o)
			var e *Error
			switch {
			case err == nil:
				if c.says != "" {
					t.Error("no error")
				}
				return
			case c.says == "" || !strings.Contains(err.Error(), c.says):
				t.Errorf("%v; it should say %q", err, c.says)
			}
			if errors.As(err, &e) != (c.cause != 0) || e != nil && e.Cause != c.cause {
				t.Errorf("%v; the cause should be %v", err, c.cause)
			}
			if c.cause != 0 && !c.cause.Permanent() {
				t.Errorf("%v passes by itself?", c.cause)
			}
		})
	}
}

// TestChanged swaps the program between Load and Open, and between Open and Open.
func TestChanged(t *testing.T) {
	path, right := script(t, "#!/bin/sh\necho 'no plugin'\n", 0o700)
	p := load(t, Options{Path: path, SHA256: right, SocketDir: socketDir})
	if p.Info() != (Info{path, right}) {
		t.Errorf("%+v", p.Info())
	}
	var e *Error
	if _, err := p.Open(t.Context(), plugintest.NewHost()); !errors.As(err, &e) || e.Cause != BadHandshake {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch "+path+".ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(t.Context(), plugintest.NewHost()); !errors.As(err, &e) || e.Cause != WrongSum {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path + ".ran"); err == nil {
		t.Error("it has run")
	}
}

func TestNoStart(t *testing.T) {
	notCode, _ := script(t, "\x7fELF and nothing more", 0o700)
	quick := func(o Options) Options { o.StartTimeout = 700 * time.Millisecond; return o }
	for _, c := range []struct {
		name  string
		o     Options
		cause Cause
		says  string
	}{
		{"garbage", self("garbage"), BadHandshake, `"usage: something else"`},
		{"endless line", self("endless"), BadHandshake, `"xxxx`},
		{"another version", self("future"), WrongVersion, "version 7 of the plugin contract, this broker version 1"},
		{"net/rpc", self("netrpc"), BadHandshake, "not grpc"},
		{"no certificate", self("bare"), BadHandshake, "PLUGIN_CLIENT_CERT"},
		{"nobody at the address", self("elsewhere"), Broken, "no connection"},
		{"ends", self("quitter"), Crashed, "exit status 4; it wrote: no database"},
		{"says nothing", quick(self("lingerer")), TimedOut, "700ms"},
		{"not code", Options{Path: notCode, Dev: true, SocketDir: socketDir}, NotExecutable, "exec format error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			p, err := load(t, c.o).Open(t.Context(), plugintest.NewHost())
			if err == nil {
				p.Close()
				t.Fatal("no error")
			}
			var e *Error
			if !errors.As(err, &e) || e.Cause != c.cause || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v (%v); it should be %v and say %q", err, e, c.cause, c.says)
			}
			if d := time.Since(began); d > limit {
				t.Errorf("it took %v", d)
			}
		})
	}
}

// TestGivenUp ends Open by its context, while the program says nothing.
func TestGivenUp(t *testing.T) {
	program := load(t, self("lingerer"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := program.Open(ctx, plugintest.NewHost()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := program.Open(canceled, plugintest.NewHost()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestEnvironment sees what a program gets, and that its folder is private and removed.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_BROKER", "1")
	t.Setenv("PASSED_ON", "yes")
	o := self("environment")
	o.Env = append(o.Env, "PASSED_ON", "NOT_THERE", "SET=a=b")
	o.Dir = t.TempDir()
	p := open(t, o)
	m, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for entry := range strings.SplitSeq(m.Description, "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		got[name] = value
	}
	names := slices.Sorted(maps.Keys(got))
	want := []string{
		"DIR", "PASSED_ON", "PATCHBAY_PLUGIN", "PATCHBAY_PLUGIN_LIFELINE", "PLUGIN_CLIENT_CERT", "PLUGIN_MAX_PORT", "PLUGIN_MIN_PORT",
		"PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", roleEnv, "SET",
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("it has the variables %v, not %v", names, want)
	}
	if got["PASSED_ON"] != "yes" || got["SET"] != "a=b" {
		t.Errorf("%v", got)
	}
	if state, _ := filepath.EvalSymlinks(o.Dir); got["DIR"] != state {
		t.Errorf("it works in %q, not in %q", got["DIR"], state)
	}
	dir := got["PLUGIN_UNIX_SOCKET_DIR"]
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v", dir, info, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}
