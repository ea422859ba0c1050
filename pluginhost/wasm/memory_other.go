//go:build !unix

package wasm

import "github.com/tetratelabs/wazero/experimental"

// pageFuel is the price of a page of memory.grow where the memory moves as it grows.
const pageFuel = 80_000

// allocator returns nil: linear memory is in Go's heap.
func allocator() experimental.MemoryAllocator { return nil }
