package plugindev

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/plugindev/trial"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/version"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/pluginhost/wasm/meter"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// inspected is what is known of a plugin's file.
type inspected struct {
	File    string             `json:"file"`
	Size    int64              `json:"size"`
	SHA256  string             `json:"sha256"`
	Runtime pluginhost.Runtime `json:"runtime"`
	// Problem is why a broker would not run it.
	Problem  string          `json:"problem,omitempty"`
	Module   *module         `json:"module,omitempty"`
	Manifest json.RawMessage `json:"manifest,omitempty"`

	manifest *pluginv1.Manifest
}

// module is what a WebAssembly file says of itself.
type module struct {
	// ABI is "1", "1 (JSON)", or empty if it has none.
	ABI         string   `json:"abi"`
	Imports     []string `json:"imports"`
	Exports     []string `json:"exports"`
	MemoryPages uint32   `json:"memory_pages"` // of 64 KiB, at the start
	MemoryMax   uint32   `json:"memory_max_pages,omitempty"`
	Functions   int      `json:"functions"`
	CodeBytes   int64    `json:"code_bytes"`
	DataBytes   int64    `json:"data_bytes"`
	// Names says that a trap can name functions, Lines that `plugin test` can name lines.
	Names     bool     `json:"names"`
	Lines     bool     `json:"lines"`
	Producers []string `json:"producers,omitempty"`
}

func inspectCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "inspect [FILE|DIR]",
		Short: "Show what a plugin's file is, wants and needs",
		Long: `Shows what is in a WebAssembly module or program: its manifest with hooks and grants, which it
is asked for in a sandbox (a program is started for that), and of a module its imports,
exports, ABI, memory, and whether it names functions. If a broker would refuse it, it says
why, and the exit status is 1.`,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object")
	return command(cmd, cobra.MaximumNArgs(1), func(ctx context.Context, cmd *cobra.Command, args []string) error {
		t, err := targetOf(args)
		if err != nil {
			return err
		}
		i, err := inspect(ctx, t.file)
		if err != nil {
			return err
		}
		if asJSON {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			e.SetEscapeHTML(false)
			err = e.Encode(i)
		} else {
			err = i.print(cmd.OutOrStdout())
		}
		if err == nil && i.Problem != "" {
			err = errors.New(i.File + ": a broker would not run this: " + i.Problem)
		}
		return err
	})
}

// maxFile is the largest file that is looked at, as brokers have it for modules.
const maxFile = 64 << 20

func inspect(ctx context.Context, file string) (*inspected, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	var content strings.Builder
	n, err := io.Copy(io.MultiWriter(h, &limited{&content, maxFile}), f)
	if err != nil {
		return nil, err
	}
	i := &inspected{File: file, Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), Runtime: pluginhost.Process}
	if info, err := meter.Inspect([]byte(content.String())); err == nil {
		i.Module = moduleOf(&info)
	}
	o := trial.Options{Version: version.String(), CacheDir: trial.CacheDir()}
	code, err := trial.Load(ctx, file, o)
	if err != nil {
		if i.Module != nil || strings.HasSuffix(file, ".wasm") {
			i.Runtime = pluginhost.WASM
		}
		i.Problem = err.Error()
		return i, nil
	}
	defer code.Close()
	i.Runtime = code.Runtime
	p, err := code.Describe(ctx, o)
	if err != nil {
		i.Problem = err.Error()
		return i, nil
	}
	defer p.Close()
	i.manifest = p.Manifest
	i.Manifest = v1json.AppendJSON(nil, p.Manifest)
	// The config is not there yet.
	bare := *p.Manifest
	bare.ConfigSchema = ""
	if err := pluginhost.Check(&bare, &pluginhost.Spec{Runtime: i.Runtime, Path: file, Grants: trial.Asked(&bare, nil)}); err != nil {
		i.Problem = err.Error()
	}
	return i, nil
}

// limited keeps so many bytes and drops the rest.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	_, err := l.to.Write(b[:n])
	return len(b), err
}

