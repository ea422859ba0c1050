// Package examples holds plugins to learn from, each with a README, tests, and a
// config snippet. docs/first-plugin.md is the way to a first one of your own.
//
//	auth-devices-go              who may connect, in Go: the smallest one that does real work
//	transform-go                 enriches JSON; one Go source, compiled in, as a process and as WebAssembly
//	auth-token-rust              signed tokens that expire
//	auth-tenant-assemblyscript   tenants, with a namespace and rules each
//	acl-c                        static rules
//	filter-zig                   ranges of payloads, rewritten
//	auth-json-abi                in C with no SDK at all, by sdk/ABI.md and JSON
//	bridge-python                a process in Python: brings messages elsewhere, and loses none
//
// Nothing here is part of the broker. Plugins that are, are in plugins/; the kit that
// these are written with is in sdk/.
package examples
