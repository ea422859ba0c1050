package process

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/patchbay-mq/patchbay/sdk/instance"
)

// Program is a program that was looked at, of which any number of plugins can be started. Its methods are
// safe for concurrent use.
type Program struct {
	o   Options
	sum string
}

// Info is what is known of a program before it runs.
type Info struct {
	// Path is absolute. Empty for a plugin that is reattached.
	Path string
	// SHA256 of the file at Load, in hex. Empty with Options.Self, and for a plugin that is reattached.
	SHA256 string
}

var _ instance.Open = (*Program)(nil).Open

// Load looks at a program; none of its code runs. One that must not or cannot run is an *Error, with the
// cause NotPinned, WrongSum or NotExecutable; other errors are mistakes in o. It takes as long as it takes to
// read the file.
func Load(o Options) (*Program, error) {
	o, err := o.withDefaults().check()
	if err != nil {
		return nil, err
	}
	p := &Program{o: o}
	if o.Self || o.Reattach != nil {
		return p, nil
	}
	if p.sum, err = sum(o.Path); err != nil {
		return nil, err
	}
	return p, p.permitted(p.sum)
}

// Info is what Load has seen.
func (p *Program) Info() Info { return Info{Path: p.o.Path, SHA256: p.sum} }

// permitted says whether a file with that sum may run.
func (p *Program) permitted(sum string) error {
	want := p.o.SHA256
	switch {
	case want == "" && p.o.Dev:
		return nil
	case want == "":
		return &Error{Cause: NotPinned, Reason: fmt.Sprintf("%s has no sha256 in the config; if it is what you trust, that is %s", p.o.Path, sum)}
	}
	raw, err := hex.DecodeString(want)
	if err != nil || len(raw) != sha256.Size {
		return &Error{Cause: WrongSum, Reason: fmt.Sprintf("sha256 of %s is to be %q, which is not 64 hex digits", p.o.Path, want)}
	}
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(raw)), []byte(sum)) != 1 {
		return &Error{Cause: WrongSum, Reason: fmt.Sprintf("%s has the sha256 %s and not %s: it is another file than the one that was configured",
			p.o.Path, sum, hex.EncodeToString(raw))}
	}
	return nil
}

// sum returns the SHA-256 of a file that can be run.
func sum(path string) (string, error) {
	refuse := func(reason string, err error) error {
		return &Error{Cause: NotExecutable, Reason: path + " cannot be run: " + reason, Err: err}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", refuse(cause(err).Error(), err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", refuse(cause(err).Error(), err)
	case !info.Mode().IsRegular():
		return "", refuse("it is not a file", nil)
	case !executable(info):
		return "", refuse("it is not marked as executable", nil)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", refuse(cause(err).Error(), err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// verify looks at the file again, before each start: it may be another one by now. Who can change it between this and
// the start can run what he likes, so the folder must be the operator's alone.
func (p *Program) verify() error {
	if p.o.Self || p.o.SHA256 == "" {
		return nil
	}
	now, err := sum(p.o.Path)
	if err != nil {
		return err
	}
	return p.permitted(now)
}
