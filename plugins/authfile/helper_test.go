package authfile

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// Hashes of the password "hush" that are quick to verify. mosquitto_passwd has made the
// first two; the others are as patchbay passwd writes them, but for what they cost.
const (
	sha512Hash = "$6$vUXoJSbzhvq7pCFy$YGAyUMNGGrXEYgtBYkBfCK3k+fG/BYFM1Ss6YiUbGFw1S0SJx3QHkYj0tqtHFepFh/+H6gp7fc3tg72j04aBxg=="
	pbkdf2Hash = "$7$101$U2DOWcZPkyt57NVt$pVSPFc2WTyxgQUiDLmOH2P20C0sofGyUTp2YKt3y1fvUD8U3v6194ZVsJU/inE0lL1D8Zmwde/2MVP1WibhTcA=="
	argonHash  = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$vQwKl9VhMoO46ddxi42q26EEKD8C6Q+ZfDGzNi2eqhc"
	bcryptHash = "$2a$04$uXQrj0C6w6.lJte7U.BjmutRgIInc6av/VRaUWZpUpInka4nSNjv2"
)

// buildDir is where runners are built, removed by TestMain.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "authfile-test"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// runners are the plugin in all runtimes, built once.
var runners = sync.OnceValues(func() ([]plugintest.Runner, error) {
	program, module := filepath.Join(buildDir, "authfile.exe"), filepath.Join(buildDir, "authfile.wasm")
	out := []plugintest.Runner{plugintest.Builtin(Plugin())}
	build := func(file string, env ...string) error {
		args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", file}
		if len(env) > 0 {
			args = append(args, "-buildmode=c-shared")
		}
		cmd := exec.Command("go", append(args, "./cmd/authfile")...)
		cmd.Env = append(os.Environ(), env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		return nil
	}
	if err := build(program); err != nil {
		return nil, err
	}
	out = append(out, plugintest.Process(program))
	if withWasm {
		if err := build(module, "GOOS=wasip1", "GOARCH=wasm"); err != nil {
			return nil, err
		}
		out = append(out, plugintest.Wasm(module))
	}
	return out, nil
})

func allRunners(t testing.TB) []plugintest.Runner {
	t.Helper()
	out, err := runners()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.txt")
	write(t, path, text)
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
