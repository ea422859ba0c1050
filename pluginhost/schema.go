package pluginhost

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// checkConfig checks a config against the plugin's schema. Errors name the value by
// its JSON Pointer.
func checkConfig(schema string, config []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(config))
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return errors.New("config: it must be an object")
	}
	if schema == "" {
		if len(object) > 0 {
			return errors.New("config: the plugin takes none")
		}
		return nil
	}
	s, err := compileSchema(schema)
	if err != nil {
		return err
	}
	var invalid *jsonschema.ValidationError
	switch err := s.Validate(value); {
	case errors.As(err, &invalid):
		return errors.New("config: " + strings.Join(reasons(invalid, hidden(schema, config)), "; "))
	case err != nil:
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

func compileSchema(schema string) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("the plugin's config_schema is not JSON: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(nothing{})
	if err := c.AddResource("plugin.json", doc); err != nil {
		return nil, fmt.Errorf("the plugin's config_schema: %w", err)
	}
	s, err := c.Compile("plugin.json")
	if err != nil {
		return nil, fmt.Errorf("the plugin's config_schema: %w", err)
	}
	return s, nil
}

// nothing keeps a plugin's schema from reading files or the network.
type nothing struct{}

func (nothing) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s: a schema must not refer to other documents", url)
}

// reasons are the leaves of an error: what is wrong, and where. What is said of a value
// often has the value in it: of those that are hidden nothing is said.
func reasons(e *jsonschema.ValidationError, hidden any) []string {
	if len(e.Causes) == 0 {
		var where strings.Builder
		for _, part := range e.InstanceLocation {
			where.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
		}
		text := "it does not fit the schema"
		if !isHidden(hidden, e.InstanceLocation) {
			text = e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
		}
		return []string{cmp.Or(where.String(), "/") + ": " + text}
	}
	var list []string
	for _, c := range e.Causes {
		list = append(list, reasons(c, hidden)...)
	}
	return list
}

// isHidden reports whether a value, or one that it is a part of, is a secret.
func isHidden(value any, path []string) bool {
	for _, part := range path {
		switch v := value.(type) {
		case map[string]any:
			value = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return false
			}
			value = v[i]
		}
	}
	return value == secret
}

// secret stands for what is not shown.
const secret = "…"

// hideSecrets returns a config with "…" in the place of what the schema marks as
// "writeOnly".
func hideSecrets(schema string, config []byte) string {
	out, err := json.Marshal(hidden(schema, config))
	if err != nil {
		return "{}"
	}
	return string(out)
}

func hidden(schema string, config []byte) any {
	var s, v any
	if json.Unmarshal(config, &v) != nil {
		return map[string]any{}
	}
	if schema != "" && json.Unmarshal([]byte(schema), &s) == nil {
		v = hide(s, s, v, 0)
	}
	return v
}

// maxHide is how deep schemas may refer to each other, and configs go.
const maxHide = 64

// hide walks config and schema together, references within the schema included. Where
// it cannot tell it hides.
func hide(root, schema, value any, depth int) any {
	s, ok := schema.(map[string]any)
	switch {
	case !ok: // true and false say nothing of secrets
		return value
	case depth > maxHide || s["writeOnly"] == true:
		return secret
	}
	for _, name := range []string{"$ref", "$dynamicRef"} {
		if ref, ok := s[name].(string); ok {
			target := follow(root, ref)
			if target == nil {
				return secret
			}
			value = hide(root, target, value, depth+1)
		}
	}
	for _, name := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := s[name].([]any)
		for _, x := range list {
			value = hide(root, x, value, depth+1)
		}
	}
	for _, name := range []string{"if", "then", "else"} {
		value = hide(root, s[name], value, depth+1)
	}
	dependent, _ := s["dependentSchemas"].(map[string]any)
	for _, x := range dependent {
		value = hide(root, x, value, depth+1)
	}
	switch v := value.(type) {
	case map[string]any:
		hideFields(root, s, v, depth)
	case []any:
		first, _ := s["prefixItems"].([]any)
		for i, x := range v {
			if i < len(first) {
				x = hide(root, first[i], x, depth+1)
			}
			for _, name := range []string{"items", "contains", "unevaluatedItems"} {
				x = hide(root, s[name], x, depth+1)
			}
			v[i] = x
		}
	}
	return value
}

// hideFields is hide for the fields of an object. A field may be the matter of several
// subschemas: one that hides it is enough.
func hideFields(root any, s, fields map[string]any, depth int) {
	properties, _ := s["properties"].(map[string]any)
	patterns, _ := s["patternProperties"].(map[string]any)
	for name, x := range fields {
		x = hide(root, properties[name], x, depth+1)
		for pattern, schema := range patterns {
			if re, err := regexp.Compile(pattern); err != nil || re.MatchString(name) {
				x = hide(root, schema, x, depth+1)
			}
		}
		if _, ok := properties[name]; !ok {
			x = hide(root, s["additionalProperties"], x, depth+1)
			x = hide(root, s["unevaluatedProperties"], x, depth+1)
		}
		fields[name] = x
	}
}

// follow finds what "#" or "#/$defs/name" refers to; nil for references of other kinds.
func follow(root any, ref string) any {
	if ref == "#" {
		return root
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at := root
	for part := range strings.SplitSeq(path, "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return at
}
