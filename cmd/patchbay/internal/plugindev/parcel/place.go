package parcel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Settings are the settings of a plugin in a plugin folder: NAME.yaml, with what people
// have written into it.
type Settings struct {
	path string
	doc  yaml.Node
	mode fs.FileMode
	// There says that the file was there.
	There bool
}

// ReadSettings reads the settings of a plugin in the folder dir; it is no error if there
// are none yet.
func ReadSettings(dir, name string) (*Settings, error) {
	s := &Settings{path: filepath.Join(dir, name+".yaml"), mode: 0o644}
	if info, err := os.Stat(s.path); err == nil {
		s.mode = info.Mode().Perm()
	}
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.There = true
	if err := yaml.Unmarshal(text, &s.doc); err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	if m := s.mapping(); m != nil && m.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: is not a section with keys", s.path)
	}
	return s, nil
}

// Path of the file.
func (s *Settings) Path() string { return s.path }

func (s *Settings) mapping() *yaml.Node {
	if len(s.doc.Content) == 0 {
		return nil
	}
	return s.doc.Content[0]
}

// set puts a value, in YAML, in the place of a key's. All else stays as it is, comments too.
func (s *Settings) set(key, value string) error {
	var v yaml.Node
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		return err
	}
	m := s.mapping()
	if m == nil {
		s.doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}
		m = s.doc.Content[0]
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = v.Content[0]
			return nil
		}
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, v.Content[0])
	return nil
}

// SetGrants puts grants, as a list in YAML, in the place of those that are there.
func (s *Settings) SetGrants(list string) error { return s.set("grants", list) }

// text is the file's new content.
func (s *Settings) text() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if s.mapping() != nil {
		if err := e.Encode(&s.doc); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), e.Close()
}

// Place writes the plugin of a package into a plugin folder, which it makes if it is not
// there. Each file is written under a name that the folder's watcher leaves alone, and
// all are renamed at the end, the plugin's own last: a plugin of before goes on until the
// whole new one is there. It returns the path of the plugin's file.
func Place(dir string, p *Package, s *Settings) (file string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	text, err := s.text()
	if err != nil {
		return "", err
	}
	mode := fs.FileMode(0o644)
	if p.Runtime == "process" {
		mode = 0o755
	}
	files := []placed{
		{name: filepath.Base(s.path), content: text, mode: s.mode},
		{name: p.Name + ".sha256", content: []byte(p.SHA256 + "  " + p.File + "\n"), mode: 0o644},
	}
	if p.Runtime == "process" {
		files = append(files, placed{name: p.Name + ".manifest.json", content: p.About.Manifest, mode: 0o644})
	}
	files = append(files, placed{name: p.File, content: p.Content, mode: mode})
	defer func() {
		for _, f := range files {
			if f.temporary != "" {
				_ = os.Remove(f.temporary)
			}
		}
	}()
	for i := range files {
		if err := files[i].write(dir); err != nil {
			return "", err
		}
	}
	if err := other(dir, p); err != nil {
		return "", err
	}
	for i := range files {
		f := &files[i]
		if err := os.Rename(f.temporary, filepath.Join(dir, f.name)); err != nil {
			return "", err
		}
		f.temporary = ""
	}
	return filepath.Join(dir, p.File), nil
}

// other refuses to put a module beside a program of its name, or the other way round: the
// folder would run neither.
func other(dir string, p *Package) error {
	kinds := []string{p.Name + ".wasm", p.Name, p.Name + ".exe"}
	kinds = slices.DeleteFunc(kinds, func(name string) bool { return name == p.File })
	for _, name := range kinds {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("%s is there already, and two files cannot make one plugin: take it away first", filepath.Join(dir, name))
		}
	}
	return nil
}

// placed is a file on its way into a folder.
type placed struct {
	name      string
	content   []byte
	mode      fs.FileMode
	temporary string
}

// write puts the content on disk under another name.
func (f *placed) write(dir string) error {
	t, err := os.CreateTemp(dir, "."+f.name+".*.tmp")
	if err != nil {
		return err
	}
	f.temporary = t.Name()
	_, err = t.Write(f.content)
	return errors.Join(err, t.Chmod(f.mode), t.Sync(), t.Close())
}
