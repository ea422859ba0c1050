package serve

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/admin"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/config"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
)

func logLevel(c *config.Config) slog.Level {
	var l slog.Level
	// The configuration has been checked: the name is one of slog's.
	_ = l.UnmarshalText([]byte(c.Log.Level))
	return l
}

// format is "text" or "json".
func format(c *config.Config, w io.Writer) string {
	if c.Log.Format != "auto" {
		return c.Log.Format
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "text"
	}
	return "json"
}

func newLogger(people bool, level *slog.LevelVar, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	if people {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// readable writes addresses as people do: the core logs them as they are, which
// costs nothing where a line is below the level, and JSON would show their fields.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a // without making an any of it
	}
	if addr, ok := a.Value.Any().(net.Addr); ok {
		a.Value = slog.StringValue(addr.String())
	}
	return a
}

// entrance is one line of what is said at the start.
type entrance struct{ name, network, address, access string }

// announce says what listens where, and how open it is: in a few lines for people,
// or in as many log records, since a log of JSON has to be nothing else.
func (p *program) announce(w io.Writer, people bool, server *admin.Server, meta *config.Meta) {
	file := meta.File
	if file == "" {
		file = "defaults"
	}
	lines, narrowed := p.entrances(server)
	if people {
		fmt.Fprintf(w, "Patchbay %s (configuration: %s)\n", version.String(), file)
		for _, l := range lines {
			fmt.Fprintf(w, "  %-5s %-24s %s\n", l.network, l.address, l.access)
		}
		fmt.Fprintf(w, "  %-5s %-24s %s\n", "store", p.storePlace(), p.storeMeaning())
		for _, i := range p.plugins.host.List() {
			fmt.Fprintf(w, "  %-6s %-23s %s\n", "plugin", i.Name, strings.Join(strings.Fields(string(i.Runtime)+" "+i.Version+" "+i.State), " "))
		}
		if narrowed {
			fmt.Fprintln(w, "To let others in without authentication: allow_anonymous: true at the listener.")
		}
	} else {
		for _, l := range lines {
			p.log.Info("listening", "name", l.name, "network", l.network, "address", l.address, "access", l.access)
		}
		p.log.Info("started", "version", version.String(), "configuration", file, "store", p.started.Store)
	}
	for _, warning := range meta.Warnings {
		p.log.Warn(warning.String())
	}
}

// storePlace and storeMeaning say where the state is and what that means.
func (p *program) storePlace() string {
	if p.started.Store == "disk" {
		return p.started.DataDir
	}
	return p.started.Store
}

func (p *program) storeMeaning() string {
	if p.started.Store == "disk" {
		return "sessions and retained messages are kept; sync: " + p.started.Sync
	}
	return "sessions and retained messages end with this process"
}

// entrances lists the sockets as people think of them; narrowed reports whether
// one is open to less than was configured.
func (p *program) entrances(server *admin.Server) (lines []entrance, narrowed bool) {
	for _, s := range p.sockets {
		if s.optional {
			continue // the same in IPv6
		}
		narrowed = narrowed || s.narrowed
		lines = append(lines, entrance{s.config.Name, s.config.Network(), s.listener.Addr().String(), s.access()})
	}
	if addr := server.Addr(); addr != nil {
		lines = append(lines, entrance{"admin", "admin", addr.String(), "metrics and health"})
	}
	return lines, narrowed
}
