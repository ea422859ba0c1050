package core

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/patchbay-mq/patchbay/"

// allowed lists, for each package of core, what of this module it may import.
var allowed = map[string][]string{
	"core":           {},
	"core/packet":    {},
	"core/topic":     {},
	"core/clock":     {},
	"core/router":    {"core/packet", "core/topic"},
	"core/access":    {"core/topic"},
	"core/hook":      {"core/packet", "core/topic", "core/access"},
	"core/store":     {"core/packet"},
	"core/retained":  {"core/packet", "core/topic", "core/store"},
	"core/session":   {"core/packet", "core/topic", "core/clock", "core/store", "core/hook"},
	"core/transport": {"core/packet", "core/clock"},
	"core/broker": {
		"core/access", "core/clock", "core/hook", "core/packet", "core/retained", "core/router", "core/session", "core/store",
		"core/topic", "core/transport",
	},
}

// layers says which top-level folders each one may import from.
var layers = map[string][]string{
	"core":       {"core"},
	"sdk":        {"sdk"},
	"pluginhost": {"pluginhost", "sdk", "core/hook", "core/packet", "core/access", "core/topic"},
	"plugins":    {"plugins", "sdk"},
	"cmd":        {"cmd", "plugins", "pluginhost", "sdk", "core"},
	"examples":   {"examples", "sdk", "core"},
}

// Dependencies point one way: cmd → plugins, pluginhost, core; core and sdk
// import neither of the others nor each other.
func TestImportsPointOneWay(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(strings.TrimPrefix(filepath.ToSlash(file), "../")))
		seen[dir] = true
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imported, ours := strings.CutPrefix(name, module)
			if !ours || strings.HasSuffix(file, "_test.go") {
				continue
			}
			if !may(dir, imported) {
				t.Errorf("%s must not import %s", file, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range allowed {
		if dir != "core" && !seen[dir] {
			t.Errorf("%s is listed here and does not exist", dir)
		}
	}
}

func may(dir, imported string) bool {
	if list, ok := allowed[dir]; ok {
		for _, a := range list {
			if a == imported {
				return true
			}
		}
		return false
	}
	top, _, _ := strings.Cut(dir, "/")
	for _, l := range layers[top] {
		if imported == l || strings.HasPrefix(imported, l+"/") {
			return true
		}
	}
	return false
}

// Every folder with Go code says in a package comment what it is.
func TestEveryPackageHasAComment(t *testing.T) {
	documented, packages := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := path.Dir(filepath.ToSlash(file))
		packages[dir] = true
		if f.Doc != nil {
			documented[dir] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range packages {
		if !documented[dir] {
			t.Errorf("%s has no package comment", dir)
		}
	}
}
