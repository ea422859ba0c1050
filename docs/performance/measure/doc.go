// Measure takes the figures of docs/performance.md: it starts the broker of this tree
// (or another one, -broker), puts load on it with "patchbay bench", and appends one JSON
// line for each measurement to a file, from which the program plot draws.
//
//	go run ./docs/performance/measure -out docs/performance/patchbay.jsonl
//	go run ./docs/performance/measure -broker 'mosquitto=run-mosquitto {port}' -only latency,durable
//
// The broker has one core and the load generator another, except where the measurement
// is about both. The broker's CPU time and memory come from /proc, of all processes of
// its process group; CPU per message is the CPU of a whole run, warm-up included, divided
// by the messages of the whole run. Every measurement has a broker of its own, in an
// empty folder.
//
//   - main.go: flags, the list of series
//   - broker.go, proc.go: the broker's process
//   - load.go: one run of "patchbay bench"
//   - client.go: a client for what bench does not do (many filters, retained messages)
//   - traffic.go, population.go, durable.go, profile.go: the series
package main
