// Package folder watches the plugin folder: what is put into it becomes a plugin,
// what is taken out is none any more, what is changed is a new version.
//
//	NAME.wasm            a WebAssembly module; or
//	NAME, NAME.exe       a program, with
//	NAME.manifest.json   what `NAME manifest` prints, and
//	NAME.sha256          what `sha256sum NAME` prints
//	NAME.yaml            settings: the keys of an entry of plugins, if there are any
//
// A file counts when it has been the same (size, time, inode, mode, owner) for two
// looks, so that one that is being copied does not; hidden files and those that end
// with .tmp or ~ never do. A file that can be written by everyone, or belongs to
// neither root nor the broker's user, is refused, as is all of such a folder: who
// writes there runs code as the broker.
//
// The package runs nothing and opens no plugin. It does not know how settings are
// written (Options.Settings does), and not what becomes of its lists
// (Options.Changed).
//
// Entry points: [Start], [Options]. Where to go next: look.go for what counts,
// plugin.go for what makes a plugin.
package folder
