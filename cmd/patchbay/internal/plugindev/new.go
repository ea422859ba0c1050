package plugindev

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/project"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
)

func newCommand() *cobra.Command {
	p := project.Project{Version: version.String()}
	cmd := &cobra.Command{
		Use:   "new --lang LANGUAGE --kind KIND NAME",
		Short: "Write a new plugin that builds and passes its tests at once",
		Long: `Writes a project into the folder NAME: source, README, and samples of what a broker asks
with the answers to it. Build it with "patchbay plugin build", try it with "patchbay plugin
test", "run" and "bench". What it needs of the SDK is written into the project too.`,
		Example: `  patchbay plugin new --lang rust --kind auth my-auth
  patchbay plugin new --lang go --kind filter --sdk-path ~/patchbay my-filter`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVar(&p.Language, "lang", "", "`LANGUAGE`: "+strings.Join(project.Languages(), ", "))
	flags.StringVar(&p.Kind, "kind", "", "`KIND` of plugin: "+strings.Join(project.Kinds, ", "))
	flags.StringVar(&p.Dir, "dir", "", "make it in `DIR` (default: NAME)")
	flags.StringVar(&p.SDKPath, "sdk-path", "", "a checkout of Patchbay, `DIR`, for Go projects (default: the released module)")
	return command(cmd, cobra.ExactArgs(1), func(_ context.Context, cmd *cobra.Command, args []string) error {
		p.Name = filepath.Base(args[0])
		if p.Dir == "" {
			p.Dir = args[0]
		}
		switch {
		case p.Language == "":
			return usageError{fmt.Errorf("--lang is missing: one of %s", strings.Join(project.Languages(), ", "))}
		case p.Kind == "":
			return usageError{fmt.Errorf("--kind is missing: one of %s", strings.Join(project.Kinds, ", "))}
		case p.SDKPath != "" && p.Language != "go":
			return usageError{errors.New("--sdk-path is for Go projects; others get a copy of the SDK")}
		}
		if err := project.Create(p); err != nil {
			return usageError{err}
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: a new %s plugin. Next:\n  cd %s\n  patchbay plugin build\n  patchbay plugin test\n  patchbay plugin run\n", p.Dir, p.Kind, p.Dir)
		return err
	})
}

func buildCommand() *cobra.Command {
	var b project.Building
	cmd := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Build the WebAssembly module of a plugin",
		Long: `Builds the plugin in DIR (the working directory), whose language it knows by its files, and
writes NAME.wasm there, NAME being that of the folder. If a toolchain is missing it says
what to install.`,
	}
	cmd.Flags().StringVarP(&b.Out, "output", "o", "", "write the module to `FILE`")
	cmd.Flags().BoolVar(&b.Debug, "debug", false, "keep line numbers: a trap in `plugin test` says where it was, and the module is larger")
	return command(cmd, cobra.MaximumNArgs(1), func(ctx context.Context, cmd *cobra.Command, args []string) error {
		b.Dir, b.Said = ".", cmd.ErrOrStderr()
		if len(args) > 0 {
			b.Dir = args[0]
		}
		module, err := project.Build(ctx, b)
		if err != nil {
			return err
		}
		size, err := sizeOf(module)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, %s\n", module, size)
		return err
	})
}
