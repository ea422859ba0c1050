// Package sdklog writes log/slog records of a plugin to the broker's log. It is apart from
// package sdk because slog makes a WebAssembly module about 0.9 MB larger; sdk.Logger
// does not. Entry points: New and Handler.
package sdklog

import (
	"context"
	"log/slog"

	"github.com/patchbay-mq/patchbay/sdk"
)

// New returns a logger that writes to h's log. Groups become prefixes of names: "a.b".
func New(h *sdk.Host) *slog.Logger { return slog.New(Handler(h.Logger())) }

// Handler returns a handler that writes to l, with its limits (see sdk.Logger). Debug
// records are sent too: the broker decides what it shows.
func Handler(l *sdk.Logger) slog.Handler { return handler{log: l} }

type handler struct {
	log    *sdk.Logger
	prefix string
	attrs  []sdk.Pair
}

// Enabled implements slog.Handler.
func (handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h handler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]sdk.Pair(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		attrs = add(attrs, h.prefix, a)
		return true
	})
	h.log.Log(level(r.Level), r.Time, r.Message, attrs...)
	return nil
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(list []slog.Attr) slog.Handler {
	h.attrs = append([]sdk.Pair(nil), h.attrs...)
	for _, a := range list {
		h.attrs = add(h.attrs, h.prefix, a)
	}
	return h
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler {
	if name != "" {
		h.prefix += name + "."
	}
	return h
}

func add(to []sdk.Pair, prefix string, a slog.Attr) []sdk.Pair {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			to = add(to, prefix, inner)
		}
		return to
	}
	if a.Equal(slog.Attr{}) {
		return to
	}
	return append(to, sdk.Pair{Name: prefix + a.Key, Value: v.String()})
}

func level(l slog.Level) sdk.LogLevel {
	switch {
	case l < slog.LevelInfo:
		return sdk.LevelDebug
	case l < slog.LevelWarn:
		return sdk.LevelInfo
	case l < slog.LevelError:
		return sdk.LevelWarn
	}
	return sdk.LevelError
}
