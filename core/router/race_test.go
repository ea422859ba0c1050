//go:build race

package router

const raceEnabled = true // sync.Pool drops items at random then, so it allocates
