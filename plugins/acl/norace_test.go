//go:build !race

package acl

const withWasm = true
