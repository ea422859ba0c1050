// Package plugincmd puts together `patchbay plugin`: the commands that speak to a
// running broker (internal/admin), serve, by which a broker runs a compiled-in
// plugin in a process of its own, and compile, by which it has WebAssembly compiled in
// one; and `patchbay acl`, which explains the rules of the
// plugin acl.
//
// It does not know which plugins are compiled in (internal/builtin), and not how a
// plugin is served (package sdk).
//
// Entry points: [Command], [ACLCommand].
package plugincmd
