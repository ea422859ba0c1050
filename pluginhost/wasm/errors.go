package wasm

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/sys"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

var (
	// ErrClosed is what calls get after Close, and those that Close has ended.
	ErrClosed = errors.New("wasm plugin: closed")
	// ErrNotServing is what calls get before Start has succeeded and after Stop.
	ErrNotServing = errors.New("wasm plugin: not started, or stopped")
	// ErrBusy is what calls get when too many are waiting already.
	ErrBusy = errors.New("wasm plugin: more calls are waiting than the queue holds")
)

// Cause is the kind of an Error.
type Cause uint8

const (
	// Trapped is a trap: unreachable, a memory access out of bounds, a division by zero, a stack overflow, …
	Trapped Cause = iota + 1
	// OutOfFuel is a call that took too long.
	OutOfFuel
	// Exited is a guest that ended itself: WASI's proc_exit, which a Go panic comes to, or abort.
	Exited
	// Interrupted is a call of a preemptible plugin that was ended at its deadline, or by Close.
	Interrupted
	// Refused is a call that the guest has answered with -1.
	Refused
	// BadAnswer is one whose answer cannot be used: not in memory, too large, not a message.
	BadAnswer
)

// String returns "trapped", "out of fuel", "exited", "interrupted", "refused" or "bad answer".
func (c Cause) String() string {
	switch c {
	case Trapped:
		return "trapped"
	case OutOfFuel:
		return "out of fuel"
	case Exited:
		return "exited"
	case Interrupted:
		return "interrupted"
	case Refused:
		return "refused"
	case BadAnswer:
		return "bad answer"
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// Error is the failure of one call of a guest. After all but Refused and BadAnswer the
// instance is gone, and another takes its place.
type Error struct {
	Op    pluginv1.PluginOp // Unspecified: while the instance was made
	Cause Cause
	// Reason says in words what happened.
	Reason string
	// Stack has the functions that were running, innermost first, by the names of the module's name
	// section, "$12" for those that have none. At most 16.
	Stack []string
	// Err is what is behind it, if that is an error: of the decoder, of the context.
	Err error
}

// Function is the function that was running, "" if that is not known.
func (e *Error) Function() string {
	if len(e.Stack) == 0 {
		return ""
	}
	return e.Stack[0]
}

// Error returns "wasm plugin: PROCESS: out of fuel: the call may use 1,020,000 units (in spin, called by patchbay_call)".
func (e *Error) Error() string {
	op := strings.TrimPrefix(e.Op.String(), "PLUGIN_OP_")
	if e.Op == pluginv1.PluginOpUnspecified {
		op = "instantiating"
	}
	s := "wasm plugin: " + op + ": " + e.Reason
	if len(e.Stack) > 0 {
		s += " (in " + strings.Join(e.Stack[:min(len(e.Stack), 6)], ", called by ") + ")"
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// fatal reports whether the instance is of no further use.
func (e *Error) fatal() bool { return e.Cause != Refused && e.Cause != BadAnswer }

// trap is panicked with by functions that the guest has called, to end the call.
type trap struct {
	cause  Cause
	reason string
}

func (t *trap) Error() string { return t.reason }

// failed makes an Error of what a call of wazero has returned.
func (g *guest) failed(err error) *Error {
	e := &Error{Op: g.op, Cause: Trapped, Stack: frames(err.Error())}
	first, _, _ := strings.Cut(err.Error(), "\n")
	e.Reason = "trapped: " + strings.TrimSuffix(strings.TrimPrefix(first, "wasm error: "), " (recovered by wazero)")
	var t *trap
	var exit *sys.ExitError
	switch {
	case errors.As(err, &t):
		e.Cause, e.Reason = t.cause, t.reason
	case errors.As(err, &exit):
		e.Cause, e.Reason = Interrupted, "interrupted at its deadline"
		if exit.ExitCode() == sys.ExitCodeContextCanceled {
			e.Reason = "interrupted"
		}
		e.Err = g.ctx.Err()
	case g.fuel != nil && int64(g.fuel.Get()) < 0:
		e.Cause, e.Reason = OutOfFuel, g.outOfFuel()
	case strings.Contains(first, "unreachable"):
		e.Reason = "trapped: unreachable code was reached"
		if g.said() == "" {
			e.Reason += " (a panic, an assertion, or no more memory)"
		}
	}
	if e.Cause == Interrupted {
		return e
	}
	if said := g.said(); said != "" {
		e.Reason += "; it wrote: " + text([]byte(said), 1024)
	}
	if limit := g.code.o.pages(); e.Cause == Trapped && g.memory != nil && g.memory.Size()/pageSize >= limit/4*3 {
		e.Reason += fmt.Sprintf("; it has %s of the %s of memory that it may have (memory_limit in its entry gives it more)",
			mib(g.memory.Size()/pageSize), mib(limit))
	}
	return e
}

// said is what the guest has said last in this call: on stderr, as the reason of its
// failure, or in the log as an error.
func (g *guest) said() string {
	return cmp.Or(strings.TrimSpace(string(g.lastWords)), strings.TrimSpace(g.refusal), strings.TrimSpace(g.lastLine))
}

func (g *guest) outOfFuel() string {
	s := "out of fuel: the call may use " + thousands(g.budget) + " units, about " +
		fmt.Sprintf("%.3g", float64(g.budget)*3/1e6) + " ms of computing; "
	switch {
	case g.slept:
		return s + "it wanted to sleep, which a decision or gate must not"
	case g.mayWait:
		return s + "it loops without end, or needs more fuel in its entry, or \"preemptible\" in its manifest"
	}
	return s + "it loops without end, or does more than the broker can wait for (\"preemptible\" in its manifest lets it, and is slower)"
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// maxFrames bounds Error.Stack.
const maxFrames = 16

// frames reads the functions out of wazero's stack trace: a line for each, as "\t.name(i32,i32) i64".
func frames(trace string) []string {
	_, trace, found := strings.Cut(trace, "wasm stack trace:\n")
	if !found {
		return nil
	}
	var names []string
	for line := range strings.Lines(trace) {
		line = strings.TrimRight(line, "\n")
		name, ok := strings.CutPrefix(line, "\t")
		if !ok {
			break // the broker's own stack follows
		}
		if strings.HasPrefix(name, "\t") || strings.HasPrefix(name, "... ") {
			continue
		}
		if name = strings.TrimPrefix(signature(name), "."); name != "" {
			names = append(names, FunctionName(name))
		}
	}
	names = withoutMachinery(names)
	return names[:min(len(names), maxFrames)]
}

// signature cuts parameters and results off; a name may have parentheses of its own.
func signature(frame string) string {
	for i := range len(frame) {
		if frame[i] != '(' {
			continue
		}
		rest := frame[i+1:]
		for _, begin := range []string{")", "i32", "i64", "f32", "f64", "v128", "externref", "funcref"} {
			if strings.HasPrefix(rest, begin) {
				return frame[:i]
			}
		}
	}
	return frame
}
