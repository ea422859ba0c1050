package authjwt

import (
	"container/heap"
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/permission"
	"github.com/patchbay-mq/patchbay/sdk"
)

// askTimer is the timer for the next client that is to be asked.
const askTimer = "ask"

// asker asks clients to authenticate again before their token expires. In MQTT 5 it is
// the client that begins a re-authentication (§4.12.1), so it is asked by a message.
//
// When a token expires is in an attribute of its client, where another instance of the
// plugin finds it after a reload; so only clients that are connected are in memory.
type asker struct {
	host    *sdk.Host
	now     func() time.Time
	metrics *metrics

	mu      sync.Mutex
	config  *AskConfig // nil: nobody is asked
	queue   askQueue
	clients map[uint64]*asked
	due     time.Time // what the timer is set to; zero: it is not
}

// asked is a client that will be asked.
type asked struct {
	connection                    uint64
	namespace, clientID, username string
	expires, at                   time.Time
	index                         int // in the queue
}

// attribute is where a client's expiry is, in Unix milliseconds.
func (a *asker) attribute() string { return a.host.Name() + ".expires" }

// set puts a config into force. If it is the first one that asks, clients that are
// connected already are found with the grant clients.
func (a *asker) set(ctx context.Context, c *AskConfig) error {
	a.mu.Lock()
	known := a.config != nil && c != nil
	if a.config = c; !known {
		a.queue, a.clients, a.due = nil, map[uint64]*asked{}, time.Time{}
	}
	a.mu.Unlock()
	if known {
		return nil
	}
	if c == nil || a.host.Granted("clients") == nil {
		return nil
	}
	fields := uint32(sdk.FieldAttributes)
	for client, err := range a.host.Clients(ctx, sdk.ClientsRequest{AllNamespaces: true, Fields: fields, PageSize: 1000}) {
		if err != nil {
			return err
		}
		a.connected(client)
	}
	return a.schedule(ctx)
}

// connected takes note of a client. Schedule has to follow.
func (a *asker) connected(c *sdk.Client) {
	for _, p := range c.Attributes {
		if p.Name != a.attribute() {
			continue
		}
		if ms, err := strconv.ParseInt(p.Value, 10, 64); err == nil {
			a.add(sdk.Clone(c), time.UnixMilli(ms))
		}
	}
}

// add has a client asked before its token expires. One that has been let in only a short
// time before is asked half-way, when it has had time to subscribe.
func (a *asker) add(c *sdk.Client, expires time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := expires.Sub(a.now())
	if a.config == nil || left <= 0 {
		return
	}
	a.remove(c.Connection)
	e := &asked{
		connection: c.Connection, namespace: c.Namespace, clientID: c.ClientID, username: c.Username,
		expires: expires, at: expires.Add(-min(a.config.Before.Std(), left/2)),
	}
	a.clients[c.Connection] = e
	heap.Push(&a.queue, e)
}

// renewed takes note of a client that has authenticated again. Schedule has to follow.
func (a *asker) renewed(c *sdk.Client, expiresMs int64) {
	a.mu.Lock()
	a.remove(c.Connection)
	a.mu.Unlock()
	if expiresMs != 0 {
		a.add(sdk.Clone(c), time.UnixMilli(expiresMs))
	}
}

// gone forgets a client.
func (a *asker) gone(c *sdk.Client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(c.Connection)
}

// remove is called with mu held.
func (a *asker) remove(connection uint64) {
	if e := a.clients[connection]; e != nil {
		delete(a.clients, connection)
		heap.Remove(&a.queue, e.index)
	}
}

// schedule sets the timer to who comes first.
func (a *asker) schedule(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return nil
	}
	first := a.queue[0].at
	if !a.due.IsZero() && !first.Before(a.due) {
		return nil
	}
	if err := a.host.SetTimer(ctx, sdk.Timer{Name: askTimer, Delay: max(first.Sub(a.now()), 0)}); err != nil {
		return err
	}
	a.due = first
	return nil
}

// maxAsked is how many messages are published with one call.
const maxAsked = 1024

// ask asks all whose time has come.
func (a *asker) ask(ctx context.Context) error {
	for {
		messages := a.take()
		if len(messages) == 0 {
			return a.schedule(ctx)
		}
		results, err := a.host.Publish(ctx, messages...)
		if err != nil {
			a.host.Logger().Error("clients cannot be asked to authenticate again", "error", err, "clients", len(messages))
			a.metrics.asked.Add(float64(len(messages)), sdk.Pair{Name: "result", Value: "failed"})
		}
		for _, r := range results {
			result := "ok"
			if r.ReasonCode >= uint32(sdk.UnspecifiedError) {
				result = "failed"
			}
			a.metrics.asked.Add(1, sdk.Pair{Name: "result", Value: result})
		}
	}
}

// take takes those whose time has come out of the queue, and makes messages to them.
func (a *asker) take() (messages []sdk.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due = time.Time{}
	now := a.now()
	for len(a.queue) > 0 && len(messages) < maxAsked && !a.queue[0].at.After(now) {
		e := a.queue[0]
		a.remove(e.connection)
		topic, ok := permission.Who{Username: e.username, ClientID: e.clientID}.Topic(a.config.Topic)
		left := e.expires.Sub(now)
		if !ok || left <= 0 {
			a.metrics.asked.Add(1, sdk.Pair{Name: "result", Value: "failed"})
			continue
		}
		payload, _ := json.Marshal(askMessage{e.expires.Unix()}) // two fields, which cannot fail
		messages = append(messages, sdk.Message{
			Topic: topic, Namespace: e.namespace, QoS: 1, Payload: payload, ContentType: "application/json",
			MessageExpiryInterval: uint32(left/time.Second) + 1,
		})
	}
	return messages
}

// askMessage is what clients are told: in the message, and as Authentication Data when
// they are let in with an Authentication Method.
type askMessage struct {
	ExpiresAt int64 `json:"expires_at"` // in Unix seconds
}

// askQueue is a heap by time.
type askQueue []*asked

func (q askQueue) Len() int           { return len(q) }
func (q askQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q askQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *askQueue) Push(x any) {
	e := x.(*asked)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *askQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
