package sdk_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestGuestIsLean: in WebAssembly the SDK brings none of what makes modules large, and what
// TinyGo has not, or only in parts. A plugin that wants it imports it itself.
func TestGuestIsLean(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Fields(string(out))
	if !slices.Contains(list, "github.com/patchbay-mq/patchbay/sdk/internal/guest") {
		t.Fatalf("that is not what a guest is made of: %q", list)
	}
	for _, p := range list {
		own := strings.HasPrefix(p, "github.com/patchbay-mq/patchbay/sdk")
		if strings.Contains(strings.Split(p, "/")[0], ".") && !own {
			t.Errorf("%s is neither the SDK's nor Go's", p)
		}
		if slices.Contains([]string{"fmt", "os", "net", "net/http", "log", "log/slog", "encoding/json", "encoding/gob", "text/template", "regexp", "os/exec", "plugin"}, p) {
			t.Errorf("a guest has %s", p)
		}
	}
}
