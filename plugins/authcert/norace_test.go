//go:build !race

package authcert

const withWasm = true
