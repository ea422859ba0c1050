// Command bridge-mqtt is the plugin "bridge-mqtt" as a program of its own.
package main

import (
	_ "github.com/patchbay-mq/patchbay/plugins/bridgemqtt"
	"github.com/patchbay-mq/patchbay/sdk"
)

func main() { sdk.Main() }
