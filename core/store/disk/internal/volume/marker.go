package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	markerName = "PATCHBAY"
	markerTemp = "PATCHBAY.tmp"

	// format is the layout of the folder itself: which files lie in it and what
	// they are for. What the store keeps in them has its own number, the schema.
	format = 1

	markerNote = "Patchbay keeps its data in this folder. Do not edit, move or delete single files."

	// markerLimit is far above what was ever written, and keeps a wrong file from
	// being read into memory.
	markerLimit = 64 << 10
)

// marker is the content of the file PATCHBAY.
type marker struct {
	Note    string    `json:"note"`
	Format  int       `json:"format"`
	Schema  int       `json:"schema"`
	Created time.Time `json:"created"`
}

// parseMarker reads a marker. Fields that it does not know are left for versions
// that do; a higher format comes back as it is.
func parseMarker(b []byte) (marker, error) {
	var m marker
	if err := json.Unmarshal(b, &m); err != nil {
		return marker{}, err
	}
	if m.Format < 1 {
		return marker{}, fmt.Errorf("format %d", m.Format)
	}
	if m.Schema < 0 {
		return marker{}, fmt.Errorf("schema %d", m.Schema)
	}
	return m, nil
}

func (m marker) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// readMarker reads the folder's marker; found is false if there is none.
func (v *Volume) readMarker() (m marker, found bool, err error) {
	f, err := v.inner.Open(v.path(markerName))
	if isNotExist(err) {
		return marker{}, false, nil
	}
	if err != nil {
		return marker{}, false, v.refuse("read "+markerName, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, markerLimit))
	if err != nil {
		return marker{}, false, v.refuse("read "+markerName, err)
	}
	m, err = parseMarker(b)
	if err != nil {
		return marker{}, false, &Error{
			Dir: v.dir, Kind: ErrDamaged, Cause: err,
			Text: fmt.Sprintf(`has a damaged marker file, %s (%v): bring it back from a backup, `+
				`or, if the other files are whole, replace its content by {"format":%d}`, markerName, err, format),
		}
	}
	if m.Format > format {
		return marker{}, false, &Error{
			Dir: v.dir, Kind: ErrNewer,
			Text: fmt.Sprintf("was written by a newer Patchbay (format %d; this one knows up to %d): "+
				"use that version, or choose another folder", m.Format, format),
		}
	}
	return m, true, nil
}

// writeMarker replaces the marker so that a crash leaves the old or the new one.
func (v *Volume) writeMarker(files vfs.FS, m marker) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	temp := v.path(markerTemp)
	if err := writeFile(files, temp, b); err != nil {
		return err
	}
	if err := files.Rename(temp, v.path(markerName)); err != nil {
		return err
	}
	return syncDir(files, v.dir)
}

// Schema is the number that SetSchema stored last; 0 in a folder that is new, or
// whose marker was mended by hand.
func (v *Volume) Schema() int {
	v.markerMu.Lock()
	defer v.markerMu.Unlock()
	return v.marker.Schema
}

// SetSchema stores the number of the store's schema in the marker, where people
// and other versions can see it without opening the store. It is synced before
// SetSchema returns.
func (v *Volume) SetSchema(n int) error {
	if n < 0 {
		return errors.New("a schema's number is not negative")
	}
	v.markerMu.Lock()
	defer v.markerMu.Unlock()
	m := v.marker
	m.Schema = n
	if err := v.writeMarker(v.FS(), m); err != nil {
		return fmt.Errorf("store the schema's number: %w", err)
	}
	v.marker = m
	return nil
}

// writeFile creates a file with a content, synced.
func writeFile(files vfs.FS, name string, b []byte) error {
	f, err := files.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes what was created and renamed in a folder outlive a power loss.
func syncDir(files vfs.FS, dir string) error {
	d, err := files.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
