package services

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const (
	maxLine       = 4 << 10
	maxAttributes = 64
	maxAttrName   = 128
	maxAttrBytes  = 16 << 10 // of all attributes of a line

	lineRate  = 100 // a second
	lineBurst = 500
	// tellEvery is how often at most the log says that lines were left out.
	tellEvery = time.Second
)

// lines limits what one plugin writes to the log.
type lines struct {
	bucket
	mu      sync.Mutex
	dropped int
	telling *time.Timer // set while the log is going to be told
}

// Log implements v1host.Service.
func (s *Service) Log(ctx context.Context, in *pluginv1.LogRequest) (*pluginv1.LogResponse, error) {
	return serve(s, pluginv1.HostOpLog, func() (*pluginv1.LogResponse, error) {
		if err := limit("records", len(in.Records), maxElements); err != nil {
			return nil, err
		}
		out := &pluginv1.LogResponse{}
		for i := range in.Records {
			if !s.p.write(ctx, &in.Records[i]) {
				out.Dropped++
			}
		}
		return out, nil
	})
}

// LogLine writes a line that the plugin has written elsewhere, to its stderr for example,
// as if it had called Log. It is left out without the grant.
func (p *Plugin) LogLine(level pluginv1.LogLevel, text string) {
	if len(p.given.Load().grants[grantLog]) > 0 {
		p.write(context.Background(), &pluginv1.LogRecord{Level: level, Message: text})
	}
}

// write writes a record, if the rate allows; else it reports false. A record that the
// log does not want costs nothing.
func (p *Plugin) write(ctx context.Context, r *pluginv1.LogRecord) bool {
	level, now := slogLevel(r.Level), time.Now()
	if !p.s.log.Enabled(ctx, level) {
		return true
	}
	if p.lines.take(1, lineRate, lineBurst, now) == 0 {
		p.dropLine()
		return false
	}
	when := now
	if r.TimeMs != 0 {
		when = time.UnixMilli(r.TimeMs)
	}
	line := slog.NewRecord(when, level, clean(r.Message, maxLine), 0)
	line.AddAttrs(slog.String("plugin", p.name))
	line.AddAttrs(attributes(r.Attributes)...)
	// An error of the log is nothing that a plugin could do something about.
	_ = p.s.log.Handler().Handle(ctx, line)
	return true
}

// dropLine counts a line that is left out. The log is told a second later how many there
// were, and not more often.
func (p *Plugin) dropLine() {
	l := &p.lines
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped++
	if l.telling == nil {
		l.telling = time.AfterFunc(tellEvery, p.tellDropped)
	}
}

func (p *Plugin) tellDropped() {
	l := &p.lines
	l.mu.Lock()
	n := l.dropped
	l.dropped, l.telling = 0, nil
	l.mu.Unlock()
	p.s.log.Warn("lines of a plugin were left out: there were too many", "plugin", p.name, "lines", n)
}

func slogLevel(l pluginv1.LogLevel) slog.Level {
	switch l {
	case pluginv1.LogLevelDebug:
		return slog.LevelDebug
	case pluginv1.LogLevelWarn:
		return slog.LevelWarn
	case pluginv1.LogLevelError:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// attributes makes those of a line, up to the limits.
func attributes(pairs []pluginv1.Pair) []slog.Attr {
	var out []slog.Attr
	size := 0
	for i := range pairs[:min(len(pairs), maxAttributes)] {
		name, value := clean(pairs[i].Name, maxAttrName), clean(pairs[i].Value, maxLine)
		if size += len(name) + len(value); size > maxAttrBytes {
			break
		}
		switch name {
		case "", slog.TimeKey, slog.LevelKey, slog.MessageKey, "plugin":
			name += "_" // what the broker says of a line a plugin cannot say
		}
		out = append(out, slog.String(name, value))
	}
	return out
}

// clean cuts a text to a length in bytes, and writes as escapes what could do harm in a
// terminal or make one line look like two. The result shares no memory with s.
func clean(s string, most int) string {
	const cutMark = "…"
	cut := len(s) > most
	if cut {
		s = s[:most-len(cutMark)]
		for !utf8.ValidString(lastRune(s)) {
			s = s[:len(s)-1]
		}
	}
	var b strings.Builder
	b.Grow(len(s) + len(cutMark))
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteByte(' ')
		case harmful(r):
			writeEscape(&b, r)
		default:
			b.WriteRune(r) // what is not UTF-8 becomes U+FFFD
		}
	}
	if cut {
		b.WriteString(cutMark)
	}
	return b.String()
}

// lastRune returns the bytes of the last rune of s, which may be cut off.
func lastRune(s string) string {
	for i := len(s) - 1; i >= 0 && i >= len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[i:]
		}
	}
	return ""
}

// harmful are control characters, those that turn the direction of writing, and line ends
// of Unicode.
func harmful(r rune) bool {
	return unicode.IsControl(r) || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == 0x2028 || r == 0x2029 ||
		r == 0x200E || r == 0x200F || r == 0x061C || r == 0xFEFF
}

func writeEscape(b *strings.Builder, r rune) {
	const hex = "0123456789abcdef"
	b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		b.WriteByte(hex[r>>shift&15])
	}
}
