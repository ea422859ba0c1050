package disk

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/patchbay-mq/patchbay/core/store"
)

// fault makes operations on files fail with an error while it is set.
type fault struct {
	err   atomic.Pointer[error]
	match func(op errorfs.Op) bool
}

func (f *fault) String() string { return "fault" }

func (f *fault) MaybeError(op errorfs.Op) error {
	if p := f.err.Load(); p != nil && f.match(op) {
		return *p
	}
	return nil
}

func (f *fault) set(err error) { f.err.Store(&err) }
func (f *fault) clear()        { f.err.Store(nil) }

// A disk that breaks ends the store, not the process: everything is answered
// with the error, once.
func TestBrokenDisk(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind errorfs.OpKind
		path string
	}{
		{"write of the log", errorfs.OpFileWrite, ".log"},
		{"sync of the log", errorfs.OpFileSyncData, ".log"},
		{"write of a table", errorfs.OpFileWrite, ".sst"},
		{"write of the manifest", errorfs.OpFileWrite, "MANIFEST"},
		{"creation of a log", errorfs.OpCreate, ".log"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := &fault{match: func(op errorfs.Op) bool {
				return op.Kind == tc.kind && strings.Contains(op.Path, tc.path)
			}}
			var failures atomic.Int32
			failed := make(chan error, 1)
			s, err := Open(Options{Dir: "data", FS: errorfs.Wrap(vfs.NewMem(), f), OnFailed: func(err error) {
				failures.Add(1)
				failed <- err
			}})
			if err != nil {
				t.Fatal(err)
			}
			load(t, s)
			c := create(s, "c", false)
			safe(t, c.add("before", false))
			f.set(syscall.EIO)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Add(1)
			go func() { // as much as it takes for logs to be changed and tables to be written
				defer wg.Done()
				big := store.Entry{Message: message(strings.Repeat("x", 1<<20)), QoS: 1}
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
						big.Message.Ref()
						c.Lock()
						c.Add(big, 0, false, nil)
						c.Unlock()
					}
				}
			}()
			var reason error
			select {
			case reason = <-failed:
			case <-time.After(patience):
				t.Fatal("OnFailed was not called")
			}
			close(stop)
			wg.Wait()
			if !errors.Is(reason, syscall.EIO) {
				t.Errorf("OnFailed: %v", reason)
			}
			r := c.add("after", false)
			done := make(chan error, 2)
			if settled, err := r.Wait(func(err error) { done <- err }); settled {
				done <- err
			}
			if !s.Sync(func(err error) { done <- err }) {
				for range 2 {
					select {
					case err := <-done:
						if !errors.Is(err, syscall.EIO) {
							t.Errorf("answer: %v", err)
						}
					case <-time.After(patience):
						t.Fatal("no answer")
					}
				}
			} else {
				t.Error("Sync says that all is safe")
			}
			if _, err := s.Values().Set("b", "k", nil, 0); !errors.Is(err, syscall.EIO) {
				t.Errorf("Set: %v", err)
			}
			s.Stats()
			if err := s.Close(); !errors.Is(err, syscall.EIO) {
				t.Errorf("Close: %v", err)
			}
			if n := failures.Load(); n != 1 {
				t.Errorf("OnFailed was called %d times", n)
			}
		})
	}
}

// A full disk loses nothing: what was handed over waits until there is space.
func TestFullDisk(t *testing.T) {
	f := &fault{match: func(op errorfs.Op) bool {
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpCreate, errorfs.OpFileSyncData, errorfs.OpFileSync:
			return !strings.Contains(op.Path, "ballast") && !strings.HasSuffix(op.Path, ".sst")
		}
		return false
	}}
	full := make(chan bool, 10)
	fs := vfs.NewMem()
	s := open(t, Options{FS: errorfs.Wrap(fs, f), OnFull: func(b bool) { full <- b }, OnFailed: func(err error) { t.Error(err) }})
	load(t, s)
	c := create(s, "c", false)
	safe(t, c.add("before", false))
	f.set(syscall.ENOSPC)
	r := c.add("meanwhile", false)
	select {
	case b := <-full:
		if !b || !s.Full() || !s.Stats().Full {
			t.Error("not full")
		}
	case <-time.After(patience):
		t.Fatal("OnFull was not called")
	}
	if _, err := s.Values().Set("b", "k", nil, 0); !errors.Is(err, store.ErrFull) {
		t.Errorf("Set: %v", err)
	}
	settled := make(chan error, 1)
	if ok, _ := r.Wait(func(err error) { settled <- err }); ok {
		t.Fatal("safe on a full disk")
	}
	select {
	case err := <-settled:
		t.Fatalf("safe on a full disk: %v", err)
	default:
	}
	f.clear()
	select {
	case err := <-settled:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("it did not go on")
	}
	safe(t, c.add("after", false))
	s.Close()
	s = open(t, Options{FS: fs})
	c = load(t, s).sessions["/c"]
	c.restoredFlight(t)
	if got := strings.Join(c.drain(t), " "); got != "before meanwhile after" {
		t.Errorf("got %s", got)
	}
}

func TestAfterClose(t *testing.T) {
	s := open(t, Options{})
	load(t, s)
	c := create(s, "c", false)
	early := c.add("early", true)
	v := s.View()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	safe(t, early)
	r := c.add("late", false)
	if settled, err := r.Wait(func(error) {}); !settled || !errors.Is(err, store.ErrClosed) {
		t.Errorf("%v %v", settled, err)
	}
	done := make(chan error, 1)
	if s.Sync(func(err error) { done <- err }) {
		t.Error("Sync says that all is safe")
	} else if err := <-done; !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
	c.Subscribe("f", store.Subscription{})
	c.Front()
	c.End(nil)
	s.Retain("", message("x"), nil)
	if _, err := v.Check(nil); !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
	if err := s.View().Sessions(nil); !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
	if err := errors.Join(v.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}
