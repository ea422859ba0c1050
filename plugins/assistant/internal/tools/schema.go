package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is the JSON Schema of a tool's arguments, written as text. The zero value takes
// no arguments. It is a type for a config, and immutable.
type Schema struct {
	source   json.RawMessage
	compiled *jsonschema.Schema
}

// UnmarshalText reads a JSON Schema.
func (s *Schema) UnmarshalText(b []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	if o, ok := v.(map[string]any); !ok || o["type"] != "object" {
		return errors.New(`want the JSON Schema of an object, as {"type": "object", "properties": {"room": {"type": "string"}}}`)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is fetched
	if err := c.AddResource("parameters.json", v); err != nil {
		return err
	}
	if s.compiled, err = c.Compile("parameters.json"); err != nil {
		return fmt.Errorf("it is no JSON Schema: %w", err)
	}
	s.source, err = json.Marshal(v)
	return err
}

// parameters are told to the model.
func (s *Schema) parameters() json.RawMessage {
	if s.compiled == nil {
		return noParameters
	}
	return s.source
}

var noParameters = json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)

// check holds arguments against the schema.
func (s *Schema) check(args json.RawMessage) error {
	if s.compiled == nil {
		return decode(args, &struct{}{})
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(args))
	if err != nil {
		return fmt.Errorf("the arguments: %w", err)
	}
	if err := s.compiled.Validate(v); err != nil {
		return fmt.Errorf("the arguments: %w", err)
	}
	return nil
}
