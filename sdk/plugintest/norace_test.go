//go:build !race

package plugintest_test

const withWasm = true
