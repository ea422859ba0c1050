// Package pluginhost is the broker's side of the plugin contract: it loads plugins, in any
// of three runtimes, asks them what the broker asks it, and guards the broker from them.
//
//	   broker ── hook.Host ──►  publish authorize subscribe auth permit receive gate
//	     ▲                        └── run ── call ──┐            observe ── observer
//	hook.Broker                                     ▼                        │
//	     │                       hooked ◄── table   generation ◄─────────────┘
//	 services ◄──────────────────────────────────── instance.Plugin
//	                                                builtin │ process │ wasm
//
// A plugin is an entry of the config or a file of the folder, and lives as long as that. A
// generation is one started instance of it; a reload makes the next one beside it and takes
// its place between two batches. The table has, for each point, the hooks of the
// generations that serve, in the order of the config. A run takes the requests of one call
// of the broker through the hooks of a point, with one call for each batch. A gate and an
// observer belong to a plugin: what waits there goes to the next generation.
//
// Whatever a plugin does, each request is answered once: by a verdict that was checked, or
// by the hook's failure policy at the deadline, at once while the breaker is open, while
// the plugin is down, or while it owes too many answers. Nothing waits without a bound.
//
// Locks, in the order in which they are taken: Host.changing (what plugins there are),
// plugin.life (starting, changing, stopping one: may be held for a minute), gate.mu, call.mu,
// plugin.telling (its state), and last one of generation.mu, Host.mu, plugin.mu, observer.mu,
// permits.mu. Plugins are called with none of them held but changing and life, which the
// path of a message never takes.
//
// It must not know what plugins are for, nor how the broker works: what it needs of that
// is hook.Broker. What plugins may ask is in package services, what they consume in
// consume, the plugin folder in folder, conversions in internal/convert.
//
// Start with Host.Apply (apply.go) for how plugins come and go, lifecycle.go and watch.go
// for what becomes of one, run.go and call.go for how they are asked, verdict.go and
// change.go for what is done with their answers.
package pluginhost
