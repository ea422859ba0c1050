package plugindev

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/parcel"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/project"
	"github.com/patchbay-mq/patchbay/pluginhost"
)

func keygenCommand() *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "keygen -o FILE",
		Short: "Make a key to sign packages with",
		Long: `Makes an ed25519 key: FILE gets the private one, for its owner alone, and FILE.pub the public
one, which those who install your packages add to plugin_keys of their configuration.`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the private key to `FILE`, which must not be there")
	return command(cmd, cobra.NoArgs, func(_ context.Context, cmd *cobra.Command, _ []string) error {
		if output == "" {
			return usageError{errors.New("--output is missing: the file for the private key")}
		}
		k, err := parcel.GenerateKey(output)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", k)
		return err
	})
}

func packCommand() *cobra.Command {
	output, keyFile := "", ""
	cmd := &cobra.Command{
		Use:   "pack [FILE|DIR] --key KEY",
		Short: "Make a signed package of a plugin, for plugin install",
		Long: `Makes a package (NAME.pbp) of a module or program, with its manifest, its SHA-256 and your
signature. Without --key it is unsigned, and nobody can install it.`,
		Example: `  patchbay plugin keygen -o author.key
  patchbay plugin pack my-auth.wasm --key author.key`,
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the package to `FILE` (default: NAME.pbp)")
	cmd.Flags().StringVar(&keyFile, "key", "", "sign it with the private key in `FILE`")
	return command(cmd, cobra.MaximumNArgs(1), func(ctx context.Context, cmd *cobra.Command, args []string) error {
		t, err := targetOf(args)
		if err != nil {
			return err
		}
		var key ed25519.PrivateKey
		if keyFile != "" {
			if key, err = parcel.ReadKey(keyFile); err != nil {
				return usageError{err}
			}
		}
		about, content, err := aboutOf(ctx, t.file)
		if err != nil {
			return err
		}
		if output == "" {
			output = about.Name + ".pbp"
		}
		var b bytes.Buffer
		if err := parcel.Pack(&b, about, content, key); err != nil {
			return err
		}
		if err := os.WriteFile(output, b.Bytes(), 0o644); err != nil {
			return err
		}
		by := ", NOT SIGNED"
		if key != nil {
			by = ", signed by " + string(parcel.KeyOf(key.Public().(ed25519.PublicKey)))
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s, %s%s\n", output, about.Name, clean(about.Version), size(int64(b.Len())), by)
		return err
	})
}

// aboutOf looks at a plugin, which has to be one.
func aboutOf(ctx context.Context, file string) (about parcel.About, content []byte, err error) {
	i, err := inspect(ctx, file)
	if err != nil {
		return about, nil, err
	}
	if i.Problem != "" {
		return about, nil, fmt.Errorf("%s: a broker would not run this: %s", file, i.Problem)
	}
	if i.Size > parcel.MaxFile {
		return about, nil, fmt.Errorf("%s: it is larger than %d bytes", file, parcel.MaxFile)
	}
	if content, err = os.ReadFile(file); err != nil {
		return about, nil, err
	}
	name := filepath.Base(file)
	about = parcel.About{
		Name: parcel.Base(name), Version: i.manifest.Version, Runtime: string(i.Runtime), File: name, Manifest: i.Manifest,
	}
	if i.Runtime == pluginhost.Process {
		about.Platform = parcel.Platform()
	} else if !strings.HasSuffix(name, ".wasm") {
		about.File += ".wasm"
	}
	if !project.ValidName(about.Name) {
		return about, nil, fmt.Errorf("%s: the name of the file becomes that of the plugin, and has to be 1 to 64 of a-z, 0-9 and \"-\", beginning with a letter", file)
	}
	return about, content, nil
}
