// Command gen makes what is derived from the plugin contract: codecs, gRPC
// services, reference and descriptor set. It is run by `go generate ./sdk/proto`.
//
//	gen            write everything
//	gen -check     write nothing; fail if something is not up to date
//	gen -print X   write nothing; print the output file X
//
// It compiles ../patchbay/plugin/v1/*.proto into a Schema (load.go), holds it
// against the rules of the contract (rules.go), so that every emitter can rely on
// them, and runs the emitters (emit.go). A further language is a further Emitter
// in a file of its own: it gets the Schema and returns files.
//
// It is a module of its own, so that its dependencies are nobody else's.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	dir := flag.String("dir", "..", "the folder sdk/proto")
	check := flag.Bool("check", false, "write nothing; fail if something is not up to date")
	show := flag.String("print", "", "write nothing; print this output file")
	flag.Parse()
	if err := run(*dir, *check, *show); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir string, check bool, show string) error {
	schema, err := load(dir)
	if err != nil {
		return err
	}
	outputs, err := emit(schema)
	if err != nil {
		return err
	}
	switch {
	case show != "":
		for _, o := range outputs {
			if o.Path == show {
				_, err := os.Stdout.Write(o.Content)
				return err
			}
		}
		return fmt.Errorf("no output file %s", show)
	case check:
		return compare(dir, outputs)
	}
	if err := compatible(dir, schema); err != nil {
		return err
	}
	return write(dir, outputs)
}

// compare fails if a file differs from what would be written, or is there and
// would not be.
func compare(dir string, outputs []Output) error {
	var wrong []string
	for _, o := range outputs {
		if now, err := os.ReadFile(filepath.Join(dir, o.Path)); err != nil || !bytes.Equal(now, o.Content) {
			wrong = append(wrong, o.Path)
		}
	}
	stale, err := leftOver(dir, outputs)
	if err != nil {
		return err
	}
	if wrong = append(wrong, stale...); len(wrong) > 0 {
		return fmt.Errorf("not up to date, run go generate ./sdk/proto: %s", strings.Join(wrong, ", "))
	}
	return nil
}

func write(dir string, outputs []Output) error {
	stale, err := leftOver(dir, outputs)
	if err != nil {
		return err
	}
	for _, path := range stale {
		if err := os.Remove(filepath.Join(dir, path)); err != nil {
			return err
		}
	}
	for _, o := range outputs {
		path := filepath.Join(dir, o.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, o.Content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// leftOver lists generated Go files of which there is no output any more.
func leftOver(dir string, outputs []Output) ([]string, error) {
	wanted := map[string]bool{}
	for _, o := range outputs {
		wanted[o.Path] = true
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"+goSuffix))
	if err != nil {
		return nil, err
	}
	var stale []string
	for _, path := range found {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return nil, err
		}
		if rel = filepath.ToSlash(rel); !wanted[rel] {
			stale = append(stale, rel)
		}
	}
	return stale, nil
}

// compatible holds the schema against the committed descriptor set, before that is
// written anew. The check is in the main module, where it is tested.
func compatible(dir string, schema *Schema) error {
	committed, err := filepath.Abs(filepath.Join(dir, descriptorPath))
	if err != nil {
		return err
	}
	if _, err := os.Stat(committed); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	f, err := os.CreateTemp("", "patchbay-contract-*.binpb")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(schema.Descriptors); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	cmd := exec.Command("go", "run", "./compat/check", committed, f.Name())
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the contract would break: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}
