//go:build amd64 || arm64

package wasm

// compiles says that modules are compiled here.
const compiles = true
