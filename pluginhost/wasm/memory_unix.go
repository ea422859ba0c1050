//go:build unix

package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// pageFuel is the price of a page of memory.grow where the memory does not move: what meter takes by default.
const pageFuel = 0

// mapped is a linear memory outside of Go's heap: the most that it may become is reserved, and what the guest touches is
// committed. So it does not move as it grows, does not count for the garbage collector's pace, and is given back when
// the instance is closed.
type mapped struct {
	all []byte
}

func allocator() experimental.MemoryAllocator {
	return experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		m := &mapped{}
		if most > 0 {
			// On failure Reallocate returns nil, and the instance is not made.
			m.all, _ = unix.Mmap(-1, 0, int(most), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		}
		return m
	})
}

// Reallocate is of experimental.LinearMemory.
func (m *mapped) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	return m.all[:size:len(m.all)]
}

// Free is of experimental.LinearMemory. It may be called more than once.
func (m *mapped) Free() {
	if m.all != nil {
		_ = unix.Munmap(m.all)
		m.all = nil
	}
}
