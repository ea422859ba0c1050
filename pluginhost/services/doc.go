// Package services is what plugins may ask of the broker: the methods of Host in the
// contract, behind the grants that the operator has given.
//
// It owns grants and their scopes, the limits on what plugins ask, bans, plugins' values,
// timers, metrics and log lines. It does not know runtimes, instances or hooks: whoever runs a
// plugin (package pluginhost) gives it an Instance and hands the Service to the runtime.
//
//	Services ── all plugins: bans, HTTP client, password hashing
//	   └─ Plugin ── one name in the config: grants, rates, values, metrics; outlives reloads
//	        └─ Service ── one instance: v1host.Service, timers; Close with the instance
//
// A call that its grant does not cover fails with HostErrorCodeDenied; the text names
// plugin, grant and scope, and how to write it in the config. Refusals are counted, and
// logged once a minute for each plugin, grant and kind of scope. Other errors are
// *pluginv1.HostError as well, or that of the call's context; a panic becomes one.
//
// All methods are safe for concurrent use. Nothing passed in is kept or changed after a
// call, and what is returned is the caller's.
//
// Start at service.go, which lists the calls; grant.go says who may.
package services
