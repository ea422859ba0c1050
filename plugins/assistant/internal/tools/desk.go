package tools

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"

	"github.com/patchbay-mq/patchbay/sdk"
)

// desk is where messages are waited for: replies of devices, and decisions of people.
type desk struct {
	mu      sync.Mutex
	waiting map[place][]*waiter
}

// place is a topic of a namespace.
type place struct{ namespace, topic string }

// waiter waits for one message that fits.
type waiter struct {
	// correlation, if a message has Correlation Data, must be that.
	correlation []byte
	// fits says no to messages that are not for it; nil takes any.
	fits func(*got) bool
	came chan *got
}

// got is a message that has come, with its own memory.
type got struct {
	sdk.Message
	client, username string
}

// wait begins to wait for a message. The caller must call leave.
func (d *desk) wait(at place, w *waiter) (leave func()) {
	w.came = make(chan *got, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[place][]*waiter{}
	}
	d.waiting[at] = append(d.waiting[at], w)
	return func() { d.leave(at, w) }
}

func (d *desk) leave(at place, w *waiter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.DeleteFunc(d.waiting[at], func(x *waiter) bool { return x == w })
	if len(list) == 0 {
		delete(d.waiting, at)
		return
	}
	d.waiting[at] = list
}

// hand gives a message to the one that has waited longest and that it fits. Nothing of m
// and c is kept. One that nobody waits for is late, or somebody's own.
func (d *desk) hand(m *sdk.Message, c *sdk.Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	namespace := m.Namespace
	if namespace == "" {
		namespace = c.Namespace
	}
	at := place{namespace, m.Topic}
	list := d.waiting[at]
	if len(list) == 0 {
		return
	}
	g := &got{Message: *sdk.Clone(m), client: strings.Clone(c.ClientID), username: strings.Clone(c.Username)}
	if g.client == "" {
		g.client = g.Publisher
	}
	for i, w := range list {
		if len(g.CorrelationData) > 0 && !bytes.Equal(g.CorrelationData, w.correlation) || w.fits != nil && !w.fits(g) {
			continue
		}
		w.came <- g // it has room, and is left with this
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			delete(d.waiting, at)
		} else {
			d.waiting[at] = list
		}
		return
	}
}

// get waits until a message is there.
func (w *waiter) get(ctx context.Context) (*got, error) {
	select {
	case g := <-w.came:
		return g, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// secret is a name that nobody guesses.
func secret() string { return strings.ToLower(rand.Text()) }
