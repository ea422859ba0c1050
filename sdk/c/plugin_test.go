package c_test

import (
	"path/filepath"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/internal/codectest"
)

// The same plugin in C and in Go answers the same.
func TestPlugin(t *testing.T) {
	needClang(t)
	sources, err := filepath.Glob("src/*.c")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(work, "testplugin.wasm")
	if out, err := compile(file, append(sources, "testdata/testplugin.c")...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	codectest.Plugin(t, file)
}
