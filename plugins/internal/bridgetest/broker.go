package bridgetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BrokerOptions say what a Broker is.
type BrokerOptions struct {
	// Name is for messages; "broker" if empty.
	Name string
	// Plugins is the list of the config's key plugins, in YAML, indented by two blanks as in
	// "  - name: b\n    plugin: bridge-sql\n…". An entry should have `runtime: process`, so
	// that its process can be killed. If that happens while the broker starts, the broker ends
	// and is started again; with `optional: true` it would go on without the plugin, and
	// without ack: after_remote, so that Chaos spares plugins then.
	Plugins string
	// Extra are other keys of the config, in YAML.
	Extra string
}

// Broker is the program patchbay, which can be killed and started again on its data.
type Broker struct {
	*Process
	// Addr is where it listens, as host:port, without TLS. Everybody is let in.
	Addr string
	// Dir is its folder, with patchbay.yaml and data.
	Dir string

	program, config string
	optional        bool // some plugin
}

// StartBroker builds and starts a broker.
func StartBroker(t testing.TB, o BrokerOptions) *Broker {
	t.Helper()
	if o.Name == "" {
		o.Name = "broker"
	}
	b := &Broker{
		Addr: FreeAddr(t), Dir: t.TempDir(), program: Build(t, "github.com/patchbay-mq/patchbay/cmd/patchbay"),
		optional: strings.Contains(o.Plugins, "optional: true"),
	}
	b.config = filepath.Join(b.Dir, "patchbay.yaml")
	text := fmt.Sprintf("listeners: [{tcp: %q}]\nadmin: {listen: off}\ndata_dir: %q\n%s\n", b.Addr, filepath.Join(b.Dir, "data"), o.Extra)
	if o.Plugins != "" {
		text += "plugins:\n" + o.Plugins
	}
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Process = StartProcess(t, ProcessOptions{Name: o.Name, Ready: Listens(b.Addr), Again: true, Command: func() *exec.Cmd {
		return b.command("serve", "--config", b.config)
	}})
	return b
}

func (b *Broker) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.program, args...)
	cmd.Dir = b.Dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PATCHBAY_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

// Command runs a command of the program for this broker, as "bridge", "status", "--json", and
// returns what it has written.
func (b *Broker) Command(args ...string) (string, error) {
	cmd := b.command(append(args, "--config", b.config)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("patchbay %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}
