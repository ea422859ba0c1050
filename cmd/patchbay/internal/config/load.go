package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// Sources says what to load from. The zero value gives the defaults.
type Sources struct {
	File    string            // YAML file; empty: none
	Environ []string          // as os.Environ gives it; a variable that is empty is as one that is not set
	Flags   map[string]string // text by key: "log.level": "debug"; the names are keys, not flags
}

// Meta is what there is to say about a loaded Config beside its values.
type Meta struct {
	File     string    // the file it was loaded from, or empty
	Warnings []Problem // what is allowed and unsafe

	sources map[string]Source
}

// Source returns where the value of a key ("mqtt.max_qos",
// "listeners[0].cert") came from: the zero Source if it is the default.
func (m *Meta) Source(key string) Source { return m.sources[key] }

// Load reads all sources, each over the one before: defaults, file,
// environment, flags. A list replaces the whole list before it. Files that the
// configuration names (certificates, CAs, revocation lists) are opened and
// checked, so that the broker does not stumble over them later.
//
// The error is an [*Error] with everything that is wrong.
func Load(src Sources) (*Config, *Meta, error) {
	l := newLoader(src.Environ)
	k := koanf.New(".")
	// confmap and rawbytes cannot fail, and what yamlParser has to say is in
	// l.problems.
	_ = k.Load(confmap.Provider(l.root.defaults(), ""), nil)
	if src.File != "" {
		content, err := readLimited(src.File, fileLimit)
		if err != nil {
			return nil, nil, problem(Source{File: src.File}, "", reason(err))
		}
		if err := k.Load(rawbytes.Provider(content), &yamlParser{loader: l, file: src.File, top: l.root}); err != nil {
			return nil, nil, problem(Source{File: src.File}, "", err.Error())
		}
	}
	_ = k.Load(confmap.Provider(l.environmentLayer(), ""), nil)
	_ = k.Load(confmap.Provider(l.flagsLayer(src.Flags), ""), nil)
	l.unknownVariables()

	cfg := &Config{hidden: l.hidden}
	if err := unmarshal(k, cfg); err != nil {
		return nil, nil, err
	}
	nameListeners(cfg.Listeners)
	meta := &Meta{File: src.File, sources: l.sources}
	l.combinations(cfg)
	if len(l.problems) > 0 {
		return nil, nil, &Error{Problems: l.problems}
	}
	meta.Warnings = warnings(cfg, meta)
	return cfg, meta, nil
}

// unmarshal puts the values of all layers into the fields of into.
func unmarshal(k *koanf.Koanf, into any) error {
	if err := k.UnmarshalWithConf("", into, koanf.UnmarshalConf{Tag: "key"}); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

// nameListeners names those that have no name, and so that names are unique
// also where several are on port 0.
func nameListeners(listeners []Listener) {
	times := map[string]int{}
	for i := range listeners {
		ln := &listeners[i]
		if ln.Name != "" {
			continue
		}
		ln.Name = ln.defaultName()
		if times[ln.Name]++; times[ln.Name] > 1 {
			ln.Name += "-" + strconv.Itoa(times[ln.Name])
		}
	}
}

// fileLimit bounds the configuration file; a listener takes a few hundred bytes.
const fileLimit = 16 << 20

// loader collects what the layers say.
type loader struct {
	root     *key
	env      map[string]string
	problems []Problem

	sources    map[string]Source // of every key that some layer has set, and of every element of a list
	hidden     map[string]bool   // keys whose value came out of a reference
	referenced map[string]bool   // variables that a ${env:…} names
}

func newLoader(environ []string) *loader {
	return &loader{
		root: declaration(), env: environment(environ),
		sources: map[string]Source{}, hidden: map[string]bool{}, referenced: map[string]bool{},
	}
}

func (l *loader) problem(src Source, path, format string, args ...any) {
	l.problems = append(l.problems, Problem{src, path, fmt.Sprintf(format, args...)})
}

// failed reports whether something is wrong already in the section at scope:
// then what is found wrong with the combination of its keys is likely to be a
// consequence.
func (l *loader) failed(scope string) bool {
	for _, p := range l.problems {
		if p.Key == scope || strings.HasPrefix(p.Key, scope+".") || strings.HasPrefix(p.Key, scope+"[") {
			return true
		}
	}
	return false
}

// value parses the text that src has for the key k at path, after expanding
// the references in it, and remembers where it came from.
func (l *loader) value(k *key, path, s string, src Source) (any, bool) {
	l.forget(path)
	l.sources[path] = src
	expanded, hidden, err := l.expand(s)
	if err != nil {
		l.problem(src, path, "%s", err)
		return nil, false
	}
	if hidden {
		l.hidden[path] = true
	}
	v, err := k.parse(expanded)
	switch {
	case err == nil:
		return v, true
	case hidden || k.secret:
		// Not err: it shows the value.
		l.problem(src, path, "the value (secret, not shown) must be %s", k.wants())
	default:
		l.problem(src, path, "%s", err)
	}
	return nil, false
}

// forget drops what earlier layers said about path and everything below it.
func (l *loader) forget(path string) {
	below := func(p string) bool { return p == path || strings.HasPrefix(p, path+"[") }
	maps.DeleteFunc(l.sources, func(p string, _ Source) bool { return below(p) })
	maps.DeleteFunc(l.hidden, func(p string, _ bool) bool { return below(p) })
}

// flagsLayer returns the layer of the command line.
func (l *loader) flagsLayer(flags map[string]string) map[string]any {
	layer := map[string]any{}
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		src := Source{Flag: true}
		k := l.root.find(path)
		if k == nil {
			l.problem(src, path, "unknown key%s", l.suggest(l.root, path))
			continue
		}
		l.setText(layer, k, flags[path], src)
	}
	return layer
}

