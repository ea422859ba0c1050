//go:build race

package rust_test

const raceEnabled = true
