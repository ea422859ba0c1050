package rust_test

import (
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/internal/codectest"
)

// The same plugin in Rust and in Go answers the same.
func TestPlugin(t *testing.T) {
	needFast(t)
	file, err := build("testdata/testplugin.rs", "-C", "opt-level=1")
	need(t, err)
	codectest.Plugin(t, file)
}
