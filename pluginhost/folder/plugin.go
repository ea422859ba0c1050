package folder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/pluginhost"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// What the files beside a plugin end with.
const (
	settingsSuffix = ".yaml"
	manifestSuffix = ".manifest.json"
	sumSuffix      = ".sha256"
)

// smallFile bounds manifests and sums, which are read as a whole.
const smallFile = 1 << 20

// group is the files of one plugin, by their names in the folder.
type group struct {
	name   string
	mains  []string // module or program; more than one is a problem
	beside []string
}

// errMoving says that a file has changed while it was read.
var errMoving = errors.New("the file is being written to")

// plugin makes a Spec of files that have come to rest.
func (l *looker) plugin(g *group) (*pluginhost.Spec, error) {
	if err := l.check(g); err != nil {
		return nil, err
	}
	main := g.mains[0]
	path := l.path(main)
	program := !strings.HasSuffix(main, ".wasm")
	spec := pluginhost.Spec{}
	if slices.Contains(g.beside, g.name+settingsSuffix) {
		var err error
		if spec, err = l.opts.Settings(l.path(g.name+settingsSuffix), program); err != nil {
			return nil, err
		}
	}
	spec.Name, spec.Source, spec.Path, spec.Runtime = g.name, path, path, pluginhost.WASM
	if program {
		spec.Runtime = pluginhost.Process
		if err := l.describedProgram(g, main); err != nil {
			return nil, err
		}
	}
	sum, err := l.sum(main)
	if err != nil {
		return nil, err
	}
	want, from, err := l.wantedSum(g, main, spec.SHA256)
	switch {
	case err != nil:
		return nil, err
	case want == "" && program && !spec.Dev:
		return nil, fmt.Errorf("%s: a program runs only as the operator has seen it: write its sum with `cd %s && sha256sum %s > %s`, "+
			"or dev: true into %s while you are writing it", path, l.opts.Dir, main, g.name+sumSuffix, g.name+settingsSuffix)
	case want != "" && !strings.EqualFold(want, sum) && !spec.Dev:
		return nil, fmt.Errorf("%s: its SHA-256 is %s, but %s says %s: has somebody changed it?", path, sum, from, want)
	}
	// A changed file is a changed plugin.
	spec.SHA256 = sum
	return &spec, nil
}

func (l *looker) path(name string) string { return filepath.Join(l.opts.Dir, name) }

// check looks at names and at who could have written the files.
func (l *looker) check(g *group) error {
	if len(g.mains) > 1 {
		return fmt.Errorf("%s are both called %s: take one away", strings.Join(g.mains, " and "), g.name)
	}
	if !validName(g.name) {
		return fmt.Errorf("%s: the name of the file is that of the plugin, and %q is not 1 to 64 of a-z, 0-9 and -, beginning with a letter",
			l.path(g.mains[0]), g.name)
	}
	for _, name := range slices.Concat(g.mains, g.beside) {
		if err := private(l.path(name), l.files[name].stamp); err != nil {
			return err
		}
	}
	return nil
}

// describedProgram looks whether a program can run, and at its manifest.
func (l *looker) describedProgram(g *group, main string) error {
	path := l.path(main)
	if !executable(l.files[main].mode) && !strings.HasSuffix(main, ".exe") {
		return fmt.Errorf("%s: is not executable: chmod +x %s", path, path)
	}
	if !slices.Contains(g.beside, g.name+manifestSuffix) {
		return fmt.Errorf("%s: there is no %s beside it; if it is a plugin: %s manifest > %s", path, g.name+manifestSuffix, path, l.path(g.name+manifestSuffix))
	}
	content, err := readSmall(l.path(g.name + manifestSuffix))
	if err != nil {
		return err
	}
	m := &pluginv1.Manifest{}
	if err := v1json.UnmarshalJSON(bytes.TrimSpace(content), m); err != nil {
		return fmt.Errorf("%s: is not a plugin's manifest: %w", l.path(g.name+manifestSuffix), err)
	}
	if m.Name == "" {
		return fmt.Errorf("%s: is not a plugin's manifest: it has no name", l.path(g.name+manifestSuffix))
	}
	return nil
}

// sum returns the SHA-256 of a file that is still what the look has seen.
func (l *looker) sum(name string) (string, error) {
	f, err := os.Open(l.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", errMoving
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !l.files[name].same(stampOf(info)) {
		return "", errMoving
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// wantedSum returns the sum that the operator has written down, and where: in the
// settings, else in the file beside the plugin.
func (l *looker) wantedSum(g *group, main, settings string) (sum, from string, err error) {
	if settings != "" {
		return settings, l.path(g.name + settingsSuffix), nil
	}
	if !slices.Contains(g.beside, g.name+sumSuffix) {
		return "", "", nil
	}
	from = l.path(g.name + sumSuffix)
	content, err := readSmall(from)
	if err != nil {
		return "", "", err
	}
	if sum = sumIn(string(content), main); sum == "" {
		return "", "", fmt.Errorf("%s: has no SHA-256 of %s; `sha256sum %s` prints the line", from, main, main)
	}
	return sum, from, nil
}

// sumIn finds the sum of a file in what sha256sum prints, or the one sum that text is.
func sumIn(text, name string) string {
	only := ""
	lines := 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		lines++
		sum, of, _ := strings.Cut(line, " ")
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size {
			continue
		}
		// A second blank, or a star, is before the name.
		if of = strings.TrimLeft(of, " *"); of == "" {
			only = sum
		} else if filepath.Base(of) == name {
			return sum
		}
	}
	if lines == 1 {
		return only
	}
	return ""
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, smallFile+1))
	if err == nil && len(content) > smallFile {
		err = fmt.Errorf("%s: is larger than 1 MiB", path)
	}
	return content, err
}

// validName is the rule of pluginhost.Spec.
func validName(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
