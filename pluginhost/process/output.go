package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	maxLine  = 4 << 10 // of a line of the log, in bytes
	maxTail  = 10      // lines that are kept for an error
	tailLine = 512     // of each of these, in bytes

	// outputRate, in bytes per second, and outputBurst bound what is read: a program that writes more has to wait. One that
	// floods its output costs the broker 1 % of a core then.
	outputRate  = 1 << 20
	outputBurst = 4 << 20
)

// output makes lines of the log of what a program writes. It is an io.Writer for one goroutine.
type output struct {
	log  *logger
	tail *tail // of stderr; nil for stdout
	line []byte

	tokens float64
	last   time.Time
	ended  chan struct{} // closed when the process has ended: nobody need wait then
	end    sync.Once
}

func newOutput(log *logger, tail *tail) *output {
	return &output{log: log, tail: tail, tokens: outputBurst, last: time.Now(), ended: make(chan struct{})}
}

// hurry ends all waiting.
func (o *output) hurry() { o.end.Do(func() { close(o.ended) }) }

// readAll reads to the end, or until r is closed.
func (o *output) readAll(r io.Reader) {
	_, _ = io.Copy(o, r)
	o.put()
}

// Write implements io.Writer. It never fails.
func (o *output) Write(b []byte) (int, error) {
	o.throttle(len(b))
	for rest := b; len(rest) > 0; {
		part, after, full := bytes.Cut(rest, []byte{'\n'})
		o.line = append(o.line, part[:min(len(part), maxLine-len(o.line))]...)
		if full {
			o.put()
		}
		rest = after
	}
	return len(b), nil
}

// throttle waits until n more bytes are permitted.
func (o *output) throttle(n int) {
	now := time.Now()
	o.tokens = min(o.tokens+now.Sub(o.last).Seconds()*outputRate, outputBurst) - float64(n)
	o.last = now
	if o.tokens >= 0 {
		return
	}
	t := time.NewTimer(time.Duration(-o.tokens / outputRate * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-o.ended:
	}
}

// put ends a line.
func (o *output) put() {
	line := bytes.TrimRight(o.line, "\r")
	o.line = o.line[:0]
	if len(line) == 0 {
		return
	}
	fallback := pluginv1.LogLevelInfo
	if o.tail != nil {
		fallback = o.tail.level(line)
	}
	level, words := describe(line, fallback)
	if o.tail != nil && level != pluginv1.LogLevelDebug {
		o.tail.keep(words)
	}
	o.log.line(level, words)
}

// tail keeps the last lines of stderr, and of a panic the first ones, which say what it was.
type tail struct {
	mu     sync.Mutex
	lines  []string
	panics bool
}

// level returns the level that a line has if it says none.
func (t *tail) level(line []byte) pluginv1.LogLevel {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.panics && (bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: "))) {
		t.panics = true
		t.lines = t.lines[:0]
	}
	if t.panics {
		return pluginv1.LogLevelError
	}
	return pluginv1.LogLevelWarn
}

func (t *tail) keep(words string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == maxTail {
		if t.panics {
			return
		}
		t.lines = slices.Delete(t.lines, 0, 1)
	}
	t.lines = append(t.lines, text([]byte(words), tailLine))
}

func (t *tail) get() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

// text makes UTF-8 of a line, of at most n bytes.
func text(b []byte, n int) string {
	s := strings.ToValidUTF8(string(b[:min(len(b), n)]), "�")
	for len(s) > n {
		_, last := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-last]
	}
	return s
}

// levels are the prefixes and names of levels that hclog and many other logging packages write.
var levels = map[string]pluginv1.LogLevel{
	"trace": pluginv1.LogLevelDebug, "debug": pluginv1.LogLevelDebug, "info": pluginv1.LogLevelInfo,
	"warn": pluginv1.LogLevelWarn, "error": pluginv1.LogLevelError, "err": pluginv1.LogLevelError,
}

// describe finds the level of a line, which is fallback where it does not say: "[WARN] …", or the JSON of hclog,
// which becomes a message with its values behind it.
func describe(line []byte, fallback pluginv1.LogLevel) (pluginv1.LogLevel, string) {
	if line[0] == '[' {
		if name, _, found := bytes.Cut(line[1:min(len(line), 8)], []byte{']'}); found {
			if level, known := levels[strings.ToLower(string(name))]; known {
				return level, text(bytes.TrimLeft(line[len(name)+2:], " "), maxLine)
			}
		}
	}
	if line[0] != '{' {
		return fallback, text(line, maxLine)
	}
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return fallback, text(line, maxLine)
	}
	message, ok := fields["@message"].(string)
	if !ok {
		return fallback, text(line, maxLine)
	}
	if name, ok := fields["@level"].(string); ok {
		if level, known := levels[name]; known {
			fallback = level
		}
	}
	var b strings.Builder
	b.WriteString(message)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if !strings.HasPrefix(key, "@") {
			fmt.Fprintf(&b, " %s=%v", key, fields[key])
		}
	}
	return fallback, text([]byte(strings.ReplaceAll(b.String(), "\n", " ")), maxLine)
}
