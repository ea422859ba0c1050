//go:build race

package pluginhost_test

// raced says that the race detector is on, with which to load a WebAssembly module takes
// ten times as long.
const raced = true
