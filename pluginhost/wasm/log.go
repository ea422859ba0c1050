package wasm

import (
	"context"
	"fmt"
	"sync"
	"time"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// logger passes lines on, up to a rate.
type logger struct {
	host v1host.Service
	o    *Options

	mu      sync.Mutex
	tokens  float64
	last    time.Time
	dropped int
}

func newLogger(host v1host.Service, o *Options) *logger {
	return &logger{host: host, o: o, tokens: float64(4 * o.LogRate), last: o.Now()}
}

// line passes one line on, after one that says how many were dropped before, or drops it.
func (l *logger) line(ctx context.Context, level pluginv1.LogLevel, text string) {
	dropped, ok := l.take()
	if !ok {
		return
	}
	if dropped > 0 {
		l.write(ctx, pluginv1.LogLevelWarn, fmt.Sprintf("%d lines were dropped: there were more than %d a second", dropped, l.o.LogRate))
	}
	l.write(ctx, level, text)
}

func (l *logger) take() (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	l.tokens = min(l.tokens+now.Sub(l.last).Seconds()*float64(l.o.LogRate), float64(4*l.o.LogRate))
	l.last = now
	if l.tokens < 1 {
		l.dropped++
		return 0, false
	}
	l.tokens--
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}

func (l *logger) write(ctx context.Context, level pluginv1.LogLevel, text string) {
	if l.o.Log != nil {
		l.o.Log(level, text)
		return
	}
	// The host counts what it refuses; there is nobody else to tell.
	_, _ = l.host.Log(ctx, &pluginv1.LogRequest{Records: []pluginv1.LogRecord{{Level: level, Message: text}}})
}