func moduleOf(info *meter.Info) *module {
	m := &module{Functions: info.Functions, CodeBytes: info.CodeBytes, DataBytes: info.DataBytes}
	for _, i := range info.Imports {
		text := i.Module + "." + i.Name
		if i.Kind == meter.Func {
			text += " " + i.Func.String()
		} else {
			text += " " + i.Kind.String()
		}
		m.Imports = append(m.Imports, text)
	}
	for _, e := range info.Exports {
		text := e.Name
		if e.Kind == meter.Func {
			text += " " + e.Func.String()
		} else {
			text += " " + e.Kind.String()
		}
		m.Exports = append(m.Exports, text)
		switch e.Name {
		case "patchbay_abi_v1":
			m.ABI = "1"
		case "patchbay_abi_v1_json":
			m.ABI = "1 (JSON)"
		}
	}
	if len(info.Memories) > 0 {
		m.MemoryPages, m.MemoryMax = info.Memories[0].Min, info.Memories[0].Max
	}
	for _, c := range info.Custom {
		m.Names = m.Names || c.Name == "name"
		m.Lines = m.Lines || c.Name == ".debug_line"
	}
	for _, p := range info.Producers {
		m.Producers = append(m.Producers, strings.TrimSpace(p.Name+" "+p.Version))
	}
	return m
}

func (i *inspected) print(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	line("File", "%s, %s, %s", i.File, i.Runtime, size(i.Size))
	line("SHA-256", "%s", i.SHA256)
	if i.Problem != "" {
		line("Problem", "%s", i.Problem)
	}
	if m := i.Module; m != nil {
		m.print(line)
	}
	if i.manifest != nil {
		printManifest(i.manifest, line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type liner func(name, format string, args ...any)

func (m *module) print(line liner) {
	line("ABI", "%s", cmp.Or(m.ABI, "none: it is no plugin of Patchbay"))
	for _, p := range m.Producers {
		line("Made by", "%s", p)
	}
	line("Code", "%d functions, %s of code, %s of data", m.Functions, size(m.CodeBytes), size(m.DataBytes))
	memory := size(int64(m.MemoryPages) << 16)
	if m.MemoryMax > 0 {
		memory += ", at most " + size(int64(m.MemoryMax)<<16)
	}
	line("Memory", "%s", memory)
	switch {
	case m.Lines:
		line("Debugging", "functions and lines")
	case m.Names:
		line("Debugging", "functions; no lines (patchbay plugin build --debug)")
	default:
		line("Debugging", "a trap will name no functions: do not strip the module's name section")
	}
	for _, text := range m.Imports {
		line("Import", "%s", text)
	}
	for _, text := range m.Exports {
		line("Export", "%s", text)
	}
}

func printManifest(m *pluginv1.Manifest, line liner) {
	line("Plugin", "%s", strings.TrimSpace(m.Name+" "+m.Version))
	if m.Description != "" {
		line("About", "%s", m.Description)
	}
	if m.Author != "" {
		line("Author", "%s", m.Author)
	}
	for i := range m.Hooks {
		line("Hook", "%s", hookText(&m.Hooks[i]))
	}
	for _, c := range m.Consumers {
		line("Consumer", "%s: %s", c.Name, strings.Join(c.TopicFilters, ", "))
	}
	for _, r := range m.HTTPRoutes {
		line("Route", "/%s %s", r.Path, strings.Join(r.Methods, " "))
	}
	for _, g := range m.Grants {
		text := grantText(g)
		if g.Optional {
			text += " (can do without)"
		}
		if g.Reason != "" {
			text += ": " + g.Reason
		}
		line("Grant", "%s", text)
	}
	if len(m.Grants) == 0 {
		line("Grant", "none")
	}
	for _, f := range m.NeededFeatures {
		line("Needs", "a broker with the feature %q", f)
	}
	switch {
	case m.Preemptible:
		line("Instances", "one, which can be interrupted anywhere (preemptible)")
	case m.Instances == 1:
		line("Instances", "one")
	}
	line("Config", "%s", cmp.Or(m.ConfigSchema, "takes none"))
}

// hookText is a hook in one line: `intercept_publish plant/#, QoS 1 or more, [payload]`.
func hookText(h *pluginv1.Hook) string {
	text := pluginhost.PointName(h.Point)
	if len(h.TopicFilters) > 0 {
		text += " " + strings.Join(h.TopicFilters, " ")
	}
	if h.MinQoS > 0 {
		text += fmt.Sprintf(", QoS %d or more", h.MinQoS)
	}
	var fields []string
	for f := pluginv1.FieldPayload; f <= pluginv1.FieldConnect; f <<= 1 {
		if h.Fields&uint32(f) != 0 {
			fields = append(fields, strings.ToLower(strings.TrimPrefix(f.String(), "FIELD_")))
		}
	}
	if fields != nil {
		text += ", with " + strings.Join(fields, ", ")
	}
	if h.OnlyRefuses {
		text += ", only to refuse"
	}
	if h.DeadlineMs > 0 {
		text += fmt.Sprintf(", within %d ms", h.DeadlineMs)
	}
	return text
}
