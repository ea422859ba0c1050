package pluginhost

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// permitting is the work of the point at which plugins say what clients may do: one that
// has been authenticated, or many that are connected.
type permitting struct {
	run
	clients []permitted
	left    int // that are not decided
}

// permitted is a client and what it may do.
type permitted struct {
	client  *hook.Client
	result  *hook.AuthResult
	decided bool
	failed  bool // a failure policy has decided
	tries   int
	due     time.Time // of the next try
}

// permit asks what a client may do; the answer goes into res.
func (h *Host) permit(client *hook.Client, res *hook.AuthResult, done func()) bool {
	if h.tap.Load() != nil {
		h.tapped(&permitting{clients: []permitted{{client: client, result: res}}}, pluginv1.PointPermit)
	}
	if len(h.table.Load().at(pluginv1.PointPermit)) == 0 {
		return true
	}
	return h.permitAll([]permitted{{client: client, result: res}}, done)
}

func (h *Host) permitAll(clients []permitted, done func()) bool {
	w := &permitting{clients: clients, left: len(clients)}
	w.begin(h, w, h.table.Load().at(pluginv1.PointPermit), done)
	return w.start()
}

func (w *permitting) fill(c *call, from int) int {
	for ; from < len(w.clients) && !c.full(); from++ {
		if x := &w.clients[from]; !x.decided && c.hook.inNamespace(x.client.Namespace) {
			c.add(from, x.client)
		}
	}
	return from
}

func (w *permitting) decide(c *call, i int, v *pluginv1.Verdict) {
	x := w.end(c.index[i])
	switch {
	case v.Action == pluginv1.ActionDeny:
		x.refuse(codeOf(v, packet.NotAuthorized), reasonOf(v))
	case v.Auth != nil && v.Auth.HasPermissions:
		x.result.Permissions, x.result.Permitted = permissions(v.Auth.Permissions), true
	}
}

func (w *permitting) fail(c *call, i int) {
	x := w.end(c.index[i])
	x.failed = true
	x.refuse(packet.ImplementationSpecificError, failureReason(c.hook))
}

func (w *permitting) end(i int) *permitted {
	w.clients[i].decided = true
	w.left--
	return &w.clients[i]
}

func (x *permitted) refuse(code packet.ReasonCode, reason string) {
	data := x.result.AuthData
	*x.result = hook.AuthResult{Code: code, Reason: reason, AuthData: data}
}

func (w *permitting) settled() bool { return w.left == 0 }

func (w *permitting) finish() bool { return true }

// How a question about a connected client is repeated when it could not be answered:
// after firstPermit, doubled, permitTries times in all; then the failure policy stands.
const (
	firstPermit = time.Second
	permitTries = 6
	// permitsAtOnce is how many clients are asked about in one run.
	permitsAtOnce = 256
	// maxInvalidations is how many wishes are kept apart; more become one about all clients.
	maxInvalidations = 64
	// clockSlack is how far the clock of Client.ConnectedAt may be from that of wishes.
	clockSlack = 2 * time.Second
)

// permits asks again what connected clients may do, one question after the other, so
// that an older answer never takes the place of a newer one. The zero value is ready but
// for host.
type permits struct {
	host *Host
	last atomic.Int64 // when the last wish came, in Unix milliseconds

	mu      sync.Mutex
	wishes  []*pluginv1.InvalidateDecisionsRequest
	running bool
	wake    chan struct{} // has an element if there is a new wish
}

// invalidated is told that a plugin wants its answers forgotten. If it says what clients
// may do, that is asked again for those that are connected.
func (h *Host) invalidated(name string, in *pluginv1.InvalidateDecisionsRequest) {
	p := h.find(name)
	if p == nil || h.table.Load().of(p, pluginv1.PointPermit) == nil {
		return
	}
	own := new(pluginv1.InvalidateDecisionsRequest)
	if own.Unmarshal(in.AppendTo(nil)) == nil {
		h.permits.again(own)
	}
}

