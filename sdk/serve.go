//go:build !wasip1

package sdk

import (
	"context"
	"fmt"
	"os"

	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/internal/process"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// Main is the main function of a plugin that is a program. Started by a broker it serves
// the registered plugin, and does not return. Started by a person it says what to do;
// with the argument "manifest" it prints the manifest file that belongs beside it in a
// plugin folder. In WebAssembly it is never called.
func Main() {
	p, err := only()
	if err == nil && len(os.Args) == 2 && os.Args[1] == "manifest" {
		err = printManifest(p)
		if err == nil {
			return
		}
	}
	if err == nil && os.Getenv(instance.CookieKey) != instance.CookieValue {
		err = fmt.Errorf("this is plugin %s %s of Patchbay: name the file in the broker's config, or print its manifest with %q",
			p.Name, p.Version, os.Args[0]+" manifest")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	Serve(p)
}

func printManifest(p Plugin) error {
	m, err := p.Manifest()
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(v1json.AppendJSON(nil, m)))
	return err
}

// Serve serves one plugin as a process, for programs that have several, like a broker
// that runs a builtin plugin in a child process. It does not return before the host ends
// it.
func Serve(p Plugin) {
	process.Serve(func(_ context.Context, host v1host.Service) (instance.Plugin, error) {
		return open(p, host, inProcess)
	})
}
