package process

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
	log  func(level pluginv1.LogLevel, text string)
	rate int

	mu      sync.Mutex
	tokens  float64
	last    time.Time
	dropped int
}

func newLogger(host v1host.Service, o *Options) *logger {
	return &logger{host: host, log: o.Log, rate: o.LogRate, tokens: float64(4 * o.LogRate), last: time.Now()}
}

// line passes one line on, after one that says how many were dropped before, or drops it.
func (l *logger) line(level pluginv1.LogLevel, text string) {
	dropped, ok := l.take()
	if !ok {
		return
	}
	if dropped > 0 {
		l.write(pluginv1.LogLevelWarn, fmt.Sprintf("%d lines were dropped: there were more than %d a second", dropped, l.rate))
	}
	l.write(level, text)
}

func (l *logger) take() (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.tokens = min(l.tokens+now.Sub(l.last).Seconds()*float64(l.rate), float64(4*l.rate))
	l.last = now
	if l.tokens < 1 {
		l.dropped++
		return 0, false
	}
	l.tokens--
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}

func (l *logger) write(level pluginv1.LogLevel, text string) {
	if l.log != nil {
		l.log(level, text)
		return
	}
	// The host counts what it refuses; there is nobody else to tell.
	_, _ = l.host.Log(context.Background(), &pluginv1.LogRequest{Records: []pluginv1.LogRecord{{Level: level, Message: text}}})
}
