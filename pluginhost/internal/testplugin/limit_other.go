//go:build !linux

package testplugin

// limitMemory is for programs on Linux. WebAssembly has its limit from the broker.
func limitMemory() {}
