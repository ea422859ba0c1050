package pluginhost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
		return errors.New("config: " + strings.Join(reasons(invalid), "; "))
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

// reasons are the leaves of an error: what is wrong, and where.
func reasons(e *jsonschema.ValidationError) []string {
	if len(e.Causes) == 0 {
		where := "/" + strings.Join(e.InstanceLocation, "/")
		return []string{where + ": " + e.ErrorKind.LocalizedString(message.NewPrinter(language.English))}
	}
	var list []string
	for _, c := range e.Causes {
		list = append(list, reasons(c)...)
	}
	return list
}

// hideSecrets returns a config with "…" in the place of what the schema marks as
// "writeOnly".
func hideSecrets(schema string, config []byte) string {
	var s, v any
	if json.Unmarshal(config, &v) != nil {
		return "{}"
	}
	if schema != "" && json.Unmarshal([]byte(schema), &s) == nil {
		v = hide(s, s, v, 0)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return "{}"
	}
	return string(out)
}

// hide walks config and schema together, references within the schema included.
func hide(root, schema, value any, depth int) any {
	s, ok := schema.(map[string]any)
	if !ok || depth > 32 {
		return value
	}
	if ref, ok := s["$ref"].(string); ok {
		if target := follow(root, ref); target != nil {
			value = hide(root, target, value, depth+1)
		}
	}
	if s["writeOnly"] == true {
		return "…"
	}
	switch v := value.(type) {
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for name, x := range v {
			if p, ok := properties[name]; ok {
				v[name] = hide(root, p, x, depth+1)
			} else if more, ok := s["additionalProperties"]; ok {
				v[name] = hide(root, more, x, depth+1)
			}
		}
	case []any:
		for i, x := range v {
			v[i] = hide(root, s["items"], x, depth+1)
		}
	}
	for _, some := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := s[some].([]any)
		for _, x := range list {
			value = hide(root, x, value, depth+1)
		}
	}
	return value
}

// follow finds what "#/$defs/name" refers to.
func follow(root any, ref string) any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at := root
	for part := range slices.Values(strings.Split(path, "/")) {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return at
}
