//go:build !wasip1

package sdk

import (
	"errors"
	"reflect"
)

// export has something to do in WebAssembly only.
func export(Plugin) {}

// misfit finds a Start or Configure that nobody would call, since its config is of another
// type than Plugin.Config. It is not there in WebAssembly, where looking methods up by
// name makes the linker keep every method of every type, 1 MB of them; the same source
// is tested elsewhere.
func misfit(c ConfigType, plugin any) error {
	t := reflect.TypeOf(plugin)
	start, configure := c.has(plugin)
	if _, ok := t.MethodByName("Start"); ok && !start {
		return errors.New(t.String() + ".Start is not that of a Starter with the type of Plugin.Config")
	}
	if _, ok := t.MethodByName("Configure"); ok && !configure {
		return errors.New(t.String() + ".Configure is not that of a Configurer with the type of Plugin.Config")
	}
	return nil
}
