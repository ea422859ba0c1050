// Package pluginhost is the broker's side of the plugin contract: it loads plugins, in
// any of three runtimes, and asks them what the broker asks it.
package pluginhost
