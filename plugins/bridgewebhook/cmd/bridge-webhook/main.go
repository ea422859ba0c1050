// Command bridge-webhook is the plugin "bridge-webhook" as a program of its own.
package main

import (
	_ "github.com/patchbay-mq/patchbay/plugins/bridgewebhook"
	"github.com/patchbay-mq/patchbay/sdk"
)

func main() { sdk.Main() }
