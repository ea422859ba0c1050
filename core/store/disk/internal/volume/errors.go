package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// What Open refuses, for errors.Is. The text that is worth reading is *Error's.
var (
	ErrForeign    = errors.New("not a Patchbay data folder")
	ErrNotFolder  = errors.New("not a folder")
	ErrPermission = errors.New("no permission")
	ErrReadOnly   = errors.New("read-only file system")
	ErrNoSpace    = errors.New("too little space")
	ErrInUse      = errors.New("in use")
	ErrDamaged    = errors.New("damaged marker")
	ErrNewer      = errors.New("written by a newer Patchbay")
	ErrNotFound   = errors.New("no data folder") // read-only, and there is nothing to read
)

// errWrite is the answer to whoever writes to a volume that is open read-only.
var errWrite = errors.New("the data folder is open read-only")

// Error says which folder cannot be used, why, and what to do.
type Error struct {
	Dir   string
	Kind  error  // one of the errors above
	Text  string // goes on after "data_dir X "
	Cause error  // what the system said; may be nil
	PID   int    // of ErrInUse: the process that has it; 0: not known
}

func (e *Error) Error() string { return "data_dir " + e.Dir + " " + e.Text }

// Unwrap gives errors.Is and errors.As both the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// refuse explains why doing (an infinitive) something to the folder failed.
func (v *Volume) refuse(doing string, err error) error {
	e := &Error{Dir: v.dir, Cause: err}
	switch {
	case isNoSpace(err):
		e.Kind = ErrNoSpace
		e.Text = "is on a full disk (" + reason(err) + "): free some space and start again"
	case isReadOnlyFS(err):
		e.Kind = ErrReadOnly
		e.Text = "is on a read-only file system: mount it writable or choose another folder"
	case errors.Is(err, fs.ErrPermission):
		e.Kind = ErrPermission
		e.Text = fmt.Sprintf("gives %s no permission to %s (%s): make that user its owner or choose another folder",
			userName(), doing, reason(err))
	default:
		return fmt.Errorf("data_dir %s: cannot %s: %w", v.dir, doing, bare(err))
	}
	return e
}

// wrap names the folder, the operation and the file, which the errors of system
// calls do only now and then, once.
func (v *Volume) wrap(op, name string, err error) error {
	return fmt.Errorf("data_dir %s: %s %s: %w", v.dir, op, name, bare(err))
}

// bare is err without the operation and path that package os adds.
func bare(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	if le := (*os.LinkError)(nil); errors.As(err, &le) {
		return le.Err
	}
	return err
}

func reason(err error) string { return bare(err).Error() }

func userName() string {
	if uid := os.Geteuid(); uid >= 0 {
		return fmt.Sprintf("this process (user id %d)", uid)
	}
	return "this process"
}

// isBroken tells errors that say that the disk has gone from those that are
// ordinary answers (no such file, too many open files). Writes and syncs do not
// ask: any error of theirs but no space is a failure.
func isBroken(err error) bool {
	if isReadOnlyFS(err) {
		return true
	}
	for _, e := range []syscall.Errno{syscall.EIO, syscall.ENXIO, syscall.ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return isBrokenHere(err)
}
