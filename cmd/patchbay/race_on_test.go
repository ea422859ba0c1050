//go:build race

package main_test

// raceEnabled: the binary is built with the race detector too.
const raceEnabled = true
