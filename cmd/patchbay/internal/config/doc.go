// Package config is the configuration of the patchbay program: the typed
// [Config], and how it is loaded, checked, printed, described and compared.
//
// It knows keys and values, not what they do: it imports nothing of core, and
// cmd/patchbay's serve converts a Config to the options of the broker, its
// listeners and its logger.
//
// Everything about a key is declared once, at its field in config.go, mqtt.go,
// listener.go or plugin.go: the comment is its documentation, the tags are the rest.
//
//	key      name in the file            default  text of the default
//	unit     what a number counts        enum     the values allowed, by |
//	min, max bounds, in the key's unit   check    name of a check (checks.go)
//	never    "never" is allowed (true)   only     transports it is for, by |
//	secret   never printed (true)        live     a reload applies it (true)
//	need     an element of a list must have it (true)
//	empty    elements of the list may be empty (true)
//	example  a value for `config example` where the default says nothing
//
// From it come the loader's checks, the example file, the JSON Schema, the
// output of print and what a reload can apply.
//
//	defaults ← YAML file ← PATCHBAY_… environment ← flags
//	   each: text → parse → koanf layer          (load.go, yaml.go, plugin_yaml.go, env.go)
//	   merged → Config → combinations             (validate.go, plugin_check.go)
//
// Entry points: [Flags] and [Find] choose the sources, [Load] returns a Config
// and its [Meta], [PluginFile] one entry of plugins in a file of its own, [Diff] compares two for a reload, [Command] is
// `patchbay config check|print|schema|example`.
//
// A Config is immutable once loaded and may be shared by goroutines.
package config
