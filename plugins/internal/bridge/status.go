package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Remote is a connection to the other side, as the status has it.
type Remote struct {
	Name string `json:"name"`
	// Address is without user and password.
	Address string `json:"address,omitempty"`
	// Connected says that it works, as far as is known.
	Connected bool `json:"connected"`
	// Since is when that has become so.
	Since time.Time `json:"since,omitzero"`
	// Error is why it does not, or the last failure.
	Error string `json:"error,omitempty"`
}

// RouteStatus is one route in one direction. Counts are since the start of the plugin.
type RouteStatus struct {
	Name      string   `json:"name"`
	Direction string   `json:"direction"` // out, in
	Filters   []string `json:"filters,omitempty"`
	Ack       string   `json:"ack,omitempty"`
	Messages  int64    `json:"messages"`
	Bytes     int64    `json:"bytes"`
	// Rate is messages per second, over about a minute.
	Rate float64 `json:"rate"`
	// Errors counts batches that have failed, Refused messages that were given up.
	Errors  int64 `json:"errors"`
	Refused int64 `json:"refused"`
	// OldestUnsent is how long the first message has waited that was handed over and is
	// not on the other side, in seconds.
	OldestUnsent  float64   `json:"oldest_unsent_seconds"`
	InHand        int       `json:"in_hand"`
	LastError     string    `json:"last_error,omitempty"`
	LastErrorTime time.Time `json:"last_error_time,omitzero"`
	LastTime      time.Time `json:"last_time,omitzero"` // of a message
}

// Status is what the plugin's page "status" has, as JSON.
type Status struct {
	Bridge  string        `json:"bridge"` // as bridge-kafka
	Remotes []Remote      `json:"remotes,omitempty"`
	Routes  []RouteStatus `json:"routes"`
}

// figures are those of a route.
type figures struct {
	mu     sync.Mutex
	s      RouteStatus
	oldest int64 // ReceivedMs of the first message in hand; 0: none
	rate   rate
}

// rate is an average over about a minute.
type rate struct {
	perSecond float64
	last      time.Time
}

func (r *rate) add(n int, now time.Time) {
	r.decay(now)
	r.perSecond += float64(n) / rateWindow.Seconds()
}

const rateWindow = time.Minute

// decay takes away what is older than the window, as if it had come evenly.
func (r *rate) decay(now time.Time) {
	if d := now.Sub(r.last); r.last.IsZero() || d >= 10*rateWindow {
		r.perSecond = 0
	} else if d > 0 {
		r.perSecond *= 1 / (1 + d.Seconds()/rateWindow.Seconds())
	}
	r.last = now
}

func (f *figures) inHand(b *Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.s.InHand = len(b.Messages)
	f.oldest = b.Messages[0].ReceivedMs
}

func (f *figures) status(now time.Time) RouteStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate.decay(now)
	s := f.s
	s.Rate = f.rate.perSecond
	if f.oldest > 0 {
		s.OldestUnsent = max(now.Sub(time.UnixMilli(f.oldest)).Seconds(), 0)
	}
	return s
}

// meters are the metrics, which have the same names in all bridges.
type meters struct {
	sent, sentBytes, received, receivedBytes, errors, refused, oldest, connected, seconds *sdk.Metric
}

func newMeters(h *sdk.Host) *meters {
	return &meters{
		sent:          h.Counter("sent_total", "Messages that the other side has, by route."),
		sentBytes:     h.Counter("sent_bytes_total", "Their payloads."),
		received:      h.Counter("received_total", "Messages that came from the other side, by route."),
		receivedBytes: h.Counter("received_bytes_total", "Their payloads."),
		errors:        h.Counter("errors_total", "Batches and messages that have failed, by route; most are tried again."),
		refused:       h.Counter("refused_total", "Messages that were given up, by route."),
		oldest:        h.Gauge("oldest_unsent_seconds", "How long the first message in hand has waited, by route."),
		connected:     h.Gauge("connected", "1 if the other side answers, by remote."),
		seconds:       h.Histogram("send_seconds", "How long the other side took for a batch, by route."),
	}
}

