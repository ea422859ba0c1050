package config

import (
	"encoding/json"
	"fmt"
	"reflect"
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
// Listeners are matched by name; one that is there in only one of both is a
// single change.
func Diff(old, new *Config) []Change {
	var changes []Change
	listeners := func(c *Config) map[string]int {
		byName := map[string]int{}
		for i, ln := range c.Listeners {
			byName[ln.Name] = i
		}
		return byName
	}
	oldNames, newNames := listeners(old), listeners(new)
	root := declaration()
	list := root.child("listeners")
	for i := range new.Listeners {
		ln := &new.Listeners[i]
		label := "listeners[" + ln.Name + "]"
		j, ok := oldNames[ln.Name]
		if !ok {
			changes = append(changes, Change{label, "", ln.Network() + " " + ln.Address(), Restart})
			continue
		}
		d := differ{old: old, new: new, changes: &changes}
		d.section(list, reflect.ValueOf(old.Listeners[j]), reflect.ValueOf(*ln),
			paths{fmt.Sprintf("listeners[%d]", j), fmt.Sprintf("listeners[%d]", i), label})
	}
	for _, ln := range old.Listeners {
		if _, ok := newNames[ln.Name]; !ok {
			changes = append(changes, Change{"listeners[" + ln.Name + "]", ln.Network() + " " + ln.Address(), "", Restart})
		}
	}
	d := differ{old: old, new: new, changes: &changes}
	d.section(root, reflect.ValueOf(*old), reflect.ValueOf(*new), paths{})
	return changes
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
		case c.path == "listeners": // Diff does them, by name
		case c.kind == section:
			d.section(c, o, n, here)
		case c.kind == sections:
			if o.Len()+n.Len() > 0 && !reflect.DeepEqual(o.Interface(), n.Interface()) {
				d.add(c, here.label, d.old.listText(c, o, here.old), d.new.listText(c, n, here.new))
			}
		default:
			oldText, newText := format(o.Interface()), format(n.Interface())
			if oldText != newText {
				d.add(c, here.label, d.old.redact(c, here.old, oldText), d.new.redact(c, here.new, newText))
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

// listText returns a list of sections as JSON, without secrets.
func (c *Config) listText(k *key, v reflect.Value, path string) string {
	text, _ := json.Marshal(c.list(k, v, path, func(string) {})) // text and numbers only: cannot fail
	return string(text)
}

// redacted stands for a secret wherever values are shown.
const redacted = "***"

// redact returns s, the text of the value of k at path, or what may be shown in
// its place. That there is none is no secret.
func (c *Config) redact(k *key, path, s string) string {
	if s != "" && (k.secret || c.hidden[path]) {
		return redacted
	}
	return s
}
