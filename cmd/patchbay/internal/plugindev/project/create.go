package project

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed templates
var templates embed.FS

// Kinds of plugins that there are templates for.
var Kinds = []string{"auth", "acl", "filter", "consumer"}

// what says in a README what a template does.
var what = map[string]string{
	"auth":     "It decides who may connect: whoever knows the password of `config.json` is let in, and may use the topics below `users/NAME/`.",
	"acl":      "It says what clients may do: each has topics of its own below `devices/CLIENT-ID/`, and may subscribe to `public/#`.",
	"filter":   "It looks at messages on their way in: large ones are refused, and retained ones become ordinary ones.",
	"consumer": "It gets the messages of `alerts/#`, each at least once, and writes them to the log; empty ones it gives up.",
}

// Project is what Create is to make.
type Project struct {
	// Dir must not be there, or be empty.
	Dir, Name, Language, Kind string
	// SDKPath is a checkout of Patchbay for Go projects; empty: the released module of
	// this Version.
	SDKPath, Version string
}

// Create writes a project. On an error nothing is left behind.
func Create(p Project) error {
	l, err := language(p.Language)
	if err != nil {
		return err
	}
	if !slices.Contains(Kinds, p.Kind) {
		return fmt.Errorf("%q is no kind of plugin; there are: %s", p.Kind, strings.Join(Kinds, ", "))
	}
	if !ValidName(p.Name) {
		return fmt.Errorf("%q cannot be the name of a plugin: 1 to 64 of a-z, 0-9 and \"-\", beginning with a letter", p.Name)
	}
	made, err := makeDir(p.Dir)
	if err != nil {
		return err
	}
	err = p.write(l)
	if err != nil && made {
		_ = os.RemoveAll(p.Dir)
	} else if err != nil {
		empty(p.Dir)
	}
	return err
}

// ValidName reports whether a plugin can have the name.
func ValidName(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// makeDir makes the folder, unless it is there and empty.
func makeDir(dir string) (made bool, err error) {
	list, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, os.MkdirAll(dir, 0o755)
	case err != nil:
		return false, err
	case len(list) > 0:
		return false, fmt.Errorf("%s: the folder is not empty", dir)
	}
	return false, nil
}

// empty removes what is in a folder that was empty before.
func empty(dir string) {
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		_ = os.RemoveAll(filepath.Join(dir, e.Name()))
	}
}

func (p *Project) write(l *lang) error {
	replace := strings.NewReplacer(
		"__NAME__", p.Name, "__IDENT__", strings.ReplaceAll(p.Name, "-", "_"), "__TITLE__", l.title, "__TOOLS__", l.tools, "__SOURCE__", l.source,
		"__WHAT__", what[p.Kind], "__FINGERPRINT__", fingerprint(p.Name),
	)
	for _, from := range []string{"templates/common/all", "templates/common/" + p.Kind, "templates/" + l.name + "/all", "templates/" + l.name + "/" + p.Kind} {
		if err := p.copy(templates, from, "", replace); err != nil {
			return err
		}
	}
	if l.sdk == nil {
		return p.goModule()
	}
	if err := p.copy(l.sdk, "README.md", "patchbay/README.md", nil); err != nil {
		return err
	}
	return p.copy(l.sdk, cmp.Or(l.root, "."), "patchbay", nil)
}

// sampled are files of a template that belong into testdata.
var sampled = []string{"config.json", "events.jsonl", "verdicts.jsonl"}

// copy writes a tree into a folder of the project.
func (p *Project) copy(from fs.FS, root, to string, replace *strings.Replacer) error {
	return fs.WalkDir(from, root, func(name string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == root:
			return nil // not every language has files for all kinds
		case err != nil || e.IsDir():
			return err
		case path.Ext(name) == ".go" && replace == nil:
			return nil // the SDKs' own
		}
		content, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		rel := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(name, root), "/"), ".tmpl")
		if replace != nil {
			rel, content = replace.Replace(rel), []byte(replace.Replace(string(content)))
			switch {
			case slices.Contains(sampled, rel):
				rel = "testdata/" + rel
			case rel == "gitignore":
				rel = ".gitignore" // which could not be embedded
			}
		}
		file := filepath.Join(p.Dir, to, filepath.FromSlash(rel))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		return os.WriteFile(file, content, 0o644)
	})
}

// fingerprint is what Zig wants in a build.zig.zon: the CRC-32 of the name, and a number
// that tells packages of that name apart.
func fingerprint(name string) string {
	ident := strings.ReplaceAll(name, "-", "_")
	return fmt.Sprintf("0x%08x%08x", crc32.ChecksumIEEE([]byte(ident)), crc32.ChecksumIEEE([]byte("patchbay plugin "+name))|1)
}
