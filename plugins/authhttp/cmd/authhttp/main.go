// Command authhttp is the plugin "auth-http" as a program of its own.
package main

import (
	_ "github.com/patchbay-mq/patchbay/plugins/authhttp"
	"github.com/patchbay-mq/patchbay/sdk"
)

func main() { sdk.Main() }
