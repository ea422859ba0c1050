package pluginhost

import (
	"strings"
	"testing"
)

const secretsSchema = `{
  "type": "object", "additionalProperties": {"writeOnly": true},
  "$defs": {"key": {"type": "string", "writeOnly": true, "pattern": "^k", "minLength": 4}, "tree": {"properties": {
    "leaf": {"$ref": "#/$defs/key"}, "next": {"$ref": "#/$defs/tree"}}}},
  "properties": {
    "plain": {"type": "string", "pattern": "^p"}, "key": {"$ref": "#/$defs/key"}, "tree": {"$ref": "#/$defs/tree"},
    "list": {"items": {"properties": {"key": {"$ref": "#/$defs/key"}, "a/b~c": {"type": "integer"}}}},
    "pair": {"prefixItems": [{}, {"$ref": "#/$defs/key"}]},
    "some": {"patternProperties": {"^secret": {"writeOnly": true}}},
    "either": {"oneOf": [{"type": "integer"}, {"properties": {"key": {"writeOnly": true}}}]},
    "cond": {"if": {"properties": {"x": {"const": 1}}}, "then": {"properties": {"y": {"writeOnly": true}}}},
    "object": {"writeOnly": true, "properties": {"a": {"type": "string", "minLength": 9}}},
    "loop": {"$ref": "#/$defs/loop"}, "elsewhere": {"$ref": "#anchor"}
  }
}`

func TestSecretsAreHidden(t *testing.T) {
	config := `{"plain":"public","key":"khush","tree":{"leaf":"khush","next":{"next":{"leaf":"khush"}}},"list":[{"key":"khush","other":"public"}],
		"pair":["public","khush"],"some":{"secret-1":"hush","open":"public"},"either":{"key":"hush"},"cond":{"x":1,"y":"hush"},
		"object":{"a":"hush"},"unknown":"hush","elsewhere":"hush"}`
	got := hideSecrets(secretsSchema, []byte(config))
	if strings.Contains(got, "hush") {
		t.Errorf("%s", got)
	}
	if n := strings.Count(got, "public"); n != 4 {
		t.Errorf("%d of 4 values that are no secrets: %s", n, got)
	}
	for _, schema := range []string{"", "true", "[]", "{", `{"$ref":"#"}`, `{"allOf":[{"$ref":"#"}]}`} {
		if got := hideSecrets(schema, []byte(`{"a":1}`)); got == "" {
			t.Error("no config")
		}
	}
	if got := hideSecrets(`{"$ref":"#"}`, []byte(`{"a":"hush"}`)); strings.Contains(got, "hush") {
		t.Errorf("a schema without end: %s", got)
	}
}

// What is wrong with a secret is said without the secret.
func TestErrorsHideSecrets(t *testing.T) {
	schema := strings.Replace(strings.Replace(secretsSchema, `"loop": {"$ref": "#/$defs/loop"}, `, "", 1), `"elsewhere": {"$ref": "#anchor"}`, `"x": {}`, 1)
	for config, want := range map[string]string{
		`{"key":"hush"}`:              "/key: it does not fit the schema",
		`{"tree":{"leaf":"hush"}}`:    "/tree/leaf: it does not fit the schema",
		`{"list":[{"key":"hush"}]}`:   "/list/0/key: it does not fit the schema",
		`{"object":{"a":"hush"}}`:     "/object/a: it does not fit the schema",
		`{"plain":"hush"}`:            "/plain: 'hush' does not match pattern '^p'",
		`{"list":[{"a/b~c":"hush"}]}`: "/list/0/a~1b~0c: got string, want integer",
		`[]`:                          "config: it must be an object",
		`{"plain":`:                   "config: ",
	} {
		err := checkConfig(schema, []byte(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", config, err, want)
		}
	}
	if err := checkConfig("", []byte(`{"a":1}`)); err == nil || !strings.Contains(err.Error(), "takes none") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"{", `{"type":"nothing"}`, `{"$ref":"file:///etc/passwd"}`, `{"$ref":"http://127.0.0.1/"}`} {
		if err := checkConfig(bad, []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "config_schema") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
