//go:build race

package guard

// withWasm is false with the race detector: it slows wazero's compiler down to minutes, and
// a module runs on one goroutine.
const withWasm = false
