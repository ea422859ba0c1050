package config

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Command returns `patchbay config` with its sub-commands check, print, schema
// and example. A wrong configuration is returned as [*Error], whose lines the
// caller shows, and whose exit code is 2. check asks checkPlugin about each entry
// of plugins that is not switched off: only who has the plugins can tell what is
// wrong with what they are told.
func Command(checkPlugin func(*Plugin) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, show and explain the configuration",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(checkCommand(checkPlugin), printCommand(),
		textCommand("example", "Write a configuration file with every key, its unit and default", Example),
		textCommand("schema", "Write the JSON Schema of the configuration file, for editors", Schema))
	return cmd
}

func textCommand(use, short string, write func(io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return write(cmd.OutOrStdout()) },
	}
}

func checkCommand(checkPlugin func(*Plugin) error) *cobra.Command {
	var flags Flags
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Load the configuration as serve would, and say what is wrong or unsafe",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, meta, err := flags.load(cmd, args)
			if err != nil {
				return err
			}
			if err := checkPlugins(cfg, meta, checkPlugin); err != nil {
				return err
			}
			for _, w := range meta.Warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
			}
			name := meta.File
			if name == "" {
				name = "defaults (there is no " + defaultFile + ")"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", name)
			return err
		},
	}
	flags.Register(cmd.Flags())
	return cmd
}

func checkPlugins(cfg *Config, meta *Meta, check func(*Plugin) error) error {
	var found []Problem
	for i := range cfg.Plugins {
		p := &cfg.Plugins[i]
		if !p.Enabled {
			continue
		}
		if err := check(p); err != nil {
			key := fmt.Sprintf("plugins[%d]", i)
			source := meta.Source(key + ".config")
			if source == (Source{}) {
				source = meta.Source(key + ".name")
			}
			found = append(found, Problem{source, key, "plugin " + p.Name + ": " + err.Error()})
		}
	}
	if found != nil {
		return &Error{found}
	}
	return nil
}

func printCommand() *cobra.Command {
	var flags Flags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "print [FILE]",
		Short: "Write the configuration in effect, and where each value came from",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, meta, err := flags.load(cmd, args)
			if err != nil {
				return err
			}
			if asJSON {
				return PrintJSON(cmd.OutOrStdout(), cfg, meta)
			}
			return Print(cmd.OutOrStdout(), cfg, meta)
		},
	}
	flags.Register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// load loads what the flags say; a file in args is as --config.
func (f *Flags) load(cmd *cobra.Command, args []string) (*Config, *Meta, error) {
	// From here on a failure is the configuration's: no help text.
	cmd.SilenceUsage = true
	if len(args) == 1 {
		if f.file != "" && f.file != args[0] {
			return nil, nil, problem(Source{Flag: true}, "", "a file is named twice: "+f.file+" and "+args[0])
		}
		f.file = args[0]
	}
	sources, err := f.Sources(os.Environ(), ".")
	if err != nil {
		return nil, nil, err
	}
	return Load(sources)
}