// count notes what has become of a batch.
func (e *Engine) count(r *route, b *Batch, took time.Duration, err error) {
	n, bytes, gone := 0, 0, 0
	for i, o := range b.outcomes {
		switch o {
		case done:
			n++
			bytes += len(b.Messages[i].Payload)
		case refused:
			gone++
			e.host.Logger().Warn("a message was given up", "route", r.Name, "topic", b.Messages[i].Topic, "reason", b.reasons[i], "dead_letter_topic", r.DeadLetterTopic)
		}
	}
	now := time.Now()
	f := &r.figures
	f.mu.Lock()
	f.s.Messages += int64(n)
	f.s.Bytes += int64(bytes)
	f.s.Refused += int64(gone)
	if n > 0 {
		f.s.LastTime = now
		f.rate.add(n, now)
	}
	f.oldest, f.s.InHand = 0, 0
	for i := range b.Messages {
		if o := b.outcomes[i]; o == unsaid || o == failed {
			if f.s.InHand++; f.oldest == 0 {
				f.oldest = b.Messages[i].ReceivedMs
			}
		}
	}
	failure := err != nil && !errors.Is(err, context.Canceled)
	if failure {
		f.s.Errors++
		f.s.LastError, f.s.LastErrorTime = cut(err.Error()), now
	}
	f.mu.Unlock()
	label := sdk.Pair{Name: "route", Value: r.Name}
	add(e.figures.sent, n, label)
	add(e.figures.sentBytes, bytes, label)
	add(e.figures.refused, gone, label)
	if failure {
		e.figures.errors.Add(1, label)
	} else if took > 0 && n > 0 {
		e.figures.seconds.Set(took.Seconds(), label)
	}
	e.figures.oldest.Set(r.figures.status(now).OldestUnsent, label)
}

func add(m *sdk.Metric, n int, label sdk.Pair) {
	if n > 0 {
		m.Add(float64(n), label)
	}
}

// Received counts messages of a route from the other side that are safe here.
func (e *Engine) Received(route string, messages, bytes int) {
	if f := e.source(route); f != nil {
		now := time.Now()
		f.mu.Lock()
		f.s.Messages += int64(messages)
		f.s.Bytes += int64(bytes)
		f.s.LastTime = now
		f.rate.add(messages, now)
		f.mu.Unlock()
	}
	label := sdk.Pair{Name: "route", Value: route}
	add(e.figures.received, messages, label)
	add(e.figures.receivedBytes, bytes, label)
}

// Trouble counts a failure with what came from the other side; given up says that
// the message will not come again.
func (e *Engine) Trouble(route string, err error, givenUp bool) {
	if f := e.source(route); f != nil {
		f.mu.Lock()
		f.s.Errors++
		f.s.LastError, f.s.LastErrorTime = cut(err.Error()), time.Now()
		if givenUp {
			f.s.Refused++
		}
		f.mu.Unlock()
	}
	label := sdk.Pair{Name: "route", Value: route}
	e.figures.errors.Add(1, label)
	if givenUp {
		e.figures.refused.Add(1, label)
	}
}

func (e *Engine) source(route string) *figures {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.sources[route]
}

// Status describes the bridge as it is now.
func (e *Engine) Status() Status {
	e.mu.RLock()
	defer e.mu.RUnlock()
	now := time.Now()
	s := Status{Bridge: e.o.Kind, Routes: []RouteStatus{}}
	if e.o.Remotes != nil {
		s.Remotes = e.o.Remotes()
	}
	for _, r := range e.order {
		x := r.figures.status(now)
		x.Name, x.Direction, x.Filters, x.Ack = r.Name, "out", r.Filters, r.Ack.String()
		s.Routes = append(s.Routes, x)
	}
	for _, name := range e.o.Sources {
		x := e.sources[name].status(now)
		x.Name, x.Direction = name, "in"
		s.Routes = append(s.Routes, x)
	}
	return s
}

// Routes are those of a bridge's Plugin: `patchbay bridge status` asks for them.
func Routes() []sdk.HTTPRoute {
	return []sdk.HTTPRoute{{Path: "status", Description: "How the bridge is, as JSON."}}
}

// HTTP implements sdk.HTTPHandler.
func (e *Engine) HTTP(_ context.Context, r *sdk.HTTPRequest) (*sdk.HTTPResponse, error) {
	if r.Path != "status" {
		return &sdk.HTTPResponse{Status: 404}, nil
	}
	body, err := json.Marshal(e.Status())
	if err != nil {
		return nil, err
	}
	return &sdk.HTTPResponse{Status: 200, Headers: []sdk.Pair{{Name: "content-type", Value: "application/json"}}, Body: body}, nil
}

// Health implements sdk.Healther: a bridge whose other side does not answer does its work
// badly, since messages wait. It never says that it cannot work, or a broker would not start
// while the other side is away.
func (e *Engine) Health(context.Context) error {
	s := e.Status()
	var wrong []string
	for _, r := range s.Remotes {
		v := 1.0
		if !r.Connected {
			v = 0
			text := "remote " + r.Name + " does not answer"
			if r.Error != "" {
				text += ": " + r.Error
			}
			wrong = append(wrong, text)
		}
		e.figures.connected.Set(v, sdk.Pair{Name: "remote", Value: r.Name})
	}
	for _, r := range s.Routes {
		if r.Direction == "out" {
			e.figures.oldest.Set(r.OldestUnsent, sdk.Pair{Name: "route", Value: r.Name})
		}
		if r.InHand > 0 && r.LastErrorTime.After(r.LastTime) {
			wrong = append(wrong, "route "+r.Name+": "+r.LastError)
		}
	}
	if wrong != nil {
		return sdk.Degraded(cut(strings.Join(wrong, "; ")))
	}
	return nil
}
