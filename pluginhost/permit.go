package pluginhost

import (
	"context"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// How a question about a connected client is repeated when it could not be answered:
// after firstPermit, doubled, permitTries times; then the failure policy stands.
const (
	firstPermit   = time.Second
	permitTries   = 6
	permitsAtOnce = 64
)

// invalidated is told that a plugin wants its answers forgotten. If it says what clients
// may do, that is asked again for those that are connected.
func (h *Host) invalidated(name string, in *pluginv1.InvalidateDecisionsRequest) {
	p := h.find(name)
	if p == nil || h.table.Load().of(p, pluginv1.PointPermit) == nil {
		return
	}
	who := *in
	h.running.Go(func() { h.permitAgain(h.ctx, &who) })
}

// permitAgain asks again what clients may do, a number of them at once.
func (h *Host) permitAgain(ctx context.Context, who *pluginv1.InvalidateDecisionsRequest) {
	var clients []*hook.Client
	h.o.Broker.Sessions(who.Namespace, who.AllNamespaces, func(s hook.SessionInfo) bool {
		c := s.Client
		fits := s.Connected && (who.ClientID == "" || who.ClientID == c.ID) && (who.Username == "" || who.Username == c.Username)
		// What a client got when it was authenticated is its own.
		if fits && (c.Permissions == nil || c.Permitted) {
			clients = append(clients, c)
		}
		return true
	})
	slots := make(chan struct{}, permitsAtOnce)
	for _, c := range clients {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		h.running.Go(func() {
			defer func() { <-slots }()
			h.permitOne(ctx, c)
		})
	}
}

func (h *Host) permitOne(ctx context.Context, c *hook.Client) {
	pause := firstPermit
	for try := 1; ; try++ {
		var res hook.AuthResult
		answered := make(chan struct{})
		if !h.permit(c, &res, func() { close(answered) }) {
			<-answered
		}
		if res.Code == packet.ImplementationSpecificError && try < permitTries {
			select {
			case <-time.After(pause):
				pause *= 2
				continue
			case <-ctx.Done():
				return
			}
		}
		if res.Code.IsError() {
			h.o.Broker.Disconnect(hook.DisconnectRequest{
				Namespace: c.Namespace, ClientID: c.ID, Connection: c.Connection, Code: res.Code, Reason: res.Reason,
			})
			return
		}
		h.o.Broker.SetPermissions(c.Namespace, c.ID, c.Connection, res.Permissions)
		return
	}
}
