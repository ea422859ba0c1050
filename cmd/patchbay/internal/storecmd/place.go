package storecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/admin"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/serve"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/dump"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/report"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// place is where a store is: in a folder, or behind a broker's socket.
type place struct{ config, dataDir, socket string }

func newPlace(flags *pflag.FlagSet, socket bool) *place {
	p := &place{}
	p.register(flags, socket)
	return p
}

// load returns the configuration that says where the store is. With --data-dir
// that is known; a configuration that somebody else's broker may have is not
// looked at.
func (p *place) load() (*config.Config, error) {
	src := config.Sources{Environ: os.Environ()}
	if p.dataDir != "" {
		src.Flags = map[string]string{"data_dir": p.dataDir}
	}
	if p.dataDir != "" && p.config == "" {
		src.Environ = nil
	} else {
		file, err := config.Find(p.config, src.Environ, ".")
		if err != nil {
			return nil, err
		}
		src.File = file
	}
	c, _, err := config.Load(src)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%w\nthe configuration cannot tell where the store is: correct it, or give --data-dir", err)}
	}
	return c, nil
}

// look is what a command does with a store: with the view of a folder, or by a
// call to the broker that has it open.
type look struct {
	view *disk.View // nil: there is a broker
	dir  string
	// call makes a call to the broker.
	call func(path string) (io.ReadCloser, error)
}

// open finds the store. If that is a broker's, it says so on stderr. A view is
// interrupted when ctx ends.
func (p *place) open(ctx context.Context, stderr io.Writer) (*look, error) {
	if p.socket != "" {
		return &look{call: caller(ctx, p.socket)}, nil
	}
	c, err := p.load()
	if err != nil {
		return nil, err
	}
	view, err := disk.OpenReadOnly(serve.StoreOptions(c, nil))
	socket := c.AdminSocket()
	switch {
	case err == nil:
		context.AfterFunc(ctx, view.Interrupt)
		return &look{view: view, dir: serve.StoreDir(c)}, nil
	case !errors.Is(err, disk.ErrInUse):
		return nil, err
	case socket == "":
		return nil, fmt.Errorf("%w; admin.socket is off in the configuration: give --socket", err)
	}
	call := caller(ctx, socket)
	return &look{call: func(path string) (io.ReadCloser, error) {
		answer, cerr := call(path)
		var coded interface{ ExitCode() int }
		switch {
		case errors.As(cerr, &coded):
			return nil, cerr
		case cerr != nil:
			return nil, fmt.Errorf("%w\n%w", err, cerr)
		}
		fmt.Fprintf(stderr, "patchbay: a broker has %s open: it answers through %s\n", serve.StoreDir(c), socket)
		return answer, nil
	}}, nil
}

func caller(ctx context.Context, socket string) func(path string) (io.ReadCloser, error) {
	return func(path string) (io.ReadCloser, error) { return admin.Open(ctx, socket, path) }
}

func (p *place) stats(ctx context.Context, stderr io.Writer) (*report.Stats, error) {
	at, err := p.open(ctx, stderr)
	if err != nil {
		return nil, err
	}
	if at.view != nil {
		defer at.view.Close()
		return report.StatsOf(at.dir, at.view)
	}
	answer, err := at.call(admin.PathStore)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	st := &report.Stats{}
	if err := json.NewDecoder(answer).Decode(st); err != nil {
		return nil, fmt.Errorf("answer of the broker: %w", err)
	}
	return st, nil
}

// check returns the findings as JSON lines.
func (p *place) check(ctx context.Context, stderr io.Writer) (io.ReadCloser, error) {
	at, err := p.open(ctx, stderr)
	if err != nil {
		return nil, err
	}
	if at.view == nil {
		return at.call(admin.PathStoreCheck)
	}
	r, w := io.Pipe()
	go func() {
		err := report.Check(w, at.view)
		w.CloseWithError(errors.Join(err, at.view.Close()))
	}()
	return r, nil
}

// export writes an export; without an error it is whole.
func (p *place) export(ctx context.Context, w, stderr io.Writer, version string) error {
	at, err := p.open(ctx, stderr)
	if err != nil {
		return err
	}
	var n dump.Counts
	if at.view != nil {
		defer at.view.Close()
		n, err = dump.Export(ctx, w, at.view, version)
	} else {
		var answer io.ReadCloser
		if answer, err = at.call(admin.PathStoreExport); err != nil {
			return err
		}
		defer answer.Close()
		n, err = dump.Copy(w, answer)
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if n.Unreadable > 0 {
		fmt.Fprintf(stderr, "patchbay: %d records could not be read and are not in the export: see patchbay store check\n", n.Unreadable)
	}
	return nil
}
