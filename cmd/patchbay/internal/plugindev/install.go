package plugindev

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/parcel"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/trial"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// installing is a `plugin install`.
type installing struct {
	config, into string
	trusted      []string
	yes          bool
	in           io.Reader
	out          io.Writer
}

func installCommand() *cobra.Command {
	i := &installing{}
	cmd := &cobra.Command{
		Use:   "install FILE|URL|OCI-LAYOUT",
		Short: "Put a signed package of a plugin into a broker's plugin folder",
		Long: `Takes a package of "patchbay plugin pack" from a file, an http or https URL, or an OCI image
layout (DIR or DIR:TAG), and checks that it is what somebody has signed whose key is in
plugin_keys of the broker's configuration, or is given by --trusted. It shows which grants
the plugin asks for, which you accept or not, and then writes plugin and settings into the
plugin folder, from where a running broker takes it. Settings that are there stay.`,
		Example: `  patchbay plugin install my-auth.pbp --trusted author.key.pub
  patchbay plugin install https://example.com/my-auth.pbp --yes`,
	}
	flags := cmd.Flags()
	flags.StringVarP(&i.config, "config", "c", "", "configuration `FILE` of the broker (default as for serve)")
	flags.StringVar(&i.into, "into", "", "the plugin folder, `DIR` (default: that of the configuration)")
	flags.StringArrayVar(&i.trusted, "trusted", nil, "take what this `KEY` has signed too: ed25519:BASE64, or a file with that; may be given several times")
	flags.BoolVar(&i.yes, "yes", false, "accept the grants without being asked")
	return command(cmd, cobra.ExactArgs(1), func(ctx context.Context, cmd *cobra.Command, args []string) error {
		i.in, i.out = cmd.InOrStdin(), cmd.OutOrStdout()
		if err := i.run(ctx, args[0]); err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return nil
	})
}

