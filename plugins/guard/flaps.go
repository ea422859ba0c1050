package guard

import (
	"sync"

	"github.com/patchbay-mq/patchbay/sdk"
)

// flaps counts the connections that end, by client. It is safe for concurrent use.
type flaps struct {
	mu      sync.Mutex
	config  FlappingConfig
	clients *lru[ends]
}

// ends are when connections of a client ended, Unix milliseconds, in their order.
type ends struct{ times []int64 }

func newFlaps() *flaps { return &flaps{clients: newLRU[ends](1, nil)} }

func (f *flaps) configure(p *policy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.config, f.clients.max = p.Flapping, p.MaxEntries
	f.clients.shrink(f.clients.max)
}

// Reason Codes of connections that did not end by the client's doing.
const (
	serverShuttingDown sdk.ReasonCode = 0x8B
	// notAuthorized among DISCONNECTs is that of a user who was removed, or whose
	// credentials have run out.
	notAuthorized = sdk.NotAuthorized
)

// ended takes note of a connection that has ended, and reports whether there were too many.
// Then it begins anew.
func (f *flaps) ended(c *sdk.Client, code sdk.ReasonCode, at int64) (tooMany bool) {
	switch code {
	case serverShuttingDown, sdk.AdministrativeAction, notAuthorized:
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.config.Disconnects == 0 {
		return false
	}
	id := c.ClientID
	if len(id) > maxKey {
		id = digest(id)
	}
	e := f.clients.touch(c.Namespace + separator + id)
	first := at - f.config.Within.Std().Milliseconds()
	for len(e.times) > 0 && (e.times[0] <= first || len(e.times) > f.config.Disconnects) {
		e.times = e.times[1:]
	}
	if e.times = append(e.times, at); len(e.times) <= f.config.Disconnects {
		return false
	}
	f.clients.remove(c.Namespace + separator + id)
	return true
}

func (f *flaps) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.clients.items)
}
