package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost"
)

// settled is how old a file has to be that counts at the first look, when there is no
// look before to compare with.
const settled = 2 * time.Second

// stamp tells whether a file has changed.
type stamp struct {
	size     int64
	modified time.Time
	inode    uint64
	mode     fs.FileMode
	owner    int // -1: not known on this system
}

// file is what is known of a file in the folder.
type file struct {
	stamp
	steady bool // the same for two looks
	gone   bool // not there at the last look
}

// entry is what has become of the files of one name.
type entry struct {
	stamps  map[string]stamp // that spec and problem were made of
	spec    *pluginhost.Spec // nil if it is no plugin
	problem error
}

// looker compares what is there with what was there before.
type looker struct {
	opts    *Options
	begun   bool
	files   map[string]*file
	entries map[string]*entry
	problem error // with the folder itself
}

func newLooker(o *Options) *looker {
	return &looker{opts: o, files: map[string]*file{}, entries: map[string]*entry{}}
}

// look looks into the folder, and reports whether the list has changed.
func (l *looker) look(now time.Time) (changed bool) {
	before := l.problem
	l.problem = l.checkDir()
	if l.problem == nil {
		l.problem = l.readDir(now)
	}
	l.begun = true
	changed = text(before) != text(l.problem)
	if l.problem != nil {
		return changed
	}
	groups := l.groups()
	for name := range l.entries {
		if groups[name] == nil {
			delete(l.entries, name)
			changed = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if l.update(name, groups[name]) {
			changed = true
		}
	}
	return changed
}

func (l *looker) checkDir() error {
	info, err := os.Stat(l.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: is not a folder", l.opts.Dir)
	}
	if err := private(l.opts.Dir, stampOf(info)); err != nil {
		return fmt.Errorf("what is put into it is not run: %w", err)
	}
	return nil
}

// readDir notes the files of the folder.
func (l *looker) readDir(now time.Time) error {
	list, err := os.ReadDir(l.opts.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := map[string]bool{}
	for _, e := range list {
		name := e.Name()
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, "~") {
			continue
		}
		// A link is as good as what it leads to.
		info, err := os.Stat(filepath.Join(l.opts.Dir, name))
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		there[name] = true
		s, f := stampOf(info), l.files[name]
		switch {
		case f == nil:
			l.files[name] = &file{stamp: s, steady: !l.begun && now.Sub(s.modified) > settled}
		default:
			f.steady = f.stamp.same(s)
			f.stamp, f.gone = s, false
		}
	}
	for name, f := range l.files {
		switch {
		case there[name]:
		case f.gone:
			delete(l.files, name)
		default: // perhaps it is just being replaced
			f.gone, f.steady = true, false
		}
	}
	return nil
}

func (s stamp) same(t stamp) bool {
	return s.modified.Equal(t.modified) && s.size == t.size && s.inode == t.inode && s.mode == t.mode && s.owner == t.owner
}

// groups returns the names of files by the plugin that they make.
func (l *looker) groups() map[string]*group {
	groups := map[string]*group{}
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		base, ext := name, ""
		if i := strings.LastIndexByte(name, '.'); i > 0 {
			base, ext = name[:i], name[i:]
		}
		manifest, has := l.files[base+manifestSuffix]
		described := has && !manifest.gone
		switch {
		case ext == ".wasm", ext == ".exe":
		case ext == "" && (executable(l.files[name].mode) || described):
		default:
			continue
		}
		g := groups[base]
		if g == nil {
			g = &group{name: base}
			groups[base] = g
		}
		g.mains = append(g.mains, name)
	}
	for _, g := range groups {
		for _, suffix := range []string{settingsSuffix, manifestSuffix, sumSuffix} {
			if l.files[g.name+suffix] != nil {
				g.beside = append(g.beside, g.name+suffix)
			}
		}
	}
	return groups
}

// update evaluates a plugin whose files have changed and come to rest.
func (l *looker) update(name string, g *group) (changed bool) {
	stamps := map[string]stamp{}
	for _, list := range [][]string{g.mains, g.beside} {
		for _, f := range list {
			if !l.files[f].steady {
				return false
			}
			stamps[f] = l.files[f].stamp
		}
	}
	e := l.entries[name]
	if e != nil && maps.EqualFunc(e.stamps, stamps, stamp.same) {
		return false
	}
	spec, err := l.plugin(g)
	if errors.Is(err, errMoving) {
		return false
	}
	if e == nil {
		e = &entry{}
		l.entries[name] = e
		changed = true
	}
	e.stamps = stamps
	before, problem := e.spec, e.problem
	e.problem = err
	if err == nil {
		// Else what ran before is still what the operator wanted last.
		e.spec = spec
	}
	return changed || !reflect.DeepEqual(before, e.spec) || text(problem) != text(err)
}

// list returns what Options.Changed gets.
func (l *looker) list() (plugins []pluginhost.Spec, problems map[string]error) {
	problems = map[string]error{}
	if l.problem != nil {
		problems[DirProblem] = l.problem
	}
	for _, name := range slices.Sorted(maps.Keys(l.entries)) {
		e := l.entries[name]
		if e.spec != nil {
			plugins = append(plugins, *e.spec)
		}
		if e.problem != nil {
			problems[name] = e.problem
		}
	}
	return plugins, problems
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
