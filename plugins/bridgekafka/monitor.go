package bridgekafka

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// lookUp and lookDown are the pauses between looks at Kafka while it answers, and while
	// it does not.
	lookUp   = 5 * time.Second
	lookDown = time.Second
	// lookLimit is how long a look may take.
	lookLimit = 5 * time.Second
)

// state is whether Kafka answers.
type state struct {
	connected bool
	since     time.Time
	err       string // why not
}

// monitor looks after Kafka: connections alone do not tell, since a client closes those that
// are idle.
type monitor struct {
	told  func(state) // of changes
	login bool        // there is one, which may be wrong

	doubt chan struct{} // has something when there is reason to look

	mu      sync.Mutex
	state   state
	changed chan struct{} // closed with each change
}

func newMonitor(told func(state), login bool) *monitor {
	return &monitor{told: told, login: login, state: state{since: time.Now(), err: "not connected yet"}, changed: make(chan struct{}), doubt: make(chan struct{}, 1)}
}

// now returns the state, and what is closed when it changes.
func (m *monitor) now() (state, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.changed
}

func (m *monitor) set(err error) {
	m.mu.Lock()
	was := m.state
	m.state.err = ""
	if err != nil {
		m.state.err = err.Error()
		if m.login && errors.Is(err, io.EOF) { // that is how some say no
			m.state.err = "the connection was closed: is the login right?"
		}
	}
	m.state.connected = err == nil
	changed := was.connected != m.state.connected
	if changed {
		m.state.since = time.Now()
		close(m.changed)
		m.changed = make(chan struct{})
	}
	is := m.state
	m.mu.Unlock()
	if changed || was.err == "not connected yet" {
		m.told(is)
	}
}

// look says that there is reason to look: something has failed.
func (m *monitor) look() {
	if s, _ := m.now(); !s.connected {
		return
	}
	select {
	case m.doubt <- struct{}{}:
	default:
	}
}

// run looks until ctx ends.
func (m *monitor) run(ctx context.Context, client *atomic.Pointer[kgo.Client]) {
	for {
		look, cancel := context.WithTimeout(ctx, lookLimit)
		err := client.Load().Ping(look)
		cancel()
		if ctx.Err() != nil {
			return
		}
		m.set(err)
		pause := lookUp
		if err != nil {
			pause = lookDown
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		case <-m.doubt:
		}
	}
}
