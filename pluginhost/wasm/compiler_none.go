//go:build !amd64 && !arm64

package wasm

// compiles says that modules are interpreted here.
const compiles = false
