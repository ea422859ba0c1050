package trial

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm"
	"github.com/patchbay-mq/patchbay/sdk/instance"
	"github.com/patchbay-mq/patchbay/sdk/plugintest"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// HasLines reports whether a module says where its code comes from, by line (DWARF).
func (c *Code) HasLines() bool { return c.HasCustom(".debug_line") }

// HasNames reports whether a module names its functions.
func (c *Code) HasNames() bool { return c.HasCustom("name") }

// HasCustom reports whether a module has a custom section of that name.
func (c *Code) HasCustom(name string) bool {
	if c.Module == nil {
		return false
	}
	for _, s := range c.Module.Info().Custom {
		if s.Name == name {
			return true
		}
	}
	return false
}

// traceTime bounds Trace: the code runs without fuel there.
const traceTime = 10 * time.Second

// Trace says in which lines of its source a module has trapped, innermost first, as
// "parse at /src/lib.rs:12:3"; nil if err is no trap or that is not known. The metered
// code that a broker runs has lost its lines, so the same is done once more without fuel:
// the lines before and then the last one, which has failed.
func (p *Plugin) Trace(ctx context.Context, err error, lines []Line) []string {
	var e *wasm.Error
	if !errors.As(err, &e) || e.Cause != wasm.Trapped || !p.HasLines() {
		return nil
	}
	found := make(chan []string, 1)
	go func() { found <- p.again(ctx, lines) }()
	select {
	case list := <-found:
		return list
	case <-time.After(traceTime):
		return nil
	}
}

// again does what the plugin has done, in the loader of plugintest.
func (p *Plugin) again(ctx context.Context, lines []Line) []string {
	h := newHost(p.options)
	inst, err := plugintest.Wasm(p.Path).Open(ctx, h)
	if err != nil {
		return places(err)
	}
	defer inst.Close()
	m, err := inst.Describe(ctx, &pluginv1.DescribeRequest{Host: p.hostInfo()})
	if err != nil {
		return places(err)
	}
	out, err := inst.Start(ctx, &pluginv1.StartRequest{
		Name: m.Name, Config: p.options.Config, Grants: Asked(m, p.options.Deny), Host: p.hostInfo(), Worker: true,
	})
	if err != nil || len(out.Problems) > 0 {
		return places(err)
	}
	for i := range lines {
		if err := p.askAgain(inst, &lines[i]); err != nil && i == len(lines)-1 {
			return places(err)
		}
	}
	return nil
}

func (p *Plugin) askAgain(inst instance.Plugin, l *Line) error {
	if l.Consume != nil {
		_, err := inst.Consume(l.Consume, new(pluginv1.ConsumeResult), nil)
		return err
	}
	i := slices.IndexFunc(p.Hooks, func(h pluginv1.Hook) bool { return h.Point == l.Batch.Point })
	if i < 0 {
		return nil
	}
	b, _ := narrow(l.Batch, &p.Hooks[i])
	if len(b.Events) == 0 {
		return nil
	}
	_, err := inst.Process(b, new(pluginv1.Answer), nil)
	return err
}

// places reads functions with their lines out of wazero's stack trace: a line for the
// function, as "\t.name(i32)", and below it some for the code that is inlined there, as
// "\t\t0x5c: /src/lib.rs:12:3 (inlined)".
func places(err error) []string {
	if err == nil {
		return nil
	}
	_, trace, found := strings.Cut(err.Error(), "wasm stack trace:\n")
	if !found {
		return nil
	}
	var list []string
	function := ""
	for line := range strings.Lines(trace) {
		line = strings.TrimRight(line, "\n")
		switch place, deep := strings.CutPrefix(line, "\t\t"); {
		case deep:
			if _, where, ok := strings.Cut(place, ": "); ok {
				place = where
			}
			if !strings.Contains(place, "/rustc/") { // the compiler's own library
				list = append(list, function+" at "+strings.TrimSpace(place))
			}
		case strings.HasPrefix(line, "\t"):
			function, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "\t"), "."), "(")
			function = wasm.FunctionName(function)
		}
	}
	return list
}
