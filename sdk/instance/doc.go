// Package instance is the boundary between a plugin and its host in Go: what the
// host calls (Plugin), and what it needs to make one (Open). What a plugin calls is
// v1host.Service.
//
// sdk implements Plugin for plugins that are compiled in, pluginhost/process for
// those in a process of their own, pluginhost/wasm for those in a sandbox. pluginhost
// sees no other difference between them.
package instance
