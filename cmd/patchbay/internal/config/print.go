package config

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Print writes the effective configuration as YAML: every key with its value,
// and behind each that some source has set where it came from. Secrets are
// written as "***"; without any, the output loads to the same Config.
func Print(w io.Writer, c *Config, m *Meta) error {
	var b strings.Builder
	p := printer{out: &b, config: c, meta: m}
	p.section(declaration(), reflect.ValueOf(*c), "", "", "")
	_, err := io.WriteString(w, b.String())
	return err
}

type printer struct {
	out    *strings.Builder
	config *Config
	meta   *Meta
}

// section writes the keys of k; dash is what the first line starts with in
// place of the indent.
func (p *printer) section(k *key, v reflect.Value, path, indent, dash string) {
	network := networkOf(v)
	for _, c := range k.children {
		value, here := v.Field(c.field), join(path, c.name)
		if !shownFor(c, value, network) {
			continue
		}
		lead := indent
		if dash != "" {
			lead, dash = dash, ""
		}
		switch {
		case c.kind == section:
			fmt.Fprintf(p.out, "%s%s:\n", lead, c.name)
			p.section(c, value, here, indent+"  ", "")
		case c.kind == sections && value.Len() > 0:
			fmt.Fprintf(p.out, "%s%s:%s\n", lead, c.name, p.source(here))
			for i := range value.Len() {
				p.section(c, value.Index(i), fmt.Sprintf("%s[%d]", here, i), indent+"    ", indent+"  - ")
			}
		case c.kind == sections:
			fmt.Fprintf(p.out, "%s%s: []\n", lead, c.name)
		default:
			text := yamlText(c, value.Interface())
			if p.config.shown(c, here, value.Interface()) == redacted {
				text = `"` + redacted + `"`
			}
			fmt.Fprintf(p.out, "%s%s: %s%s\n", lead, c.name, text, p.source(here))
		}
	}
}

func (p *printer) source(path string) string {
	if src := p.meta.Source(path); src != (Source{}) {
		return " # " + src.String()
	}
	return ""
}

// networkOf returns the transport if v is a listener.
func networkOf(v reflect.Value) string {
	if ln, ok := v.Interface().(Listener); ok {
		return ln.Network()
	}
	return ""
}

// shownFor reports whether the key has a place in what is printed: of a
// listener's keys those of other transports have none.
func shownFor(k *key, v reflect.Value, network string) bool {
	if network == "" {
		return true
	}
	if isTransport(k) {
		return v.String() != ""
	}
	return k.appliesTo(network)
}

// plain matches enum values that YAML reads as text without quotes.
var plain = regexp.MustCompile(`^[a-z_]+$`)

// yamlText writes a value in YAML.
func yamlText(k *key, v any) string {
	switch v := v.(type) {
	case string:
		if k.kind == enum && plain.MatchString(v) {
			return v
		}
		return quoted(v)
	case []string:
		parts := make([]string, len(v))
		for i, s := range v {
			parts[i] = quoted(s)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case JSON:
		return escapeReferences(v.Shown)
	case Grants, Hooks, Secrets:
		return escapeReferences(format(v))
	}
	return format(v)
}

// quoted writes text in YAML so that it is read as it is, not as references.
// Go's quoted strings are YAML's too: valid UTF-8, and every escape that Go
// writes is known there.
func quoted(s string) string { return strconv.Quote(escapeReferences(s)) }

func escapeReferences(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// PrintJSON writes the same as one JSON object: file, config, and sources by
// key ("log.level": "environment PATCHBAY_LOG_LEVEL"). Durations, sizes and
// rates are text.
func PrintJSON(w io.Writer, c *Config, m *Meta) error {
	sources := map[string]string{}
	config := c.tree(declaration(), reflect.ValueOf(*c), "", func(path string) {
		if src := m.Source(path); src != (Source{}) {
			sources[path] = src.String()
		}
	})
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		File    string            `json:"file,omitempty"`
		Config  map[string]any    `json:"config"`
		Sources map[string]string `json:"sources"`
	}{m.File, config, sources})
}

// tree returns the values of section k for JSON, and calls visit with the path
// of each.
func (c *Config) tree(k *key, v reflect.Value, path string, visit func(path string)) map[string]any {
	network := networkOf(v)
	values := map[string]any{}
	for _, child := range k.children {
		value, here := v.Field(child.field), join(path, child.name)
		if !shownFor(child, value, network) {
			continue
		}
		switch child.kind {
		case section:
			values[child.name] = c.tree(child, value, here, visit)
			continue
		case sections:
			values[child.name] = c.list(child, value, here, visit)
		default:
			values[child.name] = value.Interface()
			if c.shown(child, here, value.Interface()) == redacted {
				values[child.name] = redacted
			}
		}
		visit(here)
	}
	return values
}

// list returns a list of sections for JSON.
func (c *Config) list(k *key, v reflect.Value, path string, visit func(path string)) []any {
	list := []any{}
	for i := range v.Len() {
		list = append(list, c.tree(k, v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit))
	}
	return list
}
