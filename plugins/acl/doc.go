// Package acl is the plugin "acl": rules that say what a client may do.
//
// When a client is let in (PointPermit) the rules that are about it become a list of
// permissions, which the broker evaluates by itself for every message, so that the plugin
// is not asked again. When the config or the acl_file changes, the host is told to ask
// again about the clients that are connected.
//
//	Config ──newRules──► Rules ──resolve(client)──► entries ──► permissions (Permit)
//	acl_file ─parseFile─┘                              └───────► Explain
//
// It owns what rules mean; it must not know who a client is (that is an authenticator's,
// whose groups come in the attribute "groups"), nor how the broker keeps permissions.
//
// Start at Config and Rules.resolve; mosquitto.go has the acl_file, template.go the
// placeholders, filter.go the arithmetic of Topic Filters. Load and Explain are for
// programs: `patchbay acl explain`.
package acl
