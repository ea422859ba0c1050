// Command guard is the plugin "guard" as a program of its own, or as a WebAssembly
// module (GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared).
package main

import (
	_ "github.com/patchbay-mq/patchbay/plugins/guard"
	"github.com/patchbay-mq/patchbay/sdk"
)

func main() { sdk.Main() }
