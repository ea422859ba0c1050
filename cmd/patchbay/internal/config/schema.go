package config

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
)

// object is a JSON object.
type object = map[string]any

// referencePattern is what every value may be in place of itself.
const referencePattern = `\$\{(env|file):[^}]+\}`

// schemaTypes are the types with a text form of their own. The patterns say
// what types.go reads, except for bounds.
func schemaTypes() object {
	const decimal = `([0-9]+\.?[0-9]*|\.[0-9]+)`
	const sizeText = decimal + ` *(([kKmMgGtT][iI]?)?[bB])?`
	pattern := func(p, doc string) object {
		return object{"description": doc, "type": "string", "pattern": p}
	}
	plainOr := func(numeric string, o object) object {
		return object{"anyOf": []any{o, object{"type": numeric, "minimum": 0}}}
	}
	return object{
		"reference": pattern(referencePattern, "a value from the environment or a file"),
		"duration": object{"anyOf": []any{
			pattern(`^(0|[0-9]+d|([0-9]+d)?(`+decimal+`(ns|us|µs|μs|ms|s|m|h))+)$`, "30s, 5m, 1h30m, 2d"),
			object{"const": 0},
		}},
		"never":    object{"const": "never"},
		"size":     plainOr("integer", pattern(`^`+sizeText+`$`, "512B, 64KiB, 10MB, or a number of bytes")),
		"rate":     plainOr("number", pattern(`^`+decimal+` *(/ *[smh])?$`, "100/s, 30/m, 5/h")),
		"byterate": plainOr("integer", pattern(`^`+sizeText+` *(/s)?$`, "64KiB/s")),
		"memory": plainOr("integer", object{"anyOf": []any{
			object{"enum": []any{"auto", "off"}},
			pattern(`^`+decimal+` *%$`, "80%"),
			pattern(`^`+sizeText+`$`, "512MiB"),
		}}),
	}
}

// Schema writes the JSON Schema (draft 2020-12) of the configuration file, for
// editors. It accepts every file that [Load] accepts; what only Load finds are
// bounds of values with units, combinations and files.
func Schema(w io.Writer) error {
	root, err := documented()
	if err != nil {
		return err
	}
	schema := root.schema()
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "patchbay configuration"
	schema["$defs"] = schemaTypes()
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(schema)
}

func ref(name string) object { return object{"$ref": "#/$defs/" + name} }

// schema returns the schema of k.
func (k *key) schema() object {
	s := object{}
	switch k.kind {
	case section:
		// A section whose keys are all commented out is null.
		s = k.objectSchema()
		s["type"] = []any{"object", "null"}
	case sections:
		items := k.objectSchema()
		items["type"] = "object"
		if k.path == "listeners" {
			items["oneOf"] = k.oneTransport()
		}
		s = object{"type": []any{"array", "null"}, "items": items}
	case textList:
		item := object{"type": "string", "minLength": 1}
		if k.empty {
			delete(item, "minLength")
		}
		s = object{"type": []any{"array", "null"}, "items": item}
	case freeform, grants, hooks, secretMap:
		s = k.structuredSchema()
	default:
		s["anyOf"] = append(k.valueSchemas(), ref("reference"), object{"type": "null"})
	}
	if k.doc != "" {
		s["description"] = strings.ReplaceAll(k.doc, "\n", " ")
		if k.kind > sections && k.kind < freeform {
			s["description"] = s["description"].(string) + " (" + k.facts() + ")"
		}
	}
	if k.kind > sections && k.kind < freeform && (k.def != "" || k.kind == text) && !isTransport(k) {
		v, err := k.read(k.def)
		if err == nil {
			s["default"] = v
		}
	}
	return s
}

func (k *key) objectSchema() object {
	properties := object{}
	var required []any
	for _, c := range k.children {
		properties[c.name] = c.schema()
		if (c.check == "required" || c.need) && c.def == "" {
			required = append(required, c.name)
		}
	}
	s := object{"properties": properties, "additionalProperties": false}
	if required != nil {
		s["required"] = required
	}
	return s
}

// structuredSchema returns the schema of what plugin_yaml.go and plugin_grants.go read.
func (k *key) structuredSchema() object {
	const optional = "null"
	properties := object{}
	switch k.kind {
	case grants:
		var alone []any
		for _, kind := range grantKinds() {
			if !kind.needed {
				alone = append(alone, kind.name)
			}
			if len(kind.keys()) > 0 {
				properties[kind.name] = kind.schema()
			}
		}
		return object{"type": []any{"array", optional}, "items": object{"anyOf": []any{
			object{"enum": alone},
			object{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1},
		}}}
	case hooks:
		for _, point := range points() {
			properties[pointName(point)] = object{"anyOf": []any{
				object{"const": "off"},
				object{"type": "object", "properties": object{
					"deadline": object{"anyOf": []any{ref("duration"), ref("reference")}},
					"failure":  object{"anyOf": []any{object{"enum": enumValues(failures(point))}, ref("reference")}},
				}, "additionalProperties": false, "minProperties": 1},
			}}
		}
		return object{"type": []any{"object", optional}, "properties": properties, "additionalProperties": false}
	case secretMap:
		return object{"type": []any{"object", optional}, "additionalProperties": object{"type": "string", "minLength": 1}}
	}
	return object{"type": []any{"object", optional}}
}

// schema returns the schema of a grant's scope.
func (kind *grantKind) schema() object {
	texts := object{"type": "array", "items": object{"type": "string"}, "minItems": 1}
	limit := texts
	if kind.element.kind == size {
		limit = object{"anyOf": []any{ref("size"), ref("reference")}}
	}
	properties := object{}
	for _, name := range kind.keys() {
		properties[name] = texts
	}
	any := []any{object{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1}}
	if kind.scope != "" {
		properties[kind.scope] = limit
		any = append(any, limit)
	}
	return object{"anyOf": any}
}

// oneTransport demands exactly one of the transports in a listener.
func (k *key) oneTransport() []any {
	var one []any
	for _, c := range k.children {
		if isTransport(c) {
			one = append(one, object{"required": []any{c.name}})
		}
	}
	return one
}

// valueSchemas returns what the value of k may be, apart from a reference.
func (k *key) valueSchemas() []any {
	switch k.kind {
	case boolean:
		return []any{object{"type": "boolean"}}
	case integer, number:
		s := object{"type": map[kind]string{integer: "integer", number: "number"}[k.kind]}
		for name, bound := range map[string]string{"minimum": k.min, "maximum": k.max} {
			if v, err := k.read(bound); err == nil {
				s[name] = v
			}
		}
		return []any{s}
	case enum:
		return []any{object{"enum": enumValues(k.enum)}}
	case duration:
		if k.never {
			return []any{ref("duration"), ref("never")}
		}
		return []any{ref("duration")}
	case size:
		return []any{ref("size")}
	case rate:
		return []any{ref("rate")}
	case byteRate:
		return []any{ref("byterate")}
	case memory:
		return []any{ref("memory")}
	}
	if k.check == "mode" {
		return []any{object{"type": []any{"string", "integer"}}}
	}
	return []any{object{"type": "string"}}
}

// enumValues lists the values, and for those that YAML reads as something else
// than text (true, 1.2) that as well.
func enumValues(names []string) []any {
	var values []any
	for _, n := range names {
		values = append(values, n)
		if b, err := strconv.ParseBool(n); err == nil {
			values = append(values, b)
		} else if f, err := strconv.ParseFloat(n, 64); err == nil {
			values = append(values, f)
		}
	}
	return values
}
