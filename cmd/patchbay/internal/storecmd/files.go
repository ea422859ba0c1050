package storecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/serve"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/dump"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// untilSignal returns a context that a signal ends, so that half a file can be
// removed. A second one ends the program at once.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// replaceFile writes a file under another name and renames it when it is whole:
// until then, and if anything goes wrong, the one before stays.
func replaceFile(ctx context.Context, name string, write func(ctx context.Context, w io.Writer) error) (err error) {
	ctx, stop := untilSignal(ctx)
	defer stop()
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := write(ctx, f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

// syncFolder makes names in a folder outlive a power loss.
func syncFolder(dir string) error {
	d, err := vfs.Default.OpenDir(dir) // knows systems where this cannot be done
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openInput returns what to import and its name.
func openInput(stdin io.Reader, args []string) (in io.ReadCloser, name string, err error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(stdin), "standard input", nil
	}
	f, err := os.Open(args[0])
	return f, args[0], err
}

// restore imports into a folder beside the store's, and makes it the store.
func (p *place) restore(ctx context.Context, in io.Reader, name string, stdout io.Writer) (err error) {
	c, err := p.load()
	if err != nil {
		return err
	}
	target := serve.StoreDir(c)
	if err := vacant(target); err != nil {
		return err
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	made, err := makeFolder(c.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	temp, err := os.MkdirTemp(c.DataDir, "store.import-*")
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
			for _, dir := range made {
				_ = os.Remove(dir) // unless somebody else has put something in it
			}
		}
	}()
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	o := serve.StoreOptions(c, nil)
	o.Dir = temp
	source := interruptible(ctx, in)
	defer source.Close()
	n, err := fill(o, source)
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			err = errors.New("interrupted: nothing was imported")
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := settle(temp, target); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d sessions, %d subscriptions, %d messages in flight, %d queued, %d retained, %d values\n",
		target, n.Sessions, n.Subscriptions, n.Inflight, n.Queued, n.Retained, n.Values)
	return err
}

// vacant reports whether there is a store, or anything else, already.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: choose another data_dir, or move it away first", dir)
	}
	return nil
}

// makeFolder makes a folder and its parents, and returns those that were missing,
// the innermost first.
func makeFolder(dir string) (made []string, err error) {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			return made, os.MkdirAll(dir, 0o700)
		}
		made = append(made, at)
	}
}

// fill imports into a new folder; without an error it is whole and safe.
func fill(o disk.Options, in io.Reader) (dump.Counts, error) {
	im, err := disk.Import(o)
	if err != nil {
		return dump.Counts{}, err
	}
	n, err := dump.Import(in, im)
	if err != nil {
		return n, errors.Join(err, im.Abort())
	}
	return n, im.Close()
}

// interruptible is a reader that returns an error when ctx ends, whatever r waits
// for.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
	}()
	return out
}

// settle gives the new folder its name.
func settle(temp, target string) error {
	// An empty folder is in the way of a rename; one with anything in it is not
	// removed, and somebody else was faster.
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(target))
}
