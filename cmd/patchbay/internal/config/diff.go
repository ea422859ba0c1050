package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Reload says what it takes for a change to have effect.
type Reload string

const (
	Live    Reload = "live"    // a reload applies it, clients stay connected
	Restart Reload = "restart" // it has effect when the program starts next
)

// Change is one key whose value differs between two configurations.
type Change struct {
	Key      string // "mqtt.max_qos", "listeners[tcp:1883].cert", "listeners[ws:8083]"
	Old, New string // as text; "***" for a secret, "" for a listener that is not there
	Reload   Reload
}

// Diff returns what changed from old to new, in the order of the example file.
// Listeners and plugins are matched by name; one that is there in only one of both
// is a single change. Another order is one only of plugins.
func Diff(old, new *Config) []Change {
	var changes []Change
	root := declaration()
	d := differ{old: old, new: new, changes: &changes}
	d.lists(root.child("listeners"), named(old.Listeners, (*Listener).described), named(new.Listeners, (*Listener).described))
	d.section(root, reflect.ValueOf(*old), reflect.ValueOf(*new), paths{})
	d.lists(root.child("plugins"), named(old.Plugins, (*Plugin).described), named(new.Plugins, (*Plugin).described))
	d.order()
	return changes
}

// element is one of a list whose elements have names.
type element struct {
	name, what string
	value      reflect.Value
}

func (l *Listener) described() (name, what string) { return l.Name, l.Network() + " " + l.Address() }
func (p *Plugin) described() (name, what string)   { return p.Name, p.what() }

func named[T any](list []T, describe func(*T) (name, what string)) []element {
	all := make([]element, len(list))
	for i := range list {
		all[i].name, all[i].what = describe(&list[i])
		all[i].value = reflect.ValueOf(list[i])
	}
	return all
}

func find(list []element, name string) int {
	return slices.IndexFunc(list, func(e element) bool { return e.name == name })
}

// lists compares two lists of sections by the names of their elements.
func (d differ) lists(list *key, old, new []element) {
	for i, e := range new {
		label := list.name + "[" + e.name + "]"
		j := find(old, e.name)
		if j < 0 {
			d.add(list, label, "", e.what)
			continue
		}
		d.section(list, old[j].value, e.value, paths{fmt.Sprintf("%s[%d]", list.name, j), fmt.Sprintf("%s[%d]", list.name, i), label})
	}
	for _, e := range old {
		if find(new, e.name) < 0 {
			d.add(list, list.name+"["+e.name+"]", e.what, "")
		}
	}
}

// order finds plugins that are asked in another order than before.
func (d differ) order() {
	common := func(of, other []Plugin) (names []string) {
		for i := range of {
			if slices.ContainsFunc(other, func(p Plugin) bool { return p.Name == of[i].Name }) {
				names = append(names, of[i].Name)
			}
		}
		return names
	}
	old, new := common(d.old.Plugins, d.new.Plugins), common(d.new.Plugins, d.old.Plugins)
	if !slices.Equal(old, new) {
		*d.changes = append(*d.changes, Change{"plugins", strings.Join(old, ", "), strings.Join(new, ", "), Live})
	}
}

// differ compares the keys of sections.
type differ struct {
	old, new *Config
	changes  *[]Change
}

// paths is where a section is in the old and in the new Config, and what
// Change.Key calls it.
type paths struct{ old, new, label string }

func (p paths) join(name string) paths {
	return paths{join(p.old, name), join(p.new, name), join(p.label, name)}
}

func (d differ) section(k *key, old, new reflect.Value, at paths) {
	for _, c := range k.children {
		o, n, here := old.Field(c.field), new.Field(c.field), at.join(c.name)
		switch {
		case c.path == "listeners", c.path == "plugins": // Diff does them, by name
		case c.kind == section:
			d.section(c, o, n, here)
		case c.kind == secretMap:
			d.hidden(c, here.label, o.Interface().(Secrets), n.Interface().(Secrets))
		case c.kind == freeform:
			// Only the plugin knows what in it is secret.
			d.hidden(c, here.label, o.Interface().(JSON).values(), n.Interface().(JSON).values())
		case c.kind == sections:
			if o.Len()+n.Len() > 0 && !reflect.DeepEqual(o.Interface(), n.Interface()) {
				d.add(c, here.label, d.old.listText(c, o, here.old), d.new.listText(c, n, here.new))
			}
		default:
			if format(o.Interface()) != format(n.Interface()) {
				d.add(c, here.label, d.old.shown(c, here.old, o.Interface()), d.new.shown(c, here.new, n.Interface()))
			}
		}
	}
}

func (d differ) add(k *key, label, old, new string) {
	reload := Restart
	if k.live {
		reload = Live
	}
	*d.changes = append(*d.changes, Change{label, old, new, reload})
}

// hidden compares values by name, and shows none.
func (d differ) hidden(k *key, label string, old, new map[string]string) {
	names := maps.Clone(old)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, new)
	hide := func(values map[string]string, name string) string {
		if values[name] == "" {
			return ""
		}
		return redacted
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if old[name] != new[name] {
			d.add(k, label+"."+name, hide(old, name), hide(new, name))
		}
	}
}

// listText returns a list of sections as JSON, without secrets.
func (c *Config) listText(k *key, v reflect.Value, path string) string {
	text, _ := json.Marshal(c.list(k, v, path, func(string) {})) // text and numbers only: cannot fail
	return string(text)
}

// redacted stands for a secret wherever values are shown.
const redacted = "***"

// shown returns the text of v, the value of k at path, or what may be shown in its
// place. That there is none is no secret.
func (c *Config) shown(k *key, path string, v any) string {
	s := format(v)
	if s != "" && (k.secret || c.hidden[path]) {
		return redacted
	}
	return s
}
