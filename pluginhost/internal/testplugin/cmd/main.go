// The test plugin as a program, and as WebAssembly.
package main

import (
	"github.com/patchbay-mq/patchbay/pluginhost/internal/testplugin"
	"github.com/patchbay-mq/patchbay/sdk"
)

// version is set by -ldflags "-X main.version=…" for tests that need several.
var version string

func init() {
	p := testplugin.Plugin()
	if version != "" {
		p = testplugin.Built(version)
	}
	sdk.Register(p)
}

func main() { sdk.Main() }
