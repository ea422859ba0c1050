package automation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/sashabaranov/go-openai"
)

// Schema is a JSON Schema that answers must fit. The zero value is none. It is a type for
// a config, and immutable.
type Schema struct {
	source   json.RawMessage
	compiled *jsonschema.Schema
}

// UnmarshalText compiles a JSON Schema.
func (s *Schema) UnmarshalText(b []byte) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	if _, ok := v.(map[string]any); !ok {
		return errors.New(`want a JSON Schema that is an object, as {"type": "object", "properties": {…}}`)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource(schemaName, v); err != nil {
		return err
	}
	compiled, err := c.Compile(schemaName)
	if err != nil {
		return fmt.Errorf("it is no JSON Schema: %w", err)
	}
	var source bytes.Buffer
	if err := json.Compact(&source, b); err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	s.source, s.compiled = source.Bytes(), compiled
	return nil
}

const schemaName = "schema.json"

// noLoader has no documents: a schema is whole by itself.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is elsewhere: write it into the schema, below $defs", url)
}

// there reports whether there is a schema.
func (s *Schema) there() bool { return s.compiled != nil }

// format is how the endpoint is told; nil without a schema.
func (s *Schema) format() *openai.ChatCompletionResponseFormat {
	if !s.there() {
		return nil
	}
	return &openai.ChatCompletionResponseFormat{
		Type:       openai.ChatCompletionResponseFormatTypeJSONSchema,
		JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{Name: "answer", Schema: s.source},
	}
}

// rule is how the model is told; "" without a schema. Not all endpoints tell it.
func (s *Schema) rule() string {
	if !s.there() {
		return ""
	}
	return "Answer with JSON alone, without a word around it, that fits this JSON Schema:\n" + string(s.source)
}

// fit returns an answer as compact JSON. The error says why it does not fit.
func (s *Schema) fit(answer string) ([]byte, error) {
	text := unfence(answer)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if err := s.compiled.Validate(v); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	return b.Bytes(), nil
}

// unfence takes off what models put around JSON though they were told not to: a code
// fence.
func unfence(s string) string {
	s = strings.TrimSpace(s)
	inner, ok := strings.CutPrefix(s, "```")
	if !ok {
		return s
	}
	if inner, ok = strings.CutSuffix(inner, "```"); !ok {
		return s
	}
	_, body, _ := strings.Cut(inner, "\n") // behind the language
	return strings.TrimSpace(body)
}
