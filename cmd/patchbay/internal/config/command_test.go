package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		// What cmd/patchbay does with the command: errors go to standard error,
		// and an *Error ends with its exit code.
		"patchbay": func() {
			root := &cobra.Command{Use: "patchbay", SilenceErrors: true}
			root.AddCommand(Command(anyPlugin))
			err := root.Execute()
			if err == nil {
				return
			}
			fmt.Fprintln(os.Stderr, err)
			if e, ok := errors.AsType[*Error](err); ok {
				os.Exit(e.ExitCode())
			}
			os.Exit(1)
		},
	})
}

func TestCommand(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exitcode": exitCode,
		},
	})
}

// exitCode runs args[1:] and wants the exit code args[0].
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s (%v)", code, args[0], err)
	}
}

// TestCommandErrors: what cannot be loaded is an [*Error], whatever the reason.
func TestCommandErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "a.yaml", "mqtt: {max_qos: 1}")
	tests := []struct {
		args []string
		env  string // PATCHBAY_LOG_LEVL
		want string
	}{
		{[]string{"check", "gone.yaml"}, "", "gone.yaml: no such file or directory"},
		{[]string{"check", "a.yaml", "--config", "b.yaml"}, "", "command line: a file is named twice: b.yaml and a.yaml"},
		{[]string{"check", "--set", "log.level"}, "", `command line: --set "log.level" is not KEY=VALUE`},
		{[]string{"print", "--set", "log.levle=debug"}, "", "command line: log.levle: unknown key; did you mean log.level?"},
		{[]string{"print", "--log-level", "loud"}, "", `command line: log.level: "loud" is not one of debug, info, warn, error`},
		{
			[]string{"check", "--listen", "nowhere"}, "",
			`command line: listeners[0]: "nowhere" is not a listener such as tcp://:1883, ws://:8083/mqtt or unix:///run/patchbay.sock`,
		},
		{
			[]string{"check", "a.yaml"}, "debug",
			"environment PATCHBAY_LOG_LEVL: no key has this name; did you mean PATCHBAY_LOG_LEVEL?",
		},
	}
	for _, tt := range tests {
		t.Setenv("PATCHBAY_LOG_LEVL", tt.env)
		cmd := Command(anyPlugin)
		cmd.SilenceErrors = true
		cmd.SetArgs(tt.args)
		err := cmd.Execute()
		if _, ok := errors.AsType[*Error](err); !ok || err.Error() != tt.want {
			t.Errorf("%v: %T %v\nwant %s", tt.args, err, err, tt.want)
		}
	}
}

func TestCommandTexts(t *testing.T) {
	for name, want := range map[string]string{"schema": `"https://json-schema.org/draft/2020-12/schema"`, "example": "\nlisteners:\n", "--help": "check "} {
		var out strings.Builder
		cmd := Command(anyPlugin)
		cmd.SetArgs([]string{name})
		cmd.SetOut(&out)
		if err := cmd.Execute(); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("config %s: %v, without %q:\n%s", name, err, want, out.String())
		}
	}
}

func anyPlugin(*Plugin) error { return nil }

// TestCommandAsksForPlugins: what only a plugin knows is told by line, too.
func TestCommandAsksForPlugins(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "a.yaml", "plugins:\n  - name: one\n  - name: two\n    config: {x: 1}\n  - {name: off, enabled: false}\n")
	cmd := Command(func(p *Plugin) error { return errors.New("not like this") })
	cmd.SilenceErrors = true
	cmd.SetArgs([]string{"check", "a.yaml"})
	want := "a.yaml:2: plugins[0]: plugin one: not like this\na.yaml:4: plugins[1]: plugin two: not like this"
	if err := cmd.Execute(); err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
