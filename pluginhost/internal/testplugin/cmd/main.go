// The test plugin as a program, and as WebAssembly.
package main

import (
	"github.com/patchbay-mq/patchbay/pluginhost/internal/testplugin"
	"github.com/patchbay-mq/patchbay/sdk"
)

func init() { sdk.Register(testplugin.Plugin()) }

func main() { sdk.Main() }
