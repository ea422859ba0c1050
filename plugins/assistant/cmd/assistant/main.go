// Command assistant is the plugin "assistant" as a program of its own.
package main

import (
	_ "github.com/patchbay-mq/patchbay/plugins/assistant"
	"github.com/patchbay-mq/patchbay/sdk"
)

func main() { sdk.Main() }
