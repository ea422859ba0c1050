// Package examples holds plugins to learn from, each with a README, tests, and a
// config snippet. Start with auth-devices-go: one Go source that runs compiled in, as a
// process, and as WebAssembly.
//
// Nothing here is part of the broker. Plugins that are, are in plugins/; the kit that
// these are written with is in sdk/.
package examples
