package pluginhost

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// permitter grants one topic, the one that it is told to.
type permitter struct {
	mu      sync.Mutex
	topic   string
	denies  string // a client
	fails   bool
	pause   time.Duration
	asked   map[string]int
	batches int
}

func (p *permitter) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *permitter) process(b *pluginv1.Batch, a *pluginv1.Answer, done func(error)) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches++
	if p.asked == nil {
		p.asked = map[string]int{}
	}
	for i := range b.Events {
		id := b.Clients[b.Events[i].Client-1].ClientID
		p.asked[id]++
		v := pluginv1.Verdict{Event: uint32(i), Action: pluginv1.ActionAllow, Auth: &pluginv1.AuthResult{
			HasPermissions: true, Permissions: []pluginv1.Permission{{Allow: true, Actions: 1, TopicFilter: p.topic}},
		}}
		if id == p.denies {
			v = pluginv1.Verdict{Event: uint32(i), Action: pluginv1.ActionDeny, ReasonCode: uint32(packet.Banned)}
		}
		a.Verdicts = append(a.Verdicts, v)
	}
	if p.fails {
		return true, errors.New("told to")
	}
	if p.pause == 0 {
		return true, nil
	}
	pause := p.pause
	go func() { time.Sleep(pause); done(nil) }()
	return false, nil
}

func permitting1() *pluginv1.Manifest {
	return hooks(pluginv1.Hook{Point: pluginv1.PointPermit})
}

func connected(n int) (list []hook.SessionInfo) {
	for i := range n {
		list = append(list, hook.SessionInfo{Connected: true, Client: &hook.Client{ID: fmt.Sprint("c", i), Connection: uint64(i + 1)}})
	}
	return list
}

func (b *fakeBroker) may(connection uint64, topic string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.permissions[connection]
	if !ok {
		return "not asked"
	}
	return fmt.Sprint(p.MayPublish(topic, 0, false, time.Now().UnixMilli()))
}

// gone are the connections that were closed.
func (b *fakeBroker) gone() []hook.DisconnectRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.disconnected)
}

func TestPermissionsAreAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newTestHost(t)
		defer closeHost(t, h)
		b.sessions = connected(1000)
		own := access.NewPermissions(nil)
		b.sessions[1].Client.Permissions = own // by who has authenticated it
		b.sessions[2].Connected = false
		p := &permitter{topic: "old"}
		serve(t, h, "p", newFake(p.process), false, permitting1())
		synctest.Wait() // there is somebody now who says what clients may do
		if b.may(1, "old") != "true" || b.may(2, "old") != "not asked" || b.may(3, "old") != "not asked" {
			t.Errorf("%s, %s, %s", b.may(1, "old"), b.may(2, "old"), b.may(3, "old"))
		}
		if p.batches > 30 {
			t.Errorf("%d batches for 998 clients", p.batches)
		}
		p.set(func() { p.topic, p.denies, p.asked = "new", "c7", nil })
		h.invalidated("p", &pluginv1.InvalidateDecisionsRequest{ClientID: "c0"})
		h.invalidated("p", &pluginv1.InvalidateDecisionsRequest{ClientID: "c0"})
		h.invalidated("other", &pluginv1.InvalidateDecisionsRequest{AllNamespaces: true})
		synctest.Wait()
		if b.may(1, "new") != "true" || b.may(5, "new") != "false" || len(p.asked) != 1 {
			t.Errorf("%s, %s, asked about %v", b.may(1, "new"), b.may(5, "new"), p.asked)
		}
		h.invalidated("p", &pluginv1.InvalidateDecisionsRequest{AllNamespaces: true})
		synctest.Wait()
		if len(b.gone()) != 1 || b.gone()[0].ClientID != "c7" || b.gone()[0].Code != packet.Banned || b.gone()[0].Connection != 8 {
			t.Errorf("%+v", b.gone())
		}
	})
}

// An older answer never takes the place of a newer one, and a thousand wishes are few
// questions.
func TestPermissionsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newTestHost(t)
		defer closeHost(t, h)
		b.sessions = connected(10)
		p := &permitter{topic: "0", pause: time.Second}
		serve(t, h, "p", newFake(p.process), false, permitting1())
		for i := range 1000 {
			p.set(func() { p.topic, p.pause = fmt.Sprint(i), time.Duration(1000-i)*time.Millisecond })
			h.invalidated("p", &pluginv1.InvalidateDecisionsRequest{ClientID: fmt.Sprint("c", i%10)})
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for n := range uint64(10) {
			if b.may(n+1, "999") != "true" {
				t.Errorf("client %d has other permissions than the last ones", n)
			}
		}
		if p.batches > 20 {
			t.Errorf("%d batches", p.batches)
		}
	})
}

// A client that was asked about before a wish, and is among the connected only after it
// was carried out, is asked about again.
func TestPermissionsOfThoseWhoConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newTestHost(t)
		defer closeHost(t, h)
		p := &permitter{topic: "old"}
		serve(t, h, "p", newFake(p.process), false, permitting1())
		time.Sleep(time.Minute)
		c := &hook.Client{ID: "c", Connection: 1, ConnectedAt: time.Now().UnixMilli()}
		var res hook.AuthResult
		if !h.permit(c, &res, nil) || !res.Permissions.MayPublish("old", 0, false, 0) {
			t.Fatalf("%+v", res)
		}
		p.set(func() { p.topic = "new" })
		h.invalidated("p", &pluginv1.InvalidateDecisionsRequest{AllNamespaces: true})
		synctest.Wait()
		c.Permissions, c.Permitted = res.Permissions, true
		b.mu.Lock()
		b.sessions = []hook.SessionInfo{{Connected: true, Client: c}}
		b.mu.Unlock()
		h.Observe(&hook.Event{Point: hook.Connected, Client: c})
		synctest.Wait()
		if b.may(1, "new") != "true" {
			t.Errorf("it may publish: %s", b.may(1, "new"))
		}
		// Without a wish nobody is asked about twice.
		time.Sleep(time.Minute)
		asked := p.asked["c"]
		c.ConnectedAt = time.Now().UnixMilli()
		h.Observe(&hook.Event{Point: hook.Connected, Client: c})
		synctest.Wait()
		if p.asked["c"] != asked {
			t.Error("it is asked about again without need")
		}
	})
}

func TestPermissionsWhileThePluginFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b := newTestHost(t)
		defer closeHost(t, h)
		b.sessions = connected(3)
		p := &permitter{topic: "t"}
		serve(t, h, "p", newFake(p.process), false, permitting1())
		synctest.Wait()
		p.set(func() { p.topic, p.fails = "new", true })
		h.invalidated("p", &pluginv1.InvalidateDecisionsRequest{AllNamespaces: true})
		time.Sleep(10 * time.Second)
		if len(b.gone()) != 0 || b.may(1, "t") != "true" {
			t.Error("a failure counts before it was tried again")
		}
		p.set(func() { p.fails = false })
		time.Sleep(time.Minute)
		if b.may(1, "new") != "true" || len(b.gone()) != 0 {
			t.Errorf("%s, %v", b.may(1, "new"), b.gone())
		}
		p.set(func() { p.fails = true })
		h.invalidated("p", &pluginv1.InvalidateDecisionsRequest{ClientID: "c1"})
		time.Sleep(2 * time.Minute)
		if len(b.gone()) != 1 || b.gone()[0].Code != packet.ImplementationSpecificError {
			t.Errorf("%+v", b.gone())
		}
	})
}
