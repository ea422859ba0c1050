package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	as "github.com/patchbay-mq/patchbay/sdk/assemblyscript"
	"github.com/patchbay-mq/patchbay/sdk/c"
	"github.com/patchbay-mq/patchbay/sdk/rust"
	"github.com/patchbay-mq/patchbay/sdk/zig"
)

// lang is a language that plugins can be written in.
type lang struct {
	name, title string
	// source is the file to edit, tools what has to be there, for READMEs.
	source, tools string
	// sdk is what projects get a copy of, nil for Go.
	sdk fs.FS
	// root is the folder of sdk that becomes the project's folder patchbay; empty: all of it.
	root string
	// files are patterns of files by which a project of it is known.
	files []string
	// build makes the module b.out.
	build func(b *building) error
}

func languages() []*lang {
	return []*lang{
		{
			name: "go", title: "Go", source: "main.go", tools: "Go 1.26 or newer",
			files: []string{"go.mod"}, build: buildGo,
		},
		{
			name: "rust", title: "Rust", source: "src/lib.rs", tools: "cargo, and the standard library for `wasm32-unknown-unknown`",
			files: []string{"Cargo.toml"}, sdk: rust.Files, build: buildRust,
		},
		{
			name: "assemblyscript", title: "AssemblyScript", source: "src/plugin.ts", tools: "AssemblyScript's compiler (`npm install`, or `npm install --global assemblyscript`)",
			files: []string{"src/*.ts"}, sdk: as.Files, root: "patchbay", build: buildAssemblyScript,
		},
		{
			name: "c", title: "C", source: "src/plugin.c", tools: "clang and wasm-ld (Debian: `clang` and `lld`)",
			files: []string{"src/*.c"}, sdk: c.Files, build: buildC,
		},
		{
			name: "zig", title: "Zig", source: "src/plugin.zig", tools: "Zig 0.17 or newer",
			files: []string{"build.zig"}, sdk: zig.Files, build: buildZig,
		},
	}
}

// Languages are the names of languages, as Create takes them.
func Languages() []string {
	var names []string
	for _, l := range languages() {
		names = append(names, l.name)
	}
	return names
}

func language(name string) (*lang, error) {
	for _, l := range languages() {
		if l.name == name {
			return l, nil
		}
	}
	return nil, fmt.Errorf("there is no SDK for %q; there are: %s. Whatever else compiles to WebAssembly can use the ABI itself: sdk/ABI.md",
		name, strings.Join(Languages(), ", "))
}

// find tells a project's language by its files.
func find(dir string) (*lang, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New(dir + ": is not a folder")
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, l := range languages() {
		all = append(all, l.files...)
		if !slices.ContainsFunc(l.files, func(pattern string) bool { return !there(dir, pattern) }) {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%s: there is none of %s, by which a project's language is known; patchbay plugin new makes a project", dir, strings.Join(all, ", "))
}

func there(dir, pattern string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
	return len(found) > 0
}
