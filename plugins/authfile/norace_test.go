//go:build !race

package authfile

const withWasm = true
