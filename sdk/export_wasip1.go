//go:build wasip1

package sdk

import (
	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/internal/guest"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// export makes the module's exports lead to p. A module has one plugin.
func export(p Plugin) {
	if len(registered) > 1 {
		panic("sdk.Register: a WebAssembly module has one plugin, not " + registered[0].Name + " and " + p.Name)
	}
	guest.Export(func(host v1host.Service) (instance.Plugin, error) { return open(p, host, inGuest) })
}

// Main does nothing in WebAssembly: the host calls the module's exports.
func Main() {}

// misfit is looked for in the other runtimes.
func misfit(ConfigType, any) error { return nil }
