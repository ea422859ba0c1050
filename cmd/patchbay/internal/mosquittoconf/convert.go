package mosquittoconf

import (
	"path/filepath"
	"strings"
)

// converter makes a configuration of Patchbay of one of Mosquitto.
type converter struct {
	*conf
	report
	entries []*entry
	dir     string // absolute, where it will be; "" if nothing is written
	host    string // of this machine, "" if that is not known

	out     object
	plugins []object
	files   []file // beside patchbay.yaml
}

// file is one that is written.
type file struct {
	name string
	text []byte
}

// convert converts. It reads files that the configuration names, and writes none.
func convert(all []*entry, dir, host string) *converter {
	c := &converter{conf: divide(all), entries: all, dir: dir, host: host}
	c.general()
	c.connections()
	for _, b := range c.bridges {
		c.bridge(b)
	}
	if len(c.plugins) > 0 {
		c.out = append(c.out, pair{key: "plugins", value: c.plugins})
	}
	for _, e := range all {
		if e.taken {
			continue
		}
		if d, ok := others[e.key]; ok {
			c.add(e, d.outcome, "%s", d.text)
		} else if option(e.key) {
			c.add(e, lost, "an option of a Mosquitto plugin")
		} else if listenerKeys[e.key] || securityKeys[e.key] {
			c.add(e, needless, "it is about no listener that there is")
		} else {
			c.add(e, lost, "Mosquitto 2.0 has no such key here")
		}
	}
	return c
}

// save keeps a file for writing and returns what to call it in the configuration. If
// nothing is written that is the original.
func (c *converter) save(name, original string, text []byte) string {
	if c.dir == "" {
		return original
	}
	c.files = append(c.files, file{name, text})
	return filepath.Join(c.dir, name)
}

// yaml is the configuration as it is written.
func (c *converter) yaml(source string) string {
	var b strings.Builder
	b.WriteString("# Made of " + source + " by patchbay config import. What is not said here is as by default:\n# patchbay config print\n")
	writeYAML(&b, c.out, "")
	return b.String()
}

// order is a function that sorts lines as they were read.
func (c *converter) order() func(*entry) int {
	places := make(map[*entry]int, len(c.entries))
	for i, e := range c.entries {
		places[e] = i
	}
	return func(e *entry) int { return places[e] }
}
