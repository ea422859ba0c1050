package watch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 64 << 20

// File is a file that is watched. It is not safe for concurrent use.
type File struct {
	path string
	read fs.FileInfo // what Read has read last
	next fs.FileInfo // what the last Poll has seen, if that is something else
}

// New makes a File. The path is taken as it is: one that is relative begins where the
// program was started.
func New(path string) *File { return &File{path: path} }

// Path is the path of the file.
func (f *File) Path() string { return f.path }

// Read reads the file now. Errors name it.
func (f *File) Read() ([]byte, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, f.wrap(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, f.wrap(err)
	}
	if err := check(info); err != nil {
		return nil, f.wrap(err)
	}
	content, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, f.wrap(err)
	}
	after, err := file.Stat()
	switch {
	case err != nil:
		return nil, f.wrap(err)
	case !same(info, after):
		return nil, f.wrap(errBusy)
	case len(content) > MaxSize:
		return nil, f.wrap(errSize)
	}
	f.read, f.next = after, nil
	return content, nil
}

var (
	errBusy  = errors.New("it changes while it is read")
	errSize  = fmt.Errorf("it is larger than %d MiB", MaxSize>>20)
	errKind  = errors.New("it is not a regular file")
	errWrite = errors.New("everybody may write to it (chmod o-w)")
)

func check(info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return errKind
	case info.Size() > MaxSize:
		return errSize
	case info.Mode().Perm()&0o002 != 0 && runtime.GOOS != "windows":
		return errWrite
	}
	return nil
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// wrap names the file, once.
func (f *File) wrap(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	if dir, dirErr := os.Getwd(); dirErr == nil && errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(f.path) {
		return fmt.Errorf("%s: %w in %s, where this plugin runs", f.path, err, dir)
	}
	return fmt.Errorf("%s: %w", f.path, err)
}

// Poll returns the content if it has changed since it was read, else nil. After an error
// it tries again at the next call.
func (f *File) Poll() (content []byte, changed bool, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		f.next = nil
		return nil, false, f.wrap(err)
	}
	if f.read != nil && same(info, f.read) {
		f.next = nil
		return nil, false, nil
	}
	if f.next == nil || !same(info, f.next) {
		f.next = info
		return nil, false, nil
	}
	content, err = f.Read()
	if errors.Is(err, errBusy) {
		f.next = nil
		return nil, false, nil
	}
	return content, err == nil, err
}
