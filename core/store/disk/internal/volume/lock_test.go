package volume

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// holdEnv makes the test binary a process that opens a volume, says so, and
// keeps it until its standard input ends.
const holdEnv = "PATCHBAY_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		if _, err := Open(Options{Dir: dir}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("open")
		bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(0) // without Close
	}
	os.Exit(m.Run())
}

// wantInUse checks that err says who has the folder.
func wantInUse(t *testing.T, err error, pid int, text string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrInUse) || e.PID != pid || !strings.Contains(err.Error(), text) {
		t.Errorf("error is %v, want %q in it and pid %d", err, text, pid)
	}
}

func TestFolderOfThisProcess(t *testing.T) {
	for _, c := range []struct {
		name, dir string
		files     vfs.FS
	}{
		{"memory", "data", vfs.NewMem()},
		{"real", t.TempDir(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := open(t, Options{Dir: c.dir, FS: c.files})
			_, err := Open(Options{Dir: c.dir, FS: c.files})
			wantInUse(t, err, os.Getpid(), fmt.Sprintf("is in use by another broker (pid %d, this very process, since 20", os.Getpid()))
			_, err = Open(Options{Dir: c.dir, FS: c.files, ReadOnly: true})
			wantInUse(t, err, os.Getpid(), fmt.Sprintf("a broker (pid %d, this very process) has it open", os.Getpid()))
			must(t, v.Close())
			must(t, v.Close()) // twice is harmless
			open(t, Options{Dir: c.dir, FS: c.files})
		})
	}
}

func TestReadersShareAFolder(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, Options{Dir: dir}).Close())
	// The line of a broker that was killed, whose number another process has now.
	must(t, os.WriteFile(filepath.Join(dir, lockName), self().encode(), 0o600))
	open(t, Options{Dir: dir, ReadOnly: true})
	open(t, Options{Dir: dir, ReadOnly: true})
	_, err := Open(Options{Dir: dir})
	wantInUse(t, err, 0, "is in use by another process (a broker, or one that reads the store)")
}

func TestFolderWithoutLockFileCanBeRead(t *testing.T) {
	for name, files := range map[string]vfs.FS{"memory": vfs.NewMem(), "real": vfs.Default} {
		dir := t.TempDir()
		must(t, open(t, Options{Dir: dir, FS: files}).Close())
		must(t, files.Remove(files.PathJoin(dir, lockName)))
		r := open(t, Options{Dir: dir, FS: files, ReadOnly: true})
		must(t, r.Close())
		if _, err := files.Stat(files.PathJoin(dir, lockName)); !isNotExist(err) {
			t.Errorf("%s: reading created a lock file", name)
		}
	}
}

func TestKilledBrokerLeavesNoLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Wait() })
	t.Cleanup(func() { in.Close() }) // the child ends by itself if the test fails before
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "open\n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	_, err = Open(Options{Dir: dir})
	wantInUse(t, err, cmd.Process.Pid, fmt.Sprintf("is in use by another broker (pid %d, since 20", cmd.Process.Pid))
	_, err = Open(Options{Dir: dir, ReadOnly: true})
	wantInUse(t, err, cmd.Process.Pid, fmt.Sprintf("a broker (pid %d) has it open: ask that broker, or stop it first", cmd.Process.Pid))

	must(t, cmd.Process.Kill())
	cmd.Wait() // its error says that it was killed
	b, err := os.ReadFile(filepath.Join(dir, lockName))
	must(t, err)
	if h, ok := parseHolder(b); !ok || h.pid != cmd.Process.Pid {
		t.Fatalf("the killed broker left %q: this test tests nothing", b)
	}
	v := open(t, Options{Dir: dir}) // at once
	if v.Created() {
		t.Error("the killed broker's folder was taken for a new one")
	}
	_, err = Open(Options{Dir: dir})
	wantInUse(t, err, os.Getpid(), "this very process")
}

// Who has the lock may not have written its line yet; that of an ended process
// is still there then.
func TestLineOfEndedProcessIsNotBelieved(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	must(t, cmd.Run())
	dir := t.TempDir()
	v := open(t, Options{Dir: dir})
	gone := self()
	gone.pid = cmd.Process.Pid
	must(t, os.WriteFile(filepath.Join(dir, lockName), gone.encode(), 0o600))
	_, err := Open(Options{Dir: dir})
	wantInUse(t, err, 0, "is in use by another process")

	gone.host = "elsewhere" // where this machine cannot look
	must(t, os.WriteFile(filepath.Join(dir, lockName), gone.encode(), 0o600))
	_, err = Open(Options{Dir: dir})
	wantInUse(t, err, gone.pid, fmt.Sprintf("(pid %d on elsewhere, since ", gone.pid))
	must(t, v.Close())
	b, err := os.ReadFile(filepath.Join(dir, lockName))
	must(t, err)
	if _, ok := parseHolder(b); ok || len(b) != holderSize {
		t.Errorf("after Close the lock file says %q", b)
	}
}

func FuzzHolder(f *testing.F) {
	f.Add(self().encode())
	f.Add([]byte("pid 12 host x since"))
	f.Add([]byte("pid 1 host 0 since \xb5"))
	f.Add([]byte("pid 99999999999999999999 host x since y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := parseHolder(b)
		if !ok {
			return
		}
		line := h.encode()
		if len(line) != holderSize {
			t.Fatalf("line of %d bytes", len(line))
		}
		if len(h.host)+len(h.since) > 200 {
			return // cut off
		}
		if again, ok := parseHolder(line); !ok || again != h {
			t.Fatalf("%+v came back as %+v", h, again)
		}
	})
}
