// The test plugin as a program, or as a WebAssembly module.
package main

import (
	"github.com/patchbay-mq/patchbay/sdk"
	"github.com/patchbay-mq/patchbay/sdk/internal/testplugin"
)

func init() { sdk.Register(testplugin.Plugin()) }

func main() { sdk.Main() }
