package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// minStart is the space without which Pebble could not even write the files
	// that it begins with (manifest, options, log).
	minStart = 1 << 20

	// foreignNames is how many of a foreign folder's files the error names.
	foreignNames = 4
)

// ours may lie in a folder that has no marker yet, because a start was cut
// short, or because the folder is a file system's root.
var ours = []string{markerTemp, lockName, ballastName, probeName, "lost+found", ".DS_Store"}

// prepare makes sure that the folder is one, is ours, and can be written, and
// locks it. The folder is looked at before the lock file is created in it, so
// that somebody else's stays as it was, and again when it is locked.
func (v *Volume) prepare() error {
	if err := v.exist(); err != nil {
		return err
	}
	_, found, err := v.readMarker()
	if err != nil {
		return err
	}
	if !found {
		if err := v.empty(); err != nil {
			return err
		}
	}
	if v.lock, err = v.acquire(); err != nil {
		return err
	}
	if v.marker, found, err = v.readMarker(); err != nil || v.o.ReadOnly {
		return err
	}
	if err := v.findRoom(); err != nil {
		return err
	}
	if found {
		return nil
	}
	v.marker = marker{Note: markerNote, Format: format, Created: time.Now().UTC().Truncate(time.Second)}
	if err := v.writeMarker(v.inner, v.marker); err != nil {
		return v.refuse("create "+markerName, err)
	}
	v.created = true
	return nil
}

// exist makes sure that there is a folder, and creates it with its parents.
func (v *Volume) exist() error {
	info, err := v.inner.Stat(v.dir)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		return &Error{Dir: v.dir, Kind: ErrNotFolder, Text: "is a file: choose a folder"}
	}
	missing, file := v.missing()
	switch {
	case file != "":
		return &Error{
			Dir: v.dir, Kind: ErrNotFolder, Cause: err,
			Text: "cannot be, because " + file + " is a file: choose another folder",
		}
	case !isNotExist(err):
		return v.refuse("look at it", err)
	case v.o.ReadOnly:
		return &Error{Dir: v.dir, Kind: ErrNotFound, Cause: err, Text: "does not exist: there is no store to read"}
	}
	if err := v.inner.MkdirAll(v.dir, 0o700); err != nil {
		return v.refuse("create it", err)
	}
	for _, dir := range missing {
		err := syncDir(v.inner, v.inner.PathDir(dir))
		// A parent that may be written but not read cannot be synced.
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return v.refuse("create it", err)
		}
	}
	return nil
}

// missing lists the folder and those of its parents that do not exist; or the
// parent that is a file.
func (v *Volume) missing() (dirs []string, file string) {
	for dir := v.dir; ; {
		dirs = append(dirs, dir)
		parent := v.inner.PathDir(dir)
		info, err := v.inner.Stat(parent)
		switch {
		case err == nil && !info.IsDir():
			return nil, parent
		case err == nil || parent == dir:
			return dirs, ""
		}
		dir = parent
	}
}

// empty makes sure that a folder without a marker holds nobody's files.
func (v *Volume) empty() error {
	names, err := v.inner.List(v.dir)
	if err != nil {
		return v.refuse("list it", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(ours, name) })
	if len(names) > 0 {
		return &Error{
			Dir: v.dir, Kind: ErrForeign,
			Text: fmt.Sprintf("is not empty and is no Patchbay data folder (found %s): choose another or empty it", v.some(names)),
		}
	}
	if v.o.ReadOnly {
		return &Error{Dir: v.dir, Kind: ErrNotFound, Text: "is empty: there is no store to read"}
	}
	return nil
}

// some names the first few files of a folder, with a slash after folders.
func (v *Volume) some(names []string) string {
	slices.Sort(names)
	var out []string
	for _, name := range names[:min(len(names), foreignNames)] {
		if info, err := v.inner.Stat(v.path(name)); err == nil && info.IsDir() {
			name += "/"
		}
		out = append(out, name)
	}
	if more := len(names) - foreignNames; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}

// findRoom makes sure that the folder can be written and that there is space to
// start with, at worst that of the ballast. It also adopts the ballast of the
// last time.
func (v *Volume) findRoom() error {
	s := &v.space
	s.tell = make(chan struct{}, 1)
	s.tripped = make(chan struct{}, 1)
	usage, err := v.inner.GetDiskUsage(v.dir)
	known := err == nil
	s.ballast = ballastSize(v.o.Reserve, usage.TotalBytes)
	if info, err := v.inner.Stat(v.path(ballastName)); err == nil {
		left := info.Size()
		short := known && int64(usage.AvailBytes) < minStart
		if short || left != s.ballast {
			if err := v.inner.Remove(v.path(ballastName)); err != nil {
				return v.refuse("remove "+ballastName, err)
			}
			usage.AvailBytes += uint64(left)
		} else {
			s.have = true
		}
	}
	if err := v.inner.Remove(v.path(probeName)); err != nil && !isNotExist(err) {
		return v.refuse("remove "+probeName, err)
	}
	if known && usage.AvailBytes < minStart {
		return &Error{
			Dir: v.dir, Kind: ErrNoSpace,
			Text: fmt.Sprintf("has too little space to start: %s free, at least %s needed: free some and start again",
				bytesText(int64(usage.AvailBytes)), bytesText(minStart)),
		}
	}
	err = writeFile(v.inner, v.path(markerTemp), make([]byte, 4096))
	if err == nil {
		err = v.inner.Remove(v.path(markerTemp))
	}
	if err != nil {
		return v.refuse("write to it", err)
	}
	return nil
}

func (v *Volume) path(name string) string { return v.inner.PathJoin(v.dir, name) }

// folderPrefix is what the names of all files in dir begin with.
func folderPrefix(files vfs.FS, dir string) string {
	return strings.TrimSuffix(files.PathJoin(dir, "x"), "x")
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
