package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	lockName = "PATCHBAY.lock"

	// holderSize is the length of the lock file's only line. It never changes, so
	// that one write replaces the line and a full disk cannot get in the way.
	holderSize = 256
)

// holder is who has the folder open, as its lock file says.
type holder struct {
	pid   int
	host  string
	since string
}

func (h holder) encode() []byte {
	return holderLine(fmt.Sprintf("pid %d host %s since %s", h.pid, h.host, h.since))
}

// holderLine pads or cuts a text to the length of the line.
func holderLine(text string) []byte {
	line := bytes.Repeat([]byte{' '}, holderSize)
	copy(line[:holderSize-1], text)
	line[holderSize-1] = '\n'
	return line
}

// parseHolder reads a lock file's line; false if there is none, or half of one.
func parseHolder(b []byte) (holder, bool) {
	var h holder
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	n, err := fmt.Sscanf(string(line), "pid %d host %s since %s", &h.pid, &h.host, &h.since)
	if err != nil || n != 3 || h.pid <= 0 {
		return holder{}, false
	}
	return h, true
}

// self is this process.
func self() holder {
	host, err := os.Hostname()
	host = strings.Join(strings.Fields(host), "-") // one word
	if err != nil || host == "" {
		host = "unknown"
	}
	return holder{pid: os.Getpid(), host: host, since: time.Now().UTC().Format(time.RFC3339)}
}

// acquire locks the folder. A file system in memory has vfs's own locks; for
// files those will not do, since taking them empties the file that says who has
// it. The lock goes with the process, however that ends.
func (v *Volume) acquire() (io.Closer, error) {
	if vfs.Root(v.inner) == vfs.Default {
		return v.acquireFile()
	}
	if v.o.ReadOnly {
		if _, err := v.inner.Stat(v.path(lockName)); isNotExist(err) {
			return nil, nil
		}
	}
	l, err := v.inner.Lock(v.path(lockName))
	if errors.Is(err, syscall.EAGAIN) {
		return nil, v.inUse(self(), true)
	}
	if err != nil {
		return nil, v.refuse("lock it", err)
	}
	return l, nil
}

// fileLock is the open and locked lock file.
type fileLock struct {
	f     *os.File
	wrote bool
}

func (v *Volume) acquireFile() (io.Closer, error) {
	flags := os.O_RDWR | os.O_CREATE
	if v.o.ReadOnly {
		flags = os.O_RDONLY // several may read at once: the lock is a shared one
	}
	f, err := os.OpenFile(v.path(lockName), flags, 0o600)
	if v.o.ReadOnly && isNotExist(err) {
		return nil, nil // no broker has it open: it would have created the file
	}
	if err != nil {
		return nil, v.refuse("lock it", err)
	}
	ok, err := tryLock(f, v.o.ReadOnly)
	if err == nil && ok && !v.o.ReadOnly {
		// Only a message needs the line: no space for it is no reason to stop.
		if _, err = f.WriteAt(self().encode(), 0); isNoSpace(err) {
			err = nil
		}
	}
	if err != nil {
		f.Close()
		return nil, v.refuse("lock it", err)
	}
	if !ok {
		defer f.Close()
		h, known := readHolder(f)
		if !v.o.ReadOnly {
			// Where a reader still fits in there are only readers: the line is old.
			if shared, _ := tryLock(f, true); shared {
				h, known = holder{}, false
			}
		}
		return nil, v.inUse(h, known)
	}
	return &fileLock{f: f, wrote: !v.o.ReadOnly}, nil
}

// readHolder reads who has the lock. A broker that was killed leaves its line,
// and whoever has the lock now may not have written its own, or may be a reader,
// who writes none: a process that has ended is not named.
func readHolder(f *os.File) (holder, bool) {
	b := make([]byte, holderSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return holder{}, false
	}
	h, ok := parseHolder(b[:n])
	if ok && h.host == self().host && !alive(h.pid) {
		return holder{}, false
	}
	return h, ok
}

// Close takes the line out of the file and unlocks it.
func (l *fileLock) Close() error {
	var err error
	if l.wrote {
		_, err = l.f.WriteAt(holderLine(""), 0)
		if isNoSpace(err) {
			err = nil
		}
	}
	return errors.Join(err, l.f.Close())
}

func (v *Volume) inUse(h holder, known bool) error {
	e := &Error{Dir: v.dir, Kind: ErrInUse, PID: h.pid}
	me := self()
	who := fmt.Sprintf("pid %d", h.pid)
	switch {
	case known && h.host != me.host:
		who += " on " + h.host
	case known && h.pid == me.pid:
		who += ", this very process"
	}
	switch {
	case !known:
		e.Text = "is in use by another process (a broker, or one that reads the store): wait until it has ended or choose another folder"
	case v.o.ReadOnly:
		e.Text = fmt.Sprintf("cannot be read now: a broker (%s) has it open: ask that broker, or stop it first", who)
	default:
		e.Text = fmt.Sprintf("is in use by another broker (%s, since %s): stop that one or choose another folder", who, h.since)
	}
	return e
}

// errNoLocks explains a file system that has no locks.
func errNoLocks(err error) error {
	return fmt.Errorf("this file system does not lock files: %w", err)
}
