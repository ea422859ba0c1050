package pluginhost

import (
	"encoding/json"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Runtime is how a plugin runs.
type Runtime string

// The three runtimes.
const (
	Builtin Runtime = "builtin"
	Process Runtime = "process"
	WASM    Runtime = "wasm"
)

// Spec is what the operator wants of one plugin. It is immutable once handed over.
type Spec struct {
	// Name under which the plugin runs: 1 to 64 of a-z, 0-9 and "-", beginning with a
	// letter; unique.
	Name string
	// Source says where the operator has written this, for messages:
	// "plugins[2]", or the path of a file.
	Source string
	// Runtime; empty stands for WASM if Path ends with ".wasm", Process if there is
	// another Path, Builtin without one.
	Runtime Runtime
	// Plugin is the name of a compiled-in plugin, for Builtin and for Process without a
	// Path; empty stands for Name.
	Plugin string
	// Path of the module or program.
	Path string
	// Args and Env of a program: Env lists variables ("NAME" is passed on, "NAME=value" is
	// set). It gets no others.
	Args, Env []string
	// SHA256 of the file in hexadecimal. Required for a program, unless Dev.
	SHA256 string
	Dev    bool
	// Config is a JSON object; empty stands for {}.
	Config json.RawMessage
	// Grants given, Revoked the names of those that every plugin has and this one has not.
	Grants  []pluginv1.Grant
	Revoked []string
	// Namespaces that the plugin sees and may act in; empty is all.
	Namespaces []string
	// Hooks is what the operator wants otherwise than the plugin's manifest, by point.
	Hooks map[pluginv1.Point]HookSpec
	// Optional lets the broker start although the plugin cannot.
	Optional bool
	// Disabled keeps the plugin from being started.
	Disabled bool
	// MemoryLimit in bytes and Fuel (units for a call of the worker) are of WASM; 0 stands
	// for the runtime's defaults.
	MemoryLimit int64
	Fuel        int64
	// PublicRoutes lets HTTP routes that the plugin calls public be served without the
	// admin listener's authentication.
	PublicRoutes bool
	// QueueSize is how many observations are kept for the plugin while it is slow; 0
	// stands for 8,192.
	QueueSize int
}

// HookSpec changes one hook of a manifest. Zero values leave it as it is.
type HookSpec struct {
	Off bool
	// Deadline can only be shorter than what the manifest says.
	Deadline time.Duration
	Failure  pluginv1.FailurePolicy
}
