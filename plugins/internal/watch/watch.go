package watch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	timer = "watch"
	// shortest is the shortest period of a timer of the host.
	shortest = 100 * time.Millisecond
)

// Watch is the file that a plugin's config names. The zero value watches nothing. It is
// safe for concurrent use.
type Watch struct {
	mu   sync.Mutex
	file *File // nil: none
	take func(content []byte) error
	// broken is why the last version was not taken, unreadable why it could not be read.
	broken, unreadable error
}

// Set reads a file and gives its content to take, now and whenever Poll finds it changed;
// take's errors say what is wrong with it. The plugin's Timer is called every so often, for
// it to call Poll; never if that is 0. After an error all is as it was.
func (w *Watch) Set(
	ctx context.Context, h *sdk.Host, path string, every time.Duration, take func(content []byte) error,
) error {
	if h.Info().Runtime == sdk.RuntimeWasm {
		return errors.New("a plugin in WebAssembly has no files: write into the config what would be in it, or use another runtime")
	}
	file := New(path)
	w.mu.Lock()
	defer w.mu.Unlock()
	content, err := file.Read()
	if err == nil {
		err = take(content)
	}
	if err != nil {
		return err
	}
	w.file, w.take, w.broken, w.unreadable = file, take, nil, nil
	if every == 0 {
		return cancel(ctx, h)
	}
	every = max(every, shortest)
	err = h.SetTimer(ctx, sdk.Timer{Name: timer, Delay: every, Period: every})
	if errors.Is(err, sdk.ErrDenied) {
		h.Logger().Warn("changes of a file are not seen without the grant timers", "file", path)
		return nil
	}
	return err
}

// Clear watches nothing any more.
func (w *Watch) Clear(ctx context.Context, h *sdk.Host) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched := w.file != nil
	w.file, w.take, w.broken, w.unreadable = nil, nil, nil, nil
	if !watched {
		return nil
	}
	return cancel(ctx, h)
}

func cancel(ctx context.Context, h *sdk.Host) error {
	if _, err := h.CancelTimer(ctx, timer); err != nil && !errors.Is(err, sdk.ErrDenied) {
		return err
	}
	return nil
}

// Poll looks whether the file has changed, and reports whether its new content was taken.
func (w *Watch) Poll(h *sdk.Host) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return false
	}
	content, changed, err := w.file.Poll()
	if err != nil {
		if w.unreadable == nil || w.unreadable.Error() != err.Error() {
			h.Logger().Error("a file cannot be read; what was read before stays in force", "error", err)
		}
		w.unreadable = err
		return false
	}
	w.unreadable = nil
	if !changed {
		return false
	}
	if w.broken = w.take(content); w.broken != nil {
		h.Logger().Error("a changed file has a fault; what was read before stays in force", "error", w.broken)
		return false
	}
	h.Logger().Info("a changed file was read", "file", w.file.Path())
	return true
}

// Health is what sdk.Healther returns: degraded while something old is in force.
func (w *Watch) Health() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range []error{w.unreadable, w.broken} {
		if err != nil {
			return sdk.Degraded(err.Error() + " (what was read before stays in force)")
		}
	}
	return nil
}
