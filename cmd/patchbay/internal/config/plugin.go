package config

import (
	"cmp"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Plugin is one entry of plugins.
type Plugin struct {
	// Name under which it runs: in logs, metrics, commands, and what it keeps.
	// 1 to 64 of a-z, 0-9 and "-", beginning with a letter.
	Name string `key:"name" example:"my-auth" unit:"name" check:"plugin_name" need:"true" live:"true"`

	// Which of the compiled-in plugins, where name is another one. For two
	// instances of the same.
	Plugin string `key:"plugin" unit:"name" check:"plugin_name" live:"true"`

	// The file of one that is not compiled in: a WebAssembly module if it ends
	// with .wasm, else a program.
	Path string `key:"path" example:"plugins/my-auth.wasm" unit:"path" live:"true"`

	// How it runs. auto: wasm or process for a path, builtin without one.
	// process without a path runs a compiled-in plugin in a process of its own.
	Runtime string `key:"runtime" default:"auto" enum:"auto|builtin|process|wasm" live:"true"`

	// What the plugin is told. Its README says which keys there are. In any
	// text of it ${env:NAME} and ${file:PATH} are replaced; other ${…} is the
	// plugin's own.
	Config JSON `key:"config" live:"true"`

	// What it may ask of the broker. A name, or a name with what it is for:
	// [kv, {publish: [alerts/#]}, {http: [https://api.example.com]},
	// {secrets: [token]}]. The names: publish, publish_as_client, disconnect,
	// ban, clients, retained, kv, http, password, secrets.
	Grants Grants `key:"grants" live:"true"`

	// What is taken away of what every plugin may do: log, metrics, timers.
	Revoke []string `key:"revoke" default:"" unit:"names" check:"revocable" live:"true"`

	// What is to be otherwise than the plugin says, by hook: off, or a shorter
	// deadline, or what happens when it fails (deny, continue or drop):
	// {authenticate: {deadline: 2s, failure: deny}, published: off}.
	Hooks Hooks `key:"hooks" live:"true"`

	// Namespaces that it sees and may act in; "" is the default one. Empty: all.
	Namespaces []string `key:"namespaces" default:"" unit:"namespaces" check:"utf8" empty:"true" live:"true"`

	// SHA-256 of the file. A program does not run without, or with another,
	// unless dev.
	SHA256 string `key:"sha256" unit:"64 hexadecimal digits" check:"sha256" live:"true"`

	// Run the program whatever is in the file. For writing one.
	Dev bool `key:"dev" default:"false" live:"true"`

	// Arguments of the program.
	Args []string `key:"args" default:"" unit:"texts" check:"utf8" empty:"true" live:"true"`

	// Environment variables of the program: NAME passes the broker's on,
	// NAME=VALUE sets one. It gets no others. They are never shown.
	Env []string `key:"env" default:"" unit:"NAME or NAME=VALUE" check:"variable" secret:"true" live:"true"`

	// Memory that a WebAssembly module may have.
	MemoryLimit Size `key:"memory_limit" default:"0" min:"0" max:"4GiB" unit:"0 = 16MiB" live:"true"`

	// How long one call of a WebAssembly module may compute. 1,000,000 is 1 to
	// 3 ms.
	Fuel int `key:"fuel" default:"0" min:"0" unit:"units, 0 = 20000000" live:"true"`

	// Observations that are kept for it while it is slow. Beyond it the oldest
	// is dropped.
	QueueSize int `key:"queue_size" default:"0" min:"0" max:"1000000" unit:"events, 0 = 8192" live:"true"`

	// Serve those of its HTTP routes that it calls public to everyone who
	// reaches admin.listen, without admin.token.
	PublicRoutes bool `key:"public_routes" default:"false" live:"true"`

	// Start the broker, and call it ready, although the plugin is not.
	Optional bool `key:"optional" default:"false" live:"true"`

	// false: do not start it.
	Enabled bool `key:"enabled" default:"true" live:"true"`
}

// The runtimes, as [Plugin.Kind] returns them.
const (
	runtimeBuiltin = "builtin"
	runtimeProcess = "process"
	runtimeWASM    = "wasm"
)

// Kind returns the runtime with auto resolved: "builtin", "process" or "wasm".
func (p *Plugin) Kind() string {
	switch {
	case p.Runtime != "auto":
		return p.Runtime
	case strings.HasSuffix(p.Path, ".wasm"):
		return runtimeWASM
	case p.Path != "":
		return runtimeProcess
	}
	return runtimeBuiltin
}

// what names the plugin in a change: "builtin auth-file", "wasm plugins/a.wasm".
func (p *Plugin) what() string {
	return p.Kind() + " " + cmp.Or(p.Path, p.Plugin, p.Name)
}

// PluginFolder returns the folder whose plugins are loaded, or "" if it is off.
func (c *Config) PluginFolder() string {
	switch c.PluginDir {
	case "off":
		return ""
	case "":
		return filepath.Join(c.DataDir, "plugins")
	}
	return c.PluginDir
}

// JSON is a JSON object. In the file it is YAML; the order of its keys is kept.
type JSON struct {
	Text string
	// Shown is Text with "***" in place of what came out of references.
	Shown string
}

func (j JSON) String() string { return j.Text }

// values returns the values of its keys, in JSON.
func (j JSON) values() map[string]string {
	var raw map[string]json.RawMessage
	_ = json.Unmarshal([]byte(j.Text), &raw) // it was made here
	values := make(map[string]string, len(raw))
	for name, v := range raw {
		values[name] = string(v)
	}
	return values
}

// MarshalJSON returns what may be shown.
func (j JSON) MarshalJSON() ([]byte, error) { return []byte(j.Shown), nil }

// Grants are the grants of a plugin.
type Grants []pluginv1.Grant

// String returns the list as it is written in the file, in JSON.
func (g Grants) String() string {
	text := []byte{'['}
	for i := range g {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = appendGrant(text, &g[i])
	}
	return string(append(text, ']'))
}

// MarshalJSON returns the same as String.
func (g Grants) MarshalJSON() ([]byte, error) { return []byte(g.String()), nil }

func appendGrant(b []byte, g *pluginv1.Grant) []byte {
	var keys []byte
	add := func(name string, value []byte) {
		if keys != nil {
			keys = append(keys, ", "...)
		}
		keys = append(append(appendJSONString(keys, name), ": "...), value...)
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"topic_filters", g.TopicFilters}, {"origins", g.Origins}, {"names", g.Names}, {"namespaces", g.Namespaces}} {
		if list.values != nil {
			add(list.name, appendJSONList(nil, list.values))
		}
	}
	if g.MaxBytes != 0 {
		add("max_bytes", appendJSONString(nil, Size(g.MaxBytes).String()))
	}
	if keys == nil {
		return appendJSONString(b, g.Name)
	}
	b = appendJSONString(append(b, '{'), g.Name)
	b = append(append(append(b, ": {"...), keys...), "}}"...)
	return b
}

