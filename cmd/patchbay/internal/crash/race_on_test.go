//go:build race

package crash

// raceEnabled: the binary is built with the race detector too.
const raceEnabled = true
