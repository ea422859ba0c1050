package mosquittoconf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
)

// usageError is a mistake in what the command was told: exit status 2.
type usageError struct{ error }

func (usageError) ExitCode() int   { return 2 }
func (e usageError) Unwrap() error { return e.error }

// Command returns `patchbay config import`. checkPlugin says what a compiled-in plugin
// would refuse of its entry.
func Command(checkPlugin func(*config.Plugin) error) *cobra.Command {
	var output string
	var force bool
	cmd := &cobra.Command{
		Use:   "import MOSQUITTO.CONF [--output DIR]",
		Short: "Make a configuration of a mosquitto.conf, and say by line what is not carried over",
		Long: `Read a mosquitto.conf of Mosquitto 2.0, with what it includes, and write patchbay.yaml with the
files that it names into DIR: users.txt and acl.txt as they are, passwords of bridges. Certificates and keys stay where they are.
The report of what is not carried over, by line, goes to standard output and into DIR/import.txt.

Without --output the configuration goes to standard output and the report to standard error,
and nothing is written. docs/from-mosquitto.md has the whole way.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceUsage = true
			i := importer{cmd.OutOrStdout(), cmd.ErrOrStderr(), checkPlugin}
			return i.run(args[0], output, force)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "folder to write into; made if it is not there")
	cmd.Flags().BoolVar(&force, "force", false, "replace files that are in the folder")
	return cmd
}

type importer struct {
	out, err    io.Writer
	checkPlugin func(*config.Plugin) error
}

func (i importer) run(source, output string, force bool) error {
	all, err := readEntries(source)
	if err != nil {
		return usageError{err}
	}
	host, _ := os.Hostname() // empty is one that is not known
	if output == "" {
		c := convert(all, "", host)
		if err := c.write(i.err, c.order()); err != nil {
			return err
		}
		_, err := io.WriteString(i.out, c.yaml(source))
		return err
	}
	dir, err := filepath.Abs(output)
	if err != nil {
		return err
	}
	c := convert(all, dir, host)
	var text strings.Builder
	if err := c.write(&text, c.order()); err != nil {
		return err
	}
	main := filepath.Join(dir, "patchbay.yaml")
	c.files = append(c.files, file{"patchbay.yaml", []byte(c.yaml(source))}, file{"import.txt", []byte(text.String())})
	if err := writeFiles(dir, c.files, force); err != nil {
		return err
	}
	if _, err := io.WriteString(i.out, text.String()); err != nil {
		return err
	}
	if err := i.check(main); err != nil {
		return fmt.Errorf("%s is written, and needs to be mended:\n%w", main, err)
	}
	_, err = fmt.Fprintf(i.out, "\n%s: ok; lines not carried over: %d\n", main, c.count(lost))
	return err
}

// check loads what was written as `config check` does.
func (i importer) check(file string) error {
	cfg, _, err := config.Load(config.Sources{File: file})
	if err != nil {
		return err
	}
	for n := range cfg.Plugins {
		if err := i.checkPlugin(&cfg.Plugins[n]); err != nil {
			return fmt.Errorf("plugins[%d]: %w", n, err)
		}
	}
	return nil
}

// writeFiles writes all files or, if one is there and shall not be replaced, none. Nobody
// else may read them.
func writeFiles(dir string, files []file, force bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		_, err := os.Lstat(filepath.Join(dir, f.name))
		if err == nil && !force {
			return usageError{fmt.Errorf("%s is there already; --force replaces it", filepath.Join(dir, f.name))}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		// A file that was there may be one that others can read, or a link.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, f.text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
