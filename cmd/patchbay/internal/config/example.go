package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

const exampleHead = `# Configuration of patchbay. Every key is here with its default, so that this
# file as it is changes nothing; keep what you change and delete the rest.
#
#   patchbay --config FILE        or PATCHBAY_CONFIG, or ./patchbay.yaml
#   patchbay config check FILE    whether it is right, and what is unsafe in it
#   patchbay config print         what is in effect, and where each value is from
#
# Over the file go environment variables (PATCHBAY_LOG_LEVEL is log.level; commas
# part the elements of a list), over those flags (--set log.level=debug).
#
# Units: durations 500ms, 30s, 5m, 1h, 2d; sizes 512B, 64KiB, 10MB, or a number
# of bytes; rates 100/s, 30/m, 64KiB/s.
# In any value ${env:NAME} stands for an environment variable and ${file:PATH}
# for what is in a file: for secrets, which are then never shown. $${ is ${ itself.
#
# Below each comment: what the value is; its default; and whether a change is
# applied by a reload (SIGHUP, patchbay reload), "live", or by a restart only.
`

// Example writes the configuration file with every key: documentation, unit,
// default. It loads, and equals the defaults. Listeners other than the default
// one, and a plugin, are commented out, their lines beginning with "#- " or "#  ".
func Example(w io.Writer) error {
	root, err := documented()
	if err != nil {
		return err
	}
	e := example{shown: map[*key]bool{}}
	e.WriteString(exampleHead)
	for _, k := range root.children {
		e.WriteString("\n")
		switch k.kind {
		case section:
			e.comment(k, "")
			fmt.Fprintf(&e, "%s:\n", k.name)
			for i, c := range k.children {
				if i > 0 {
					e.WriteString("\n")
				}
				e.comment(c, "  ")
				fmt.Fprintf(&e, "  %s: %s\n", c.name, e.value(c, c.def))
			}
		case sections:
			if k.path == "listeners" {
				e.listeners(k)
			} else {
				e.plugins(k)
			}
		default:
			e.comment(k, "")
			fmt.Fprintf(&e, "%s: %s\n", k.name, e.value(k, k.def))
		}
	}
	_, err = io.WriteString(w, e.String())
	return err
}

type example struct {
	strings.Builder
	shown map[*key]bool // documented once already
}

// comment writes the documentation of k before its line.
func (e *example) comment(k *key, indent string) {
	e.shown[k] = true
	lines := strings.Split(k.doc, "\n")
	if k.kind != section && k.path != "listeners" {
		lines = append(lines, k.facts())
	}
	for _, line := range lines {
		e.WriteString(strings.TrimRight(indent+"# "+line, " ") + "\n")
	}
}

// facts returns "duration, 100ms to 10m; default 10s; live".
func (k *key) facts() string {
	what := map[kind]string{
		textList: "list", sections: "list of sections", boolean: "true or false", integer: "number", number: "number", text: "text",
		enum: strings.Join(k.enum, " | "), duration: "duration", size: "size", rate: "rate", byteRate: "bytes per second",
		memory: "size, percentage, auto or off", freeform: "section", grants: "list of grants", hooks: "section", secretMap: "section",
	}[k.kind]
	if k.unit != "" {
		if k.kind == integer || k.kind == number || k.kind == text {
			what = k.unit
		} else {
			what += ": " + k.unit
		}
	}
	if b := k.bounds(); b != "" {
		what += ", " + b
	}
	if k.never {
		what += ", or never"
	}
	def := k.def
	switch {
	case (k.kind == textList || k.kind == sections || k.kind == grants) && def == "":
		def = "[]"
	case k.kind > grants || k.kind == freeform:
		def = "{}"
	case def == "":
		def = "empty"
	}
	reload := "restart"
	if k.live {
		reload = "live"
	}
	return what + "; default " + def + "; " + reload
}

// value writes the text of a default or example in YAML.
func (e *example) value(k *key, s string) string {
	v, err := k.read(s)
	if err != nil { // an address: it has no default
		v = s
	}
	return yamlText(k, v)
}

// listeners writes the list with the default listener, and one of each other
// transport commented out.
func (e *example) listeners(list *key) {
	e.comment(list, "")
	fmt.Fprintf(e, "%s:\n", list.name)
	used, address, _ := strings.Cut(list.def, "://")
	e.listener(list, used, address, "  ", func(k *key) bool { return k.only == nil })
	for _, network := range []string{"tls", "ws", "wss", "unix"} {
		e.WriteString("\n")
		e.listener(list, network, list.child(network).example, "  #", func(k *key) bool {
			return slices.Contains(k.only, network)
		})
	}
}

// plugins writes the list with one entry that is commented out.
func (e *example) plugins(list *key) {
	e.comment(list, "")
	fmt.Fprintf(e, "%s:\n", list.name)
	lead := "  #- "
	for _, k := range list.children {
		if lead != "  #- " {
			e.WriteString("  #\n")
		}
		e.comment(k, "  #  ")
		if k.example != "" {
			fmt.Fprintf(e, "%s%s: %q\n", lead, k.name, k.example)
		} else {
			fmt.Fprintf(e, "%s%s: %s\n", lead, k.name, e.value(k, k.def))
		}
		lead = "  #  "
	}
}

// listener writes one entry, its transport first, with the keys that are
// wanted.
func (e *example) listener(list *key, network, address, indent string, wanted func(*key) bool) {
	first := list.child(network)
	e.comment(first, "  ")
	fmt.Fprintf(e, "%s- %s: %q\n", indent, network, address)
	for _, k := range list.children {
		if isTransport(k) || !wanted(k) {
			continue
		}
		if !e.shown[k] {
			e.WriteString(strings.TrimRight(indent, " ") + "\n")
			e.comment(k, indent+"  ")
		}
		switch {
		case k.kind == sections:
			fmt.Fprintf(e, "%s  %s: [] # %s\n", indent, k.name, k.example)
		case k.example != "":
			fmt.Fprintf(e, "%s  %s: %q\n", indent, k.name, k.example)
		default:
			fmt.Fprintf(e, "%s  %s: %s\n", indent, k.name, e.value(k, k.def))
		}
	}
}

// isTransport reports whether k is one of the keys of which a listener has
// exactly one.
func isTransport(k *key) bool {
	return k.check == "address" || k.path == "listeners[].unix"
}
