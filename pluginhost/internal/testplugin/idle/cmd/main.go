// The idle plugin as a program, and as WebAssembly.
package main

import (
	"github.com/patchbay-mq/patchbay/pluginhost/internal/testplugin/idle"
	"github.com/patchbay-mq/patchbay/sdk"
)

func init() { sdk.Register(idle.Plugin()) }

func main() { sdk.Main() }
