package volume

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mountEnv is set in the process that has mounts of its own.
const mountEnv = "PATCHBAY_TEST_MOUNTS"

// withMounts runs a test in a process that may mount what it likes: its mounts
// are its own, and go when it ends.
func withMounts(t *testing.T, run func(t *testing.T)) {
	if os.Getenv(mountEnv) != "" {
		run(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), mountEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("this user may not have mounts of its own: %v", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skip(string(out))
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("it did not run:\n%s", out)
	}
}

// tmpfs mounts a small disk.
func tmpfs(t *testing.T, options string) string {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillUp takes all the space there is.
func fillUp(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2] // to the last byte
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// The whole way on a disk that is really full.
func TestRealFullDisk(t *testing.T) {
	withMounts(t, func(t *testing.T) {
		disk := tmpfs(t, "size=48m")
		dir := filepath.Join(disk, "data")
		told := make(chan bool, 10)
		v := open(t, Options{Dir: dir, Reserve: 4 * mib, OnFull: func(full bool) { told <- full }})
		info, err := os.Stat(filepath.Join(dir, ballastName))
		must(t, err)
		if blocks := info.Sys().(*syscall.Stat_t).Blocks * 512; blocks < v.space.ballast {
			t.Errorf("a ballast of %d bytes has %d on the disk", v.space.ballast, blocks)
		}
		db := openPebble(t, v, false)
		_, wait := fillPebble(t, db, 0, 100)
		wait()

		fillUp(t, filepath.Join(disk, "filler"))
		v.Look()
		if !<-told || !v.Full() {
			t.Fatal("not full")
		}
		if _, err := os.Stat(filepath.Join(dir, ballastName)); err != nil {
			t.Errorf("the ballast was given up before a write needed it: %v", err)
		}
		const n = 4000 // 4 MB into the ballast's 1 MiB
		safe, wait := fillPebble(t, db, 100, n)
		eventually(t, "stand still", func() bool { return v.space.waiting.Load() > 0 && safe.Load() > 0 })
		must(t, os.Remove(filepath.Join(disk, "filler")))
		wait()
		v.Look()
		if <-told || v.Full() {
			t.Error("still full")
		}
		checkPebble(t, db, n)
		must(t, db.Close())
		must(t, v.Close())
		v = open(t, Options{Dir: dir})
		db = openPebble(t, v, false)
		checkPebble(t, db, n)
		must(t, db.Close())
		must(t, v.Close())
	})
}

// No more inodes: a full disk whose figures say that all is well.
func TestRealDiskWithoutInodes(t *testing.T) {
	withMounts(t, func(t *testing.T) {
		disk := tmpfs(t, "size=48m,nr_inodes=40")
		dir := filepath.Join(disk, "data")
		v := open(t, Options{Dir: dir, Reserve: mib})
		var fillers []string
		for {
			f, err := os.CreateTemp(disk, "filler")
			if errors.Is(err, syscall.ENOSPC) {
				break
			}
			must(t, err)
			fillers = append(fillers, f.Name())
			must(t, f.Close())
		}
		// The ballast's inode serves the first, and the second waits.
		must(t, create(t, v, "1.log").Close())
		done := make(chan error, 1)
		go func() {
			f, err := v.FS().Create(v.path("2.log"), "")
			done <- errors.Join(err, f.Close())
		}()
		eventually(t, "wait", func() bool { return v.space.waiting.Load() > 0 })
		if !v.Full() {
			t.Error("not full")
		}
		for _, name := range fillers {
			must(t, os.Remove(name))
		}
		must(t, <-done)
		v.Look()
		eventually(t, "end being full", func() bool { return !v.Full() })
		must(t, v.Close())
	})
}

func TestRealReadOnlyDisk(t *testing.T) {
	withMounts(t, func(t *testing.T) {
		disk := tmpfs(t, "size=48m")
		dir := filepath.Join(disk, "data")
		v := open(t, Options{Dir: dir})
		db := openPebble(t, v, false)
		_, wait := fillPebble(t, db, 0, 100)
		wait()
		must(t, db.Close())
		must(t, v.Close())

		must(t, unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		_, err := Open(Options{Dir: dir})
		if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "data_dir "+dir+" is on a read-only file system") {
			t.Errorf("error is %v", err)
		}
		_, err = Open(Options{Dir: filepath.Join(disk, "other")})
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("error is %v", err)
		}
		r := open(t, Options{Dir: dir, ReadOnly: true})
		db = openPebble(t, r, true)
		checkPebble(t, db, 100)
		must(t, db.Close())
		must(t, r.Close())
	})
}

func TestRealFolderWithoutPermission(t *testing.T) {
	base := t.TempDir()
	must(t, os.Chmod(filepath.Dir(base), 0o755)) // both made for this test
	must(t, os.Chmod(base, 0o755))
	closed := filepath.Join(base, "closed")
	must(t, os.Mkdir(closed, 0o555))
	theirs := filepath.Join(base, "theirs")
	must(t, os.Mkdir(theirs, 0o700))
	must(t, open(t, Options{Dir: theirs}).Close())
	must(t, os.Chmod(filepath.Join(theirs, lockName), 0o400))
	must(t, os.Chmod(theirs, 0o555))
	hidden := filepath.Join(base, "hidden")
	must(t, os.Mkdir(hidden, 0o700))
	// As nobody, for files, if the test runs as root. The thread keeps that, and
	// ends with its goroutine, since it is not unlocked.
	errs := make(chan error, 4)
	go func() {
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			for dir := base; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
				if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&1 == 0 {
					errs <- errors.New("skip")
					return
				}
			}
			if err := unix.Setfsuid(65534); err != nil {
				errs <- err
				return
			}
		}
		for _, dir := range []string{closed, filepath.Join(closed, "x"), theirs, hidden} {
			_, err := Open(Options{Dir: dir})
			errs <- err
		}
	}()
	for _, text := range []string{"no permission to lock it", "no permission to create it", "no permission to lock it", "no permission to read"} {
		err := <-errs
		if err != nil && err.Error() == "skip" {
			t.Skip("nobody cannot reach the folder for temporary files")
		}
		if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), text) {
			t.Errorf("error is %v, want %q in it", err, text)
		}
	}
}