// connected looks again at a client that was asked about before the last wish, and was
// not among the connected when that was carried out.
func (p *permits) connected(c *hook.Client) {
	if p.last.Load() >= c.ConnectedAt-clockSlack.Milliseconds() && len(p.host.table.Load().at(pluginv1.PointPermit)) > 0 {
		p.add(&pluginv1.InvalidateDecisionsRequest{Namespace: c.Namespace, ClientID: c.ID})
	}
}

// again has the clients that in means asked about.
func (p *permits) again(in *pluginv1.InvalidateDecisionsRequest) {
	p.last.Store(time.Now().UnixMilli())
	p.add(in)
}

func (p *permits) add(in *pluginv1.InvalidateDecisionsRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.ContainsFunc(p.wishes, func(w *pluginv1.InvalidateDecisionsRequest) bool { return pluginv1.Equal(w, in) }) {
		p.wishes = append(p.wishes, in)
	}
	if len(p.wishes) > maxInvalidations {
		p.wishes = []*pluginv1.InvalidateDecisionsRequest{{AllNamespaces: true}}
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	if !p.running {
		p.running = p.host.spawn(p.run)
	}
}

// run carries out wishes, and tries again what has failed, until there are none.
func (p *permits) run() {
	var retries []permitted
	for {
		p.mu.Lock()
		wishes := p.wishes
		p.wishes = nil
		if len(wishes) == 0 && len(retries) == 0 {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		now := time.Now()
		list := p.due(wishes, &retries, now)
		for chunk := range slices.Chunk(list, permitsAtOnce) {
			retries = append(retries, p.ask(chunk, now)...)
		}
		if !p.sleep(retries) {
			return
		}
	}
}

// due returns the clients that wishes mean, and those whose time for another try has
// come.
func (p *permits) due(wishes []*pluginv1.InvalidateDecisionsRequest, retries *[]permitted, now time.Time) []permitted {
	var list []permitted
	asked := map[uint64]bool{}
	for _, w := range wishes {
		p.host.o.Broker.Sessions(w.Namespace, w.AllNamespaces, func(s hook.SessionInfo) bool {
			c := s.Client
			fits := s.Connected && !asked[c.Connection] && (w.ClientID == "" || w.ClientID == c.ID) && (w.Username == "" || w.Username == c.Username)
			// What a client got when it was authenticated is its own.
			if fits && (c.Permissions == nil || c.Permitted) {
				asked[c.Connection] = true
				list = append(list, permitted{client: c})
			}
			return true
		})
	}
	*retries = slices.DeleteFunc(*retries, func(x permitted) bool {
		if asked[x.client.Connection] {
			return true
		}
		if x.due.After(now) {
			return false
		}
		list = append(list, permitted{client: x.client, tries: x.tries})
		return true
	})
	return list
}

// ask asks about clients and acts on the answers. It returns those to be tried again.
func (p *permits) ask(clients []permitted, now time.Time) (again []permitted) {
	for i := range clients {
		clients[i].result = new(hook.AuthResult)
	}
	answered := make(chan struct{})
	if !p.host.permitAll(clients, func() { close(answered) }) {
		<-answered
	}
	b := p.host.o.Broker
	for i := range clients {
		x := &clients[i]
		c, res := x.client, x.result
		switch {
		case x.failed && x.tries+1 < permitTries:
			x.due = now.Add(firstPermit << x.tries)
			x.tries++
			again = append(again, *x)
		case res.Code.IsError():
			b.Disconnect(hook.DisconnectRequest{
				Namespace: c.Namespace, ClientID: c.ID, Connection: c.Connection, Code: res.Code, Reason: res.Reason,
			})
		default:
			b.SetPermissions(c.Namespace, c.ID, c.Connection, res.Permissions)
		}
	}
	return again
}

// sleep waits for a wish or until the first of retries is due. It returns false when the
// host ends.
func (p *permits) sleep(retries []permitted) bool {
	if len(retries) == 0 {
		return p.host.ctx.Err() == nil
	}
	first := retries[0].due
	for _, x := range retries {
		if x.due.Before(first) {
			first = x.due
		}
	}
	t := time.NewTimer(time.Until(first))
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.wake:
	case <-p.host.ctx.Done():
		return false
	}
	return true
}
