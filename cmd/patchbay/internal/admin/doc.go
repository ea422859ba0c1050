// Package admin is how operators look into a running broker and act on it.
//
//	Prometheus, probes ──HTTP(S)── admin.listen ─┐
//	                                             ├─ Server ── core/broker
//	patchbay status … ──HTTP── admin.socket ─────┘
//	(Commands)                 (unix, mode 0600)
//
// The HTTP listener has /metrics, /healthz, /readyz, and /debug/pprof/ when
// admin.pprof says so; what is mounted on it later (Server.Handle) is behind the
// same guard: a bearer token, client certificates, or else loopback only. The
// unix socket has the calls below /v1/ that the command line makes; who may open
// the socket may do all of them. They are not offered over TCP.
//
// Plugins serve pages below /plugins/NAME/ of the HTTP listener, behind the guard as
// well unless they and the operator call them public (plugins.go).
//
// Among these calls are looks at the durable store (store.go): statistics, a check
// of every record, and the export, all as of one moment and streamed.
//
// The package decides nothing about MQTT and keeps no figures of its own: it
// reads the broker's (broker.Stats, broker.Gauges) when somebody asks, so that it
// costs nothing in between. It does not know how a configuration is applied;
// Options.Reload does.
//
// Entry points: [Start], [Server], [Commands], [BanCommand], [PluginCommand]. The metrics are declared in
// metrics.go and documented, by a test that compares both, in docs/metrics.md.
// The calls of the unix socket are in api.go and are no public interface: broker
// and command line are one program.
package admin
