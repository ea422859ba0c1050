package config

import (
	"reflect"
	"strconv"
	"strings"
)

// kind is how the value of a key is written and kept.
type kind byte

const (
	section  kind = iota // keys below it: a struct
	sections             // a list of sections: a slice of structs
	textList             // []string
	boolean              // bool
	integer              // int
	number               // float64; the kinds so far are types of YAML, the next are text
	text                 // string
	enum                 // string, one of key.enum
	duration             // Duration
	size                 // Size
	rate                 // Rate
	byteRate             // ByteRate
	memory               // Watermark
	// What follows is read from YAML only, by plugin_yaml.go.
	freeform  // JSON
	grants    // Grants
	hooks     // Hooks
	secretMap // Secrets
)

// key is the declaration of one key: what the tags of its field say.
type key struct {
	name     string // in its section
	path     string // from the top: "mqtt.max_qos", "listeners[].tcp"
	kind     kind
	goName   string // "Config.Listeners"
	field    int    // index in the struct of the section
	children []*key

	def      string
	example  string
	unit     string
	enum     []string
	min, max string
	check    string
	only     []string
	never    bool
	need     bool // an element of a list must have it
	empty    bool // an element of the list may be empty
	secret   bool
	live     bool

	doc string // the field's comment; only withDocs fills it in
}

// declaration returns the tree of all keys, from the fields of [Config].
func declaration() *key {
	root := &key{kind: section}
	root.children = fieldKeys(reflect.TypeFor[Config](), "")
	return root
}

func fieldKeys(t reflect.Type, prefix string) []*key {
	var keys []*key
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := f.Tag.Lookup("key")
		if !ok {
			continue
		}
		k := &key{
			name: name, path: prefix + name, goName: t.Name() + "." + f.Name, field: i,
			def: f.Tag.Get("default"), example: f.Tag.Get("example"), unit: f.Tag.Get("unit"),
			min: f.Tag.Get("min"), max: f.Tag.Get("max"), check: f.Tag.Get("check"),
			enum: split(f.Tag.Get("enum")), only: split(f.Tag.Get("only")),
			never: f.Tag.Get("never") == "true", secret: f.Tag.Get("secret") == "true", live: f.Tag.Get("live") == "true",
			need: f.Tag.Get("need") == "true", empty: f.Tag.Get("empty") == "true",
		}
		k.kind = kindOf(f.Type, k.enum != nil)
		switch k.kind {
		case section:
			k.children = fieldKeys(f.Type, k.path+".")
		case sections:
			k.children = fieldKeys(f.Type.Elem(), k.path+"[].")
		}
		keys = append(keys, k)
	}
	return keys
}

func split(tag string) []string {
	if tag == "" {
		return nil
	}
	return strings.Split(tag, "|")
}

func kindOf(t reflect.Type, isEnum bool) kind {
	switch t {
	case reflect.TypeFor[Duration]():
		return duration
	case reflect.TypeFor[Size]():
		return size
	case reflect.TypeFor[Rate]():
		return rate
	case reflect.TypeFor[ByteRate]():
		return byteRate
	case reflect.TypeFor[Watermark]():
		return memory
	case reflect.TypeFor[[]string]():
		return textList
	case reflect.TypeFor[JSON]():
		return freeform
	case reflect.TypeFor[Grants]():
		return grants
	case reflect.TypeFor[Hooks]():
		return hooks
	case reflect.TypeFor[Secrets]():
		return secretMap
	}
	switch t.Kind() {
	case reflect.Struct:
		return section
	case reflect.Slice:
		return sections
	case reflect.Bool:
		return boolean
	case reflect.Int:
		return integer
	case reflect.Float64:
		return number
	}
	if isEnum {
		return enum
	}
	return text
}

// child returns the key of that name below k, or nil.
func (k *key) child(name string) *key {
	for _, c := range k.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// appliesTo reports whether k, a key of a listener, is for that transport.
func (k *key) appliesTo(network string) bool {
	if k.only == nil {
		return true
	}
	for _, n := range k.only {
		if n == network {
			return true
		}
	}
	return false
}

// settable calls fn for every key below k that can be set by itself, by an
// environment variable or a flag: those of no list's elements.
func (k *key) settable(fn func(*key)) {
	for _, c := range k.children {
		if c.kind == section {
			c.settable(fn)
		} else {
			fn(c)
		}
	}
}

// all calls fn for every key below k, sections and list elements included, in
// the order of declaration.
func (k *key) all(fn func(*key)) {
	for _, c := range k.children {
		fn(c)
		c.all(fn)
	}
}

// find returns the key of that path ("mqtt.max_qos"), if it can be set by
// itself.
func (k *key) find(path string) *key {
	var found *key
	k.settable(func(c *key) {
		if c.path == path {
			found = c
		}
	})
	return found
}

// envName returns the environment variable that sets k.
func (k *key) envName() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// wants says in an error message what the value of k has to be.
func (k *key) wants() string {
	var s string
	switch k.kind {
	case section:
		names := make([]string, len(k.children))
		for i, c := range k.children {
			names[i] = c.name
		}
		return "a section with keys " + strings.Join(names, ", ")
	case sections:
		return "a list of sections, each with keys such as " + k.children[0].name
	case textList:
		s = "a list in [ ]"
	case boolean:
		s = "true or false"
	case integer:
		s = "a whole number"
	case number:
		s = "a number"
	case text:
		s = "text"
	case enum:
		if len(k.enum) == 1 {
			return k.enum[0]
		}
		return "one of " + strings.Join(k.enum, ", ")
	case duration:
		s = "a duration such as 30s, 5m, 1h or 2d"
		if k.never {
			s += ", or never"
		}
	case size:
		s = "a size such as 512B, 64KiB or 10MB"
	case rate:
		s = "a rate such as 100/s or 30/m"
	case byteRate:
		s = "a rate such as 64KiB/s"
	case memory:
		s = "a size such as 512MiB, a percentage such as 80%, auto or off"
	case freeform:
		return "a section"
	case grants:
		return "a list of grants, such as [kv, {publish: [alerts/#]}]"
	case hooks:
		return "a section with names of hooks, such as {published: off}"
	case secretMap:
		return "a section of names, each with a text"
	}
	if b := k.bounds(); b != "" {
		s += ", " + b
	}
	if k.unit != "" && (k.kind == text || k.kind == textList) {
		s += " (" + k.unit + ")"
	}
	return s
}

// bounds returns "0 to 2", "at least 1s", or "" for a key without any.
func (k *key) bounds() string {
	switch {
	case k.min != "" && k.max != "":
		return k.min + " to " + k.max
	case k.min != "" && k.min[0] != '0': // at least nothing goes without saying
		return "at least " + k.min
	}
	return ""
}

// quote returns s as it is shown in messages: in quotes, and not too long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}
