package volume

import (
	"errors"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	ballastName = "PATCHBAY.ballast"
	probeName   = "PATCHBAY.probe"

	// The ballast has to hold what Pebble has under way when the disk is full: a
	// log, a flush and a compaction's outputs, some tens of MiB. On a small disk
	// that would be too much to ask.
	ballastMost  = 64 << 20
	ballastLeast = 1 << 20
)

// ballastSize is the size of the ballast for a reserve, on a disk of a size (0:
// not known).
func ballastSize(reserve int64, disk uint64) int64 {
	size := min(reserve, ballastMost)
	if disk > 0 {
		size = min(size, int64(disk/100))
	}
	return max(size, ballastLeast)
}

// allocate creates a file of a size whose blocks really are taken from the disk.
// On error nothing is left of it. It is called with s.mu held.
func (v *Volume) allocate(name string, size int64) error {
	path := v.path(name)
	f, err := v.inner.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = fallocate(f, size)
	if errors.Is(err, errors.ErrUnsupported) {
		err = fill(f, size)
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		v.inner.Remove(path) // it is err that counts
	}
	return err
}

// fill writes a file full. With random bytes: file systems that compress give
// zeros no space. And synced: some look for the blocks no sooner.
func fill(f vfs.File, size int64) error {
	chunk := make([]byte, min(size, 1<<20))
	random := rand.NewChaCha8([32]byte{})
	for size > 0 {
		chunk = chunk[:min(size, int64(len(chunk)))]
		random.Read(chunk) // never fails
		n, err := f.Write(chunk)
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return f.SyncData()
}

// dropBallast gives the ballast's space back. It is called with s.mu held.
func (v *Volume) dropBallast() {
	// If it cannot be removed, or an operator has done that, then there is no
	// more to gain here either way.
	v.inner.Remove(v.path(ballastName))
	v.space.have = false
}
