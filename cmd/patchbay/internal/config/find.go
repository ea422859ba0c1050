package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

const (
	fileVariable = "PATCHBAY_CONFIG"
	defaultFile  = "patchbay.yaml"
)

// Find chooses the configuration file: flag if it is not empty, else what
// PATCHBAY_CONFIG in environ names, else patchbay.yaml in the folder dir if
// there is one, else none (""). Whether a file that was named exists is for
// [Load] to say.
func Find(flag string, environ []string, dir string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if name := environment(environ)[fileVariable]; name != "" {
		return name, nil
	}
	path := filepath.Join(dir, defaultFile)
	switch _, err := os.Stat(path); {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	default:
		return "", problem(Source{File: path}, "", reason(err))
	}
}

// Flags are the flags of the commands that load a configuration.
type Flags struct {
	file     string
	listen   []string
	logLevel string
	set      []string
}

// Register adds --config, --listen, --log-level and --set.
func (f *Flags) Register(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "config", "c", "", "configuration `FILE` (default "+defaultFile+" if there is one; or "+fileVariable+")")
	fs.StringArrayVar(&f.listen, "listen", nil, "listen at `URL`, such as tcp://:1883 or ws://:8083/mqtt, in place of the configured listeners; may be given several times")
	fs.StringVar(&f.logLevel, "log-level", "", "`LEVEL` of the log: debug, info, warn or error")
	fs.StringArrayVar(&f.set, "set", nil, "set a configuration key, as in --set mqtt.max_qos=1; may be given several times (`KEY=VALUE`)")
}

// Sources returns what to load from: the file that [Find] chooses in dir,
// environ, and the flags. The error is an [*Error].
func (f *Flags) Sources(environ []string, dir string) (Sources, error) {
	file, err := Find(f.file, environ, dir)
	if err != nil {
		return Sources{}, err
	}
	flags := map[string]string{}
	for _, s := range f.set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return Sources{}, problem(Source{Flag: true}, "", "--set "+quote(s)+" is not KEY=VALUE")
		}
		flags[key] = value
	}
	if len(f.listen) > 0 {
		flags["listeners"] = strings.Join(f.listen, ",")
	}
	if f.logLevel != "" {
		flags["log.level"] = f.logLevel
	}
	return Sources{File: file, Environ: environ, Flags: flags}, nil
}
