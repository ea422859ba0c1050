// Command authcert is the plugin "auth-cert" as a program of its own, or as a WebAssembly
// module (GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared).
package main

import (
	_ "github.com/patchbay-mq/patchbay/plugins/authcert"
	"github.com/patchbay-mq/patchbay/sdk"
)

func main() { sdk.Main() }
