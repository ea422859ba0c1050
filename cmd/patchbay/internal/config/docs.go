package config

import (
	"embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
)

// declarations are the sources of the types whose field comments are the
// documentation of the keys. Reading them back keeps one text for Go's
// documentation, the example file and the schema, and long comments out of
// struct tags. Only `config example` and `config schema` do so.
//
//go:embed config.go mqtt.go listener.go plugin.go
var declarations embed.FS

// documented returns the tree of all keys with their documentation.
func documented() (*key, error) {
	docs := map[string]string{}
	for _, name := range []string{"config.go", "mqtt.go", "listener.go", "plugin.go"} {
		source, err := declarations.ReadFile(name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("documentation of the keys: %w", err)
		}
		fieldDocs(file, docs)
	}
	root := declaration()
	root.all(func(k *key) { k.doc = docs[k.goName] })
	return root, nil
}

// fieldDocs collects the comments of all struct fields by "Type.Field".
func fieldDocs(file *ast.File, docs map[string]string) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if structure, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range structure.Fields.List {
				for _, name := range f.Names {
					docs[spec.Name.Name+"."+name.Name] = strings.TrimSpace(f.Doc.Text())
				}
			}
		}
		return false
	})
}
