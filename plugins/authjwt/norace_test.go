//go:build !race

package authjwt

const withWasm = true
