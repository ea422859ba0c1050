package process

import (
	"errors"
	"fmt"
	"strings"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

var (
	// ErrClosed is what calls get after Close, and those that Close has ended.
	ErrClosed = errors.New("process plugin: closed")
	// ErrBusy is what batches get when too many are waiting already.
	ErrBusy = errors.New("process plugin: more batches are waiting than the queue holds")
)

// Cause is the kind of an Error.
type Cause uint8

const (
	// NotPinned is a program without a SHA-256, which only Options.Dev permits.
	NotPinned Cause = iota + 1
	// WrongSum is a program whose SHA-256 is not the one that it must have.
	WrongSum
	// NotExecutable is a program that is not there, or that the system does not run.
	NotExecutable
	// BadHandshake is one that has run, but does not speak the handshake.
	BadHandshake
	// WrongVersion is a plugin of another version of the contract.
	WrongVersion
	// TimedOut is a plugin that was not ready in time.
	TimedOut
	// Crashed is a process that has ended by itself, at any time.
	Crashed
	// Broken is a connection or stream that has ended while the process runs on.
	Broken
	// Failed is a call that the plugin has answered with an error.
	Failed
	// BadAnswer is one whose answer cannot be used: too large, not a message, to a batch that was not asked.
	BadAnswer
)

// String returns the cause in words, as "wrong sha-256".
func (c Cause) String() string {
	switch c {
	case NotPinned:
		return "not pinned"
	case WrongSum:
		return "wrong sha-256"
	case NotExecutable:
		return "not executable"
	case BadHandshake:
		return "bad handshake"
	case WrongVersion:
		return "wrong version"
	case TimedOut:
		return "timed out"
	case Crashed:
		return "crashed"
	case Broken:
		return "connection broken"
	case Failed:
		return "failed"
	case BadAnswer:
		return "bad answer"
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// Permanent reports whether it is of no use to try again before the program, or the config, is another one.
func (c Cause) Permanent() bool { return c >= NotPinned && c <= WrongVersion }

// Error is a plugin that could not be started, a process that has ended, or a call that has failed. After Crashed the
// Plugin is of no further use.
// It may be shared: do not change it.
type Error struct {
	Op    pluginv1.PluginOp // the call that failed; Unspecified where it was none
	Cause Cause
	// Reason says in words what happened.
	Reason string
	// Exit is how the process has ended: "exit status 2", "signal: killed". Empty if it has not, or that is not known.
	Exit string
	// Stderr has the last lines that it wrote there, the first lines of a panic if there was one; at most 10.
	Stderr []string
	// Err is what is behind it, if that is an error.
	Err error
}

// Error returns "process plugin: PROCESS: the process has ended: exit status 2; it wrote: panic: …".
func (e *Error) Error() string {
	s := "process plugin: "
	if e.Op != pluginv1.PluginOpUnspecified {
		s += opName(e.Op) + ": "
	}
	s += e.Reason
	if e.Exit != "" {
		s += ": " + e.Exit
	}
	if len(e.Stderr) > 0 {
		s += "; it wrote: " + strings.Join(e.Stderr, " | ")
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// opName is "PROCESS" for PLUGIN_OP_PROCESS.
func opName(op pluginv1.PluginOp) string { return strings.TrimPrefix(op.String(), "PLUGIN_OP_") }