func (i *installing) run(ctx context.Context, from string) error {
	dir, keys, err := i.where()
	if err != nil {
		return err
	}
	raw, err := parcel.Fetch(ctx, from, parcel.MaxPackage)
	if err != nil {
		return err
	}
	p, err := parcel.Open(bytes.NewReader(raw), keys)
	if err != nil {
		return err
	}
	if err := describes(ctx, p); err != nil {
		return err
	}
	s, err := parcel.ReadSettings(dir, p.Name)
	if err != nil {
		return err
	}
	grants, err := i.accept(p, s)
	if err != nil {
		return err
	}
	if grants != nil {
		if err := s.SetGrants(grants.String()); err != nil {
			return err
		}
	}
	file, err := parcel.Place(dir, p, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(i.out, "installed %s\n", file)
	if need := required(p.Manifest.ConfigSchema); need != nil && !s.There {
		fmt.Fprintf(i.out, "It needs a configuration (%s): write it below \"config:\" in %s\n", clean(strings.Join(need, ", ")), s.Path())
	}
	return nil
}

// where returns the plugin folder and the keys that are trusted.
func (i *installing) where() (dir string, keys []parcel.Key, err error) {
	file, err := config.Find(i.config, os.Environ(), ".")
	if err != nil {
		return "", nil, err
	}
	c, _, err := config.Load(config.Sources{File: file, Environ: os.Environ()})
	if err != nil {
		return "", nil, err
	}
	for _, k := range c.PluginKeys {
		keys = append(keys, parcel.Key(k))
	}
	for _, text := range i.trusted {
		if content, err := os.ReadFile(text); err == nil {
			text = strings.TrimSpace(string(content))
		}
		k := parcel.Key(text)
		if _, err := k.Public(); err != nil {
			return "", nil, usageError{fmt.Errorf("--trusted: %w", err)}
		}
		keys = append(keys, k)
	}
	if dir = i.into; dir == "" {
		dir = c.PluginFolder()
	}
	if dir == "" {
		return "", nil, usageError{errors.New("plugin_dir is off in the configuration: say --into")}
	}
	return dir, keys, nil
}

// describes asks the plugin, in a sandbox, whether it is what the package says. A program
// is not run for that: its signer answers for what the package says of it.
func describes(ctx context.Context, p *parcel.Package) error {
	if p.Runtime == "process" {
		return nil
	}
	dir, err := os.MkdirTemp("", "patchbay-install-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, p.File)
	if err := os.WriteFile(file, p.Content, 0o600); err != nil {
		return err
	}
	o := trial.Options{Version: version.String(), CacheDir: trial.CacheDir()}
	code, err := trial.Load(ctx, file, o)
	if err != nil {
		return err
	}
	defer code.Close()
	plugin, err := code.Describe(ctx, o)
	if err != nil {
		return err
	}
	defer plugin.Close()
	return p.Describes(plugin.Manifest)
}

// accept shows what the plugin is and asks for, and has somebody accept it. It returns the
// grants to write, nil if those that are there are to stay.
func (i *installing) accept(p *parcel.Package, s *parcel.Settings) (config.Grants, error) {
	m := p.Manifest
	fmt.Fprintf(i.out, "%s %s, %s, signed by %s\n", p.Name, clean(p.Version), p.Runtime, p.Signer)
	if m.Description != "" {
		fmt.Fprintf(i.out, "  %s\n", clean(m.Description))
	}
	for h := range m.Hooks {
		fmt.Fprintf(i.out, "  hook   %s\n", clean(hookText(&m.Hooks[h])))
	}
	for _, c := range m.Consumers {
		fmt.Fprintf(i.out, "  queue  %s: %s\n", clean(c.Name), clean(strings.Join(c.TopicFilters, ", ")))
	}
	if p.Runtime == "process" {
		fmt.Fprintln(i.out, "  It is a program: it can do whatever the broker's user can, whatever its grants.")
	}
	had, err := given(s, p.Runtime == "process")
	if err != nil {
		return nil, err
	}
	give := had
	for n, g := range trial.Asked(m, nil) {
		mark := " "
		if !slices.ContainsFunc(had, func(h pluginv1.Grant) bool { return h.Name == g.Name }) {
			mark, give = "+", append(give, g)
		}
		g.Reason = m.Grants[n].Reason
		fmt.Fprintf(i.out, "%s grant  %s", mark, grantText(g))
		if g.Reason != "" {
			fmt.Fprintf(i.out, ": %s", clean(g.Reason))
		}
		fmt.Fprintln(i.out)
	}
	switch {
	case s.There && len(give) == len(had):
		return nil, i.confirm("Install it with the settings that are there?")
	case len(give) == 0:
		return config.Grants{}, i.confirm("It asks for no grants. Install it?")
	case s.There:
		return give, i.confirm("Install it, and give it the grants with + too?")
	}
	return give, i.confirm("Install it, and give it these grants?")
}

// given are the grants in settings that are there.
func given(s *parcel.Settings, program bool) (config.Grants, error) {
	if !s.There {
		return nil, nil
	}
	entry, err := config.PluginFile(s.Path(), program, os.Environ())
	if err != nil {
		return nil, err
	}
	return slices.Clip(entry.Grants), nil
}

func (i *installing) confirm(question string) error {
	if i.yes {
		return nil
	}
	if f, ok := i.in.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return usageError{errors.New("nobody is there to accept it: look at what it asks for, and say --yes")}
	}
	fmt.Fprintf(i.out, "%s [y/N] ", question)
	answer, err := bufio.NewReader(i.in).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("not installed")
	}
	return nil
}

// required are the keys that a config must have.
func required(schema string) []string {
	var s struct {
		Required   []string                   `json:"required"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if schema == "" || json.Unmarshal([]byte(schema), &s) != nil {
		return nil
	}
	return slices.DeleteFunc(s.Required, func(name string) bool { return !slices.Contains(slices.Collect(maps.Keys(s.Properties)), name) })
}
