// Command transform is package transform as a program of its own, and with
// GOOS=wasip1 as a WebAssembly module.
package main

import (
	transform "github.com/patchbay-mq/patchbay/examples/transform-go"
	"github.com/patchbay-mq/patchbay/sdk"
)

func init() { sdk.Register(transform.Plugin()) }

func main() { sdk.Main() }
