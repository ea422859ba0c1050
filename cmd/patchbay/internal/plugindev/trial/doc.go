// Package trial runs a plugin without a broker, for its author: a WebAssembly module in
// the very sandbox that a broker uses, with its fuel and memory limits, or a program as a
// child process.
//
//	Open ─► describe, check, start, health ─► Plugin ─┬─ Replay   recorded events in, verdicts out
//	                                                  └─ Bench    how long, how much fuel, how much memory
//	Read reads recordings, Compare tells what is other than expected
//
// A Plugin calls a host that stands in for the broker (plugintest.Host): its clock stands
// still, what it stores is gone in the end, nothing is sent anywhere. Grants are those that
// the manifest asks for, less Options.Deny; what they are limited to is not looked at.
//
// The package knows nothing of commands, files' names or the broker. Its rules about
// manifests, configs and answers are those of package pluginhost (Check, CheckAnswer).
package trial
