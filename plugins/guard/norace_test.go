//go:build !race

package guard

const withWasm = true