// setText sets the key k in a layer that has text for it.
func (l *loader) setText(layer map[string]any, k *key, s string, src Source) {
	var v any
	if k.kind == sections && k.path != "listeners" {
		l.problem(src, k.path, "%s", errFileOnly)
		return
	}
	if k.kind == sections {
		v = l.compact(k, s, src)
	} else if parsed, ok := l.value(k, k.path, s, src); ok {
		v = parsed
	} else {
		return
	}
	parts := strings.Split(k.path, ".")
	for _, part := range parts[:len(parts)-1] {
		next, found := layer[part].(map[string]any)
		if !found {
			next = map[string]any{}
			layer[part] = next
		}
		layer = next
	}
	layer[parts[len(parts)-1]] = v
}

// suggest returns "; did you mean …?" or what is possible instead of the
// unknown key name in section k.
func (l *loader) suggest(k *key, name string) string {
	flat := strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	var here, everywhere []string
	sameName := ""
	for _, c := range k.children {
		here = append(here, c.name)
	}
	l.root.settable(func(c *key) {
		everywhere = append(everywhere, c.path)
		if c.name == flat && sameName == "" {
			sameName = c.path
		}
	})
	switch {
	case k == l.root && slices.Contains(everywhere, name):
		sect, last, _ := strings.Cut(name, ".")
		return fmt.Sprintf("; write it as %s below %s:", last, sect)
	case nearest(flat, here) != "":
		return "; did you mean " + nearest(flat, here) + "?"
	case sameName != "":
		return "; did you mean " + sameName + "?"
	case nearest(flat, everywhere) != "":
		return "; did you mean " + nearest(flat, everywhere) + "?"
	}
	if len(here) > 12 {
		return "; `patchbay config example` shows all keys"
	}
	return "; known here: " + strings.Join(here, ", ")
}

// defaults returns the layer of the defaults below k.
func (k *key) defaults() map[string]any {
	layer := map[string]any{}
	for _, c := range k.children {
		switch c.kind {
		case section:
			layer[c.name] = c.defaults()
		case sections:
			list := []any{}
			if c.def != "" {
				network, address, _ := strings.Cut(c.def, "://")
				element := c.defaults()
				element[network] = address
				list = append(list, element)
			}
			layer[c.name] = list
		case text:
			layer[c.name] = c.def
		default:
			v, err := c.read(c.def)
			if err != nil {
				panic(fmt.Sprintf("default of %s: %v", c.path, err)) // the declaration itself is wrong
			}
			layer[c.name] = v
		}
	}
	return layer
}

// reason returns what is wrong with a file, without the operation and path
// that the message names already.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