// Hook changes one hook of a plugin. What is zero stays as the plugin says.
type Hook struct {
	Point    pluginv1.Point
	Off      bool
	Deadline Duration
	Failure  pluginv1.FailurePolicy
}

// Hooks are the changes of a plugin's hooks, in the order of the points.
type Hooks []Hook

// String returns the section as it is written in the file, in JSON.
func (h Hooks) String() string {
	text := []byte{'{'}
	for i, hook := range h {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = append(appendJSONString(text, pointName(hook.Point)), ": "...)
		if hook.Off {
			text = appendJSONString(text, "off")
			continue
		}
		text = append(text, '{')
		if hook.Deadline != 0 {
			text = appendJSONString(append(text, `"deadline": `...), hook.Deadline.String())
		}
		if hook.Deadline != 0 && hook.Failure != 0 {
			text = append(text, ", "...)
		}
		if hook.Failure != 0 {
			text = appendJSONString(append(text, `"failure": `...), failureNames[hook.Failure])
		}
		text = append(text, '}')
	}
	return string(append(text, '}'))
}

// MarshalJSON returns the same as String.
func (h Hooks) MarshalJSON() ([]byte, error) { return []byte(h.String()), nil }

// Secrets are texts that plugins may ask for by name. Nothing shows them.
type Secrets map[string]string

// String returns the names, each with what stands for a secret, in JSON.
func (s Secrets) String() string {
	text := []byte{'{'}
	for i, name := range slices.Sorted(maps.Keys(s)) {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = appendJSONString(append(appendJSONString(text, name), ": "...), redacted)
	}
	return string(append(text, '}'))
}

// MarshalJSON returns the same as String.
func (s Secrets) MarshalJSON() ([]byte, error) { return []byte(s.String()), nil }

var (
	_ json.Marshaler = JSON{}
	_ json.Marshaler = Grants{}
	_ json.Marshaler = Hooks{}
	_ json.Marshaler = Secrets{}
)

// pointName is a point's name in the file: "authorize_publish".
func pointName(p pluginv1.Point) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), "POINT_"))
}

// points lists the points that the contract has.
func points() []pluginv1.Point {
	var all []pluginv1.Point
	for p := pluginv1.Point(1); p < 64; p++ {
		if strings.HasPrefix(p.String(), "POINT_") {
			all = append(all, p)
		}
	}
	return all
}

// failureNames are the failure policies as they are written in the file.
var failureNames = map[pluginv1.FailurePolicy]string{
	pluginv1.FailurePolicyDeny: "deny", pluginv1.FailurePolicyContinue: "continue", pluginv1.FailurePolicyDrop: "drop",
}
