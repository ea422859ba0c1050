package sdk

import (
	"context"
	"strconv"
	"sync"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// LogLevel is how important a line of the log is.
type LogLevel = pluginv1.LogLevel

// The levels of the log.
const (
	LevelDebug = pluginv1.LogLevelDebug
	LevelInfo  = pluginv1.LogLevelInfo
	LevelWarn  = pluginv1.LogLevelWarn
	LevelError = pluginv1.LogLevelError
)

// Logger writes to the broker's log, tagged with the plugin's name. Its methods take
// names and values in turn, as those of log/slog do; package sdklog makes a slog.Handler
// of it, which is apart because it makes a WebAssembly module 0.9 MB larger. It is
// safe for concurrent use.
//
// The host limits the rate. When it has left lines out, the Logger keeps quiet for a
// while (but for errors), and then says how many lines that has cost.
type Logger struct {
	core  *logCore
	attrs []Pair
}

// Logger returns the plugin's log. Grant: log, which every plugin has unless it is taken
// away.
func (h *Host) Logger() *Logger { return h.log }

// logCore is what loggers share that With makes of one another.
type logCore struct {
	*outbox[pluginv1.LogRecord]
	now func() time.Time

	mu      sync.Mutex
	quiet   time.Time // until when to keep quiet
	pause   time.Duration
	skipped uint64
}

const (
	firstPause = time.Second
	longPause  = 30 * time.Second
)

func newLogger(s v1host.Service, async bool) *Logger {
	c := &logCore{now: time.Now}
	c.outbox = &outbox[pluginv1.LogRecord]{async: async, send: func(list []pluginv1.LogRecord) error {
		out, err := s.Log(context.Background(), &pluginv1.LogRequest{Records: list})
		if err == nil {
			c.told(uint64(out.Dropped))
		}
		return err
	}}
	return &Logger{core: c}
}

// told learns how many records the host has left out.
func (c *logCore) told(dropped uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if dropped == 0 {
		if c.now().After(c.quiet.Add(longPause)) {
			c.pause = 0
		}
		return
	}
	c.skipped += dropped
	c.pause = min(max(2*c.pause, firstPause), longPause)
	c.quiet = c.now().Add(c.pause)
}

// pass reports whether to send a record, and how many were not since the last one.
func (c *logCore) pass(l LogLevel) (ok bool, skipped uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skipped == 0 && c.quiet.IsZero() {
		return true, 0
	}
	if l < LevelError && c.now().Before(c.quiet) {
		c.skipped++
		return false, 0
	}
	skipped, c.skipped = c.skipped, 0
	return true, skipped
}

// With returns a Logger that adds names and values to every line.
func (l *Logger) With(args ...any) *Logger {
	attrs := append([]Pair(nil), l.attrs...)
	return &Logger{l.core, appendArgs(attrs, args)}
}

// Debug writes something that is of interest while looking for a fault.
func (l *Logger) Debug(message string, args ...any) { l.write(LevelDebug, message, args) }

// Info writes something that people want to know.
func (l *Logger) Info(message string, args ...any) { l.write(LevelInfo, message, args) }

// Warn writes something that should be looked at.
func (l *Logger) Warn(message string, args ...any) { l.write(LevelWarn, message, args) }

// Error writes something that has failed.
func (l *Logger) Error(message string, args ...any) { l.write(LevelError, message, args) }

func (l *Logger) write(level LogLevel, message string, args []any) {
	l.Log(level, time.Time{}, message, appendArgs(nil, args)...)
}

// Log writes a line with its time, the zero time for now. Lines that cannot be written
// are lost: there is nobody to tell.
func (l *Logger) Log(level LogLevel, t time.Time, message string, attrs ...Pair) {
	ok, skipped := l.core.pass(level)
	if !ok {
		return
	}
	r := pluginv1.LogRecord{Level: level, Message: message}
	if !t.IsZero() {
		r.TimeMs = t.UnixMilli()
	}
	r.Attributes = append(append(r.Attributes, l.attrs...), attrs...)
	if n := len(r.Attributes); n > maxAttrs {
		r.Attributes = r.Attributes[:maxAttrs]
	}
	if skipped > 0 {
		r.Attributes = append(r.Attributes, Pair{Name: "skipped_lines", Value: strconv.FormatUint(skipped, 10)})
	}
	l.core.put(r)
}

// maxAttrs leaves room for one of the SDK's own in the contract's 64.
const maxAttrs = 63

func appendArgs(to []Pair, args []any) []Pair {
	for i := 0; i < len(args); i += 2 {
		name, ok := args[i].(string)
		if !ok || i+1 == len(args) {
			to = append(to, Pair{Name: "!BADKEY", Value: textOf(args[i])})
			i--
			continue
		}
		to = append(to, Pair{Name: name, Value: textOf(args[i+1])})
	}
	return to
}

// textOf is fmt.Sprint for what is usual in a log, without package fmt.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case error:
		return v.Error()
	case interface{ String() string }:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case nil:
		return "<nil>"
	}
	return textOfKind(v)
}
