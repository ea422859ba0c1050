// Package clock gives the broker its two cheap ways of dealing with time: a
// coarse wall clock that costs one atomic load (time.Now costs about 100 ns on
// the machines this was measured on), and a hashed timing wheel for the hundreds
// of thousands of timers that a broker arms and seldom lets fire (keep-alive,
// Will Delay, Session Expiry, retry).
//
// A timer never fires early: its deadline is rounded up to the next tick. It
// fires at most one tick (100 ms) late, plus what the machine adds.
//
// The package knows nothing of MQTT. Precise measurements (latency histograms)
// should use time.Now; deadlines of a single system call belong to the
// operating system.
//
// Entry points: New for the real clock, NewManual for tests that turn the clock
// by hand.
package clock
