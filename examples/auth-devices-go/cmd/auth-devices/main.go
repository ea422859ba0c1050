// Command auth-devices is package devices as a program of its own, and with
// GOOS=wasip1 as a WebAssembly module.
package main

import (
	devices "github.com/patchbay-mq/patchbay/examples/auth-devices-go"
	"github.com/patchbay-mq/patchbay/sdk"
)

func init() { sdk.Register(devices.Plugin()) }

func main() { sdk.Main() }
