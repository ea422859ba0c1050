package config

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// plugins finds what is wrong with the entries of plugins together, and with the keys
// of one entry.
func (l *loader) plugins(c *Config) {
	seen := map[string]int{}
	for i := range c.Plugins {
		p := &c.Plugins[i]
		path := fmt.Sprintf("plugins[%d]", i)
		if first, taken := seen[p.Name]; taken && p.Name != "" {
			l.wrong(path+".name", "%s is the name of plugins[%d] already", quote(p.Name), first)
		} else {
			seen[p.Name] = i
		}
		if l.failed(path) {
			continue
		}
		l.plugin(p, path)
		l.secretsOf(p, c.Secrets, path)
	}
}

// plugin finds keys that do not fit together.
func (l *loader) plugin(p *Plugin, path string) {
	kind := p.Kind()
	switch {
	case kind == runtimeWASM && p.Path == "":
		l.wrong(join(path, "runtime"), "wasm needs path: the module")
	case kind == runtimeBuiltin && p.Path != "":
		l.wrong(join(path, "runtime"), "builtin and path do not go together: a builtin plugin is compiled in")
	case p.Plugin != "" && p.Path != "":
		l.wrong(join(path, "plugin"), "is the name of a compiled-in plugin; path names another one")
	}
	program := kind == runtimeProcess && p.Path != ""
	for _, k := range []struct {
		name string
		set  bool
		fits bool
		is   string
	}{
		{"args", len(p.Args) > 0, program, "is for programs"},
		{"env", len(p.Env) > 0, kind == runtimeProcess, "is for plugins in a process of their own"},
		{"dev", p.Dev, program, "is for programs"},
		{"sha256", p.SHA256 != "", p.Path != "", "is for plugins with a path"},
		{"memory_limit", p.MemoryLimit != 0, kind == runtimeWASM, "is for WebAssembly modules"},
		{"fuel", p.Fuel != 0, kind == runtimeWASM, "is for WebAssembly modules"},
	} {
		if k.set && !k.fits {
			l.wrong(join(path, k.name), "%s; this is a %s plugin", k.is, kind)
		}
	}
	if l.failed(path) || p.Path == "" {
		return
	}
	if program && p.SHA256 == "" && !p.Dev {
		l.wrong(join(path, "sha256"), "is missing: a program runs only as the operator has seen it; `sha256sum %s` prints the sum (dev: true does without)", p.Path)
	}
	if p.Optional || !p.Enabled {
		return
	}
	info, err := os.Stat(p.Path)
	switch {
	case err != nil:
		l.wrong(join(path, "path"), "%s: %s", p.Path, reason(err))
	case !info.Mode().IsRegular():
		l.wrong(join(path, "path"), "%s: is not a file", p.Path)
	}
}

// secretsOf finds grants of secrets that there are not.
func (l *loader) secretsOf(p *Plugin, secrets Secrets, path string) {
	if l.failed("secrets") {
		return
	}
	for i := range p.Grants {
		for _, name := range p.Grants[i].Names {
			if _, ok := secrets[name]; !ok {
				l.wrong(fmt.Sprintf("%s.grants[%d]", path, i), "there is no secret %s below secrets:", quote(name))
			}
		}
	}
}

// notInFolder are keys of an entry that a plugin in the plugin folder gets from
// its file, each with what to do instead.
var notInFolder = map[string]string{
	"name": "the file's name is the plugin's", "path": "it is the file beside this one",
	"plugin": "a compiled-in plugin is listed in the broker's configuration", "runtime": "the file tells it",
}

// PluginFile reads the settings of a plugin in the plugin folder: a YAML file with the
// keys of an entry of plugins, but for those that the folder tells. program says that
// it is for a program, not a module. environ is for ${env:…}. The error is an [*Error].
func PluginFile(file string, program bool, environ []string) (*Plugin, error) {
	l := newLoader(environ)
	content, err := readLimited(file, fileLimit)
	if err != nil {
		return nil, problem(Source{File: file}, "", reason(err))
	}
	list := l.root.child("plugins")
	entry := *list
	entry.children = slices.DeleteFunc(slices.Clone(list.children), func(k *key) bool { return notInFolder[k.name] != "" })
	parser := &yamlParser{loader: l, file: file, top: &entry}
	layer, _ := parser.Unmarshal(content) // its problems are the loader's
	for i := range l.problems {
		if why := notInFolder[l.problems[i].Key]; why != "" {
			l.problems[i].Text = "has no place here: " + why
		}
	}
	values := list.defaults()
	for name, v := range layer {
		values[name] = v
	}
	p, k := &Plugin{}, koanf.New(".")
	_ = k.Load(confmap.Provider(values, ""), nil) // cannot fail
	if err := unmarshal(k, p); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	check := *p
	check.Runtime, check.Dev = runtimeWASM, p.Dev && program
	if check.Path = strings.TrimSuffix(file, ".yaml"); program {
		check.Runtime = runtimeProcess
	}
	// The file itself and its sum are the folder's to look at.
	check.SHA256, check.Optional = "-", true
	l.plugin(&check, "")
	if len(l.problems) > 0 {
		return nil, &Error{Problems: l.problems}
	}
	return p, nil
}
