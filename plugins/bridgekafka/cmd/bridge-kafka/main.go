// Command bridge-kafka is the plugin "bridge-kafka" as a program of its own.
package main

import (
	_ "github.com/patchbay-mq/patchbay/plugins/bridgekafka"
	"github.com/patchbay-mq/patchbay/sdk"
)

func main() { sdk.Main() }
