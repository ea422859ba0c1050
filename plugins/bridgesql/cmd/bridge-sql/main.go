// Command bridge-sql is the plugin "bridge-sql" as a program of its own.
package main

import (
	_ "github.com/patchbay-mq/patchbay/plugins/bridgesql"
	"github.com/patchbay-mq/patchbay/sdk"
)

func main() { sdk.Main() }
