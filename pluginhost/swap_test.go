package pluginhost_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/testplugin"
	"github.com/patchbay-mq/patchbay/sdk"
)

const swapClients = 200

// swaps is how often each plugin is exchanged. To load a module takes most of a second
// on a machine that is busy with traffic.
var swaps = map[pluginhost.Runtime]int{pluginhost.Builtin: 30, pluginhost.Process: 30, pluginhost.WASM: 8}

// swapper is a client that publishes without end, each message when the one before is
// acknowledged, and every other one with QoS 2.
type swapper struct {
	*peer
	number, sent int
}

// run publishes until stop is set. It returns when the last message is acknowledged.
func (s *swapper) run(stop *atomic.Bool) error {
	for !stop.Load() {
		qos := byte(1 + s.number%2)
		b, _ := packet.AppendPublish(nil, s.v, &packet.PublishOut{
			Topic: fmt.Appendf(nil, "edit/%d/%d/version", s.number, s.sent), Payload: []byte("unchanged"), QoS: qos, PacketID: 1,
		})
		if _, err := s.nc.Write(b); err != nil {
			return err
		}
		want := []packet.Type{packet.TypePuback}
		if qos == 2 {
			want = []packet.Type{packet.TypePubrec, packet.TypePubcomp}
		}
		for _, typ := range want {
			h, body, err := s.next(time.Now().Add(patience))
			if err != nil {
				return err
			}
			var a packet.Ack
			if h.Type != typ || packet.DecodeAck(&a, typ, s.v, body) != nil || a.Code != packet.Success {
				return fmt.Errorf("got %v %v, want %v", h.Type, a.Code, typ)
			}
			if typ == packet.TypePubrec {
				if _, err := s.nc.Write(packet.AppendAck(nil, packet.TypePubrel, s.v, 1, 0, nil)); err != nil {
					return err
				}
			}
		}
		s.sent++
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// swapWatcher checks what arrives: each message once, with a version that never goes
// back for its client.
type swapWatcher struct {
	mu       sync.Mutex
	versions map[int]int // by client: that of the last message
	seen     map[int]int // by client: how many messages
	most     int
	faults   []string
}

func (w *swapWatcher) run(p *peer) error {
	for {
		h, body, err := p.next(time.Now().Add(time.Hour))
		if err != nil {
			return nil // the end of the test
		}
		switch h.Type {
		case packet.TypePublish:
			var m packet.Publish
			if err := packet.DecodePublish(&m, p.v, h, body, true); err != nil {
				return err
			}
			if m.QoS > 0 {
				typ := packet.TypePuback
				if m.QoS == 2 {
					typ = packet.TypePubrec
				}
				_, _ = p.nc.Write(packet.AppendAck(nil, typ, p.v, m.PacketID, 0, nil))
			}
			w.message(string(m.Topic), string(m.Payload))
		case packet.TypePubrel:
			var a packet.Ack
			if err := packet.DecodeAck(&a, h.Type, p.v, body); err != nil {
				return err
			}
			_, _ = p.nc.Write(packet.AppendAck(nil, packet.TypePubcomp, p.v, a.PacketID, 0, nil))
		default:
			return fmt.Errorf("got %v", h.Type)
		}
	}
}

func (w *swapWatcher) message(topic, payload string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	part := strings.Split(topic, "/")
	client, _ := strconv.Atoi(part[1])
	n, _ := strconv.Atoi(part[2])
	version, err := strconv.Atoi(payload)
	switch {
	case err != nil:
		w.faults = append(w.faults, fmt.Sprintf("%s was not changed: %q", topic, payload))
	case n != w.seen[client]:
		w.faults = append(w.faults, fmt.Sprintf("%s, but message %d is next", topic, w.seen[client]))
	case version < w.versions[client]:
		w.faults = append(w.faults, fmt.Sprintf("%s by version %d after %d", topic, version, w.versions[client]))
	}
	w.seen[client], w.versions[client], w.most = n+1, max(version, w.versions[client]), max(w.most, version)
}

func (w *swapWatcher) count(client int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[client]
}

// Swapping a plugin under traffic: nobody is disconnected, nothing is lost or there
// twice, and each client goes from one version to the next.
func TestHotSwap(t *testing.T) {
	eachRuntime(t, func(t *testing.T, rt pluginhost.Runtime) {
		build(t)
		f := start(t, func(o *pluginhost.Options) {
			o.Builtin = func(string) (sdk.Plugin, bool) { return testplugin.Built("patient"), true }
		})
		f.apply(patient(spec(t, rt, map[string]any{"version": "1"})))
		w := &swapWatcher{versions: map[int]int{}, seen: map[int]int{}}
		sub := connect(t, f.addr, "sub", "sub")
		sub.subscribe("edit/#")
		watched := make(chan error, 1)
		go func() { watched <- w.run(sub) }()

		var stop atomic.Bool
		var clients []*swapper
		errs := make(chan error, swapClients)
		for i := range swapClients {
			s := &swapper{peer: connect(t, f.addr, fmt.Sprint("p", i), "p"), number: i}
			clients = append(clients, s)
			go func() { errs <- s.run(&stop) }()
		}
		swaps := swaps[rt]
		if raced && rt == pluginhost.WASM {
			swaps = 2
		}
		for n := range swaps {
			s := patient(spec(t, rt, map[string]any{"version": strconv.Itoa(n + 2), "restart": true}))
			if n == swaps/2 {
				broken := patient(spec(t, rt, map[string]any{"version": "1000", "refuse": true}))
				broken.PublicRoutes, broken.Revoked = true, []string{"log"} // a new instance of it
				if _, err := f.host.Apply(t.Context(), []pluginhost.Spec{broken}); err == nil {
					t.Error("the broken version was taken")
				}
			}
			f.apply(s)
			eventually(t, "the version to be seen", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.most == n+2 })
		}
		stop.Store(true)
		for range clients {
			if err := <-errs; err != nil {
				t.Errorf("a client: %v", err)
			}
		}
		total := 0
		for _, s := range clients {
			eventually(t, fmt.Sprintf("the %d messages of client %d", s.sent, s.number), func() bool { return w.count(s.number) >= s.sent })
			total += s.sent
		}
		sub.nc.Close()
		if err := <-watched; err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		if len(w.faults) > 0 {
			t.Errorf("%d faults: %s", len(w.faults), w.faults[0])
		}
		if i := f.info("test"); i.Reloads != int64(swaps) || i.State != "serving" {
			t.Errorf("%s after %d reloads: %s", i.State, i.Reloads, i.Error)
		}
		t.Logf("%d messages of %d clients, %d swaps", total, swapClients, swaps)
	})
}
