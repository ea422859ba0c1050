package volume

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tailLimit bounds what a file keeps in memory of what is not synced. Pebble
// syncs a log or manifest after a few hundred KiB at the most; with Mode Interval
// it is what is written in an interval.
const tailLimit = 4 << 20

// tail is the end of a file: what was written since the last sync.
type tail struct {
	mu    sync.Mutex
	start int64 // offset of buf
	buf   []byte
	lost  int64 // >0: the tail was too long; the offset up to which it is not kept
	never bool  // the file is not written from front to back
}

// add keeps a copy of what is about to be written at an offset.
func (t *tail) add(off int64, p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost > 0 || len(t.buf)+len(p) > tailLimit {
		t.buf, t.lost = nil, off+int64(len(p))
		return
	}
	if len(t.buf) == 0 {
		t.start = off
	}
	t.buf = append(t.buf, p...)
}

// drop forgets what lies before an offset: it is on the disk.
func (t *tail) drop(upTo int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost > 0 {
		if upTo >= t.lost {
			t.lost = 0
		}
		return
	}
	if n := upTo - t.start; n > 0 {
		n = min(n, int64(len(t.buf)))
		t.buf = t.buf[:copy(t.buf, t.buf[n:])]
		t.start += n
	}
}

// lose says that the tail is not all that was written.
func (t *tail) lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.never = true
}

// whole reports whether all that is not synced is here.
func (t *tail) whole() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost == 0 && !t.never
}

// rewrite writes the tail to its place again. With a writer beside it that
// may put bytes there before the writer does: the same ones.
func (t *tail) rewrite(f vfs.File) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) == 0 {
		return nil
	}
	_, err := f.WriteAt(t.buf, t.start)
	return err
}
