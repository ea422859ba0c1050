//go:build race

package plugintest_test

// withWasm is false with the race detector, which slows wazero's compiler down to minutes, and
// a module runs on one goroutine.
const withWasm = false
