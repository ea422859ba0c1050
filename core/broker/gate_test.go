package broker

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// gatekeeper is a gate that a test answers for.
type gatekeeper struct {
	t     testing.TB
	asked chan *hook.GateRequest
	done  chan func()
}

// gated installs one.
func gated(t testing.TB, b *Broker) *gatekeeper {
	k := &gatekeeper{t, make(chan *hook.GateRequest, 10), make(chan func(), 10)}
	b.Install(&fakeHost{gate: func(r *hook.GateRequest, done func()) bool {
		k.done <- done
		k.asked <- r
		return false
	}}, hook.SetOf(hook.GatePublish))
	return k
}

// next waits until the gate is asked about a message, and returns how to answer.
func (k *gatekeeper) next(payload string) func(packet.ReasonCode) {
	k.t.Helper()
	r := receive(k.t, k.asked)
	if string(r.Message.Payload) != payload {
		k.t.Fatalf("the gate is asked about %q, want %q", r.Message.Payload, payload)
	}
	done := <-k.done
	return func(code packet.ReasonCode) { r.Code = code; done() }
}

// publishAgain sends a QoS 2 PUBLISH with DUP.
func (p *peer) publishAgain(topic, payload string, id uint16) {
	p.t.Helper()
	b, _ := packet.AppendPublish(nil, p.v, &packet.PublishOut{Topic: []byte(topic), Payload: []byte(payload), QoS: 2, PacketID: id, Dup: true})
	p.write(b)
}

// versions runs a test for MQTT 3.1.1 and 5.0. as makes a client that comes back to
// its session.
func versions(t *testing.T, run func(t *testing.T, as func(*packet.Connect))) {
	t.Run("3.1.1", func(t *testing.T) { run(t, func(c *packet.Connect) { v311(c); keepSession(c) }) })
	t.Run("5.0", func(t *testing.T) { run(t, keepSession) })
}

// What a gate has said of a QoS 2 message may have been lost with the connection: when
// the message comes again the gate is asked again, and it is not routed again.
func TestGateIsAskedAgainAfterAnotherConnect(t *testing.T) {
	versions(t, func(t *testing.T, as func(*packet.Connect)) {
		b, addr := start(t)
		k := gated(t, b)
		sub, pub := connect(t, addr, "sub"), connect(t, addr, "pub", as)
		sub.subscribe("#", 0)
		pub.publish("t", "1", 2, 1)
		sub.expectPublish("t", "1")
		late := k.next("1")
		pub.nc.Close()
		pub = connect(t, addr, "pub", as)
		pub.publishAgain("t", "1", 1)
		answer := k.next("1")
		late(packet.Success)
		pub.expectQuiet()
		answer(packet.Success)
		pub.expectAck(packet.TypePubrec, 1, packet.Success)
		pub.sendAck(packet.TypePubrel, 1, packet.Success)
		pub.expectAck(packet.TypePubcomp, 1, packet.Success)
		sub.expectQuiet()
	})
}

// The same with the process.
func TestGateIsAskedAgainAfterACrash(t *testing.T) {
	versions(t, func(t *testing.T, as func(*packet.Connect)) {
		fs := vfs.NewCrashableMem()
		b, addr := start(t, withStore(openDisk(t, disk.Options{FS: fs})))
		k := gated(t, b)
		sub, pub := connect(t, addr, "sub", keepSession), connect(t, addr, "pub", as)
		sub.subscribe("#", 2)
		pub.publish("t", "1", 2, 1)
		k.next("1")
		sub.expectPublish("t", "1")
		synced(t, b)

		b, addr = crash(t, b, fs)
		k = gated(t, b)
		pub = connect(t, addr, "pub", as)
		pub.publishAgain("t", "1", 1)
		k.next("1")(packet.Success)
		pub.expectAck(packet.TypePubrec, 1, packet.Success)
		sub = connect(t, addr, "sub", keepSession)
		sub.expectPublish("t", "1")
		sub.expectQuiet()
	})
}

// synced waits until all is safe that has happened so far.
func synced(t testing.TB, b *Broker) {
	t.Helper()
	safe := make(chan struct{})
	if b.store.Sync(func(error) { close(safe) }) {
		return
	}
	select {
	case <-safe:
	case <-time.After(patience):
		t.Fatal("nothing becomes safe")
	}
}

// crash starts a broker on what is left of another one's store after a loss of power.
func crash(t testing.TB, b *Broker, fs *vfs.MemFS) (*Broker, string) {
	t.Helper()
	left := fs.CrashClone(vfs.CrashCloneCfg{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return start(t, withStore(openDisk(t, disk.Options{FS: left})))
}

// A gate's refusal cannot be told to an MQTT 3 client, which sends the message again:
// it has been routed, and is not routed twice [MQTT-4.3.3-2].
func TestGateWithholdsPubrec(t *testing.T) {
	b, addr := start(t)
	k := gated(t, b)
	as := func(c *packet.Connect) { v311(c); keepSession(c) }
	sub, pub := connect(t, addr, "sub"), connect(t, addr, "pub", as)
	sub.subscribe("#", 0)
	pub.publish("t", "1", 2, 1)
	sub.expectPublish("t", "1")
	k.next("1")(packet.ImplementationSpecificError)
	pub.expectQuiet()
	pub = connect(t, addr, "pub", as)
	pub.publishAgain("t", "1", 1)
	k.next("1")(packet.Success)
	pub.expectAck(packet.TypePubrec, 1, packet.Success)
	sub.expectQuiet()
}

// With an error in PUBREC the identifier is free [MQTT-4.3.3-9], also if the broker
// crashes in that moment: the next message that has it is another one.
func TestPubrecWithErrorFreesIdentifier(t *testing.T) {
	fs := vfs.NewCrashableMem()
	b, addr := start(t, withStore(openDisk(t, disk.Options{FS: fs})))
	k := gated(t, b)
	sub, pub := connect(t, addr, "sub", keepSession), connect(t, addr, "pub", keepSession)
	sub.subscribe("#", 2)
	pub.publish("t", "1", 2, 1)
	pub.publish("t", "2", 2, 2)
	first, second := k.next("1"), k.next("2")
	second(packet.QuotaExceeded)
	first(packet.QuotaExceeded)
	pub.expectAck(packet.TypePubrec, 1, packet.QuotaExceeded)
	pub.expectAck(packet.TypePubrec, 2, packet.QuotaExceeded)

	b, addr = crash(t, b, fs)
	k = gated(t, b)
	pub = connect(t, addr, "pub", keepSession)
	for id, payload := range map[uint16]string{1: "other 1", 2: "other 2"} {
		pub.publish("t", payload, 2, id)
		k.next(payload)(packet.Success)
		pub.expectAck(packet.TypePubrec, id, packet.Success)
	}
	sub = connect(t, addr, "sub", keepSession)
	got := map[string]bool{}
	for range 4 { // what was refused has been routed
		p := sub.expectAnyPublish()
		got[string(p.Payload)] = true
	}
	if !got["other 1"] || !got["other 2"] {
		t.Errorf("received %v", got)
	}
}

// slowStore forgets Packet Identifiers when the test wants it to.
type slowStore struct {
	store.Store
	forgotten chan *store.Receipt
}

func (s *slowStore) Create(r store.Record, o store.Owner) store.Session {
	return &slowSession{s.Store.Create(r, o), s}
}

type slowSession struct {
	store.Session
	slow *slowStore
}

func (s *slowSession) Released(id uint16, r *store.Receipt) {
	if r != nil {
		r.Add()
		s.slow.forgotten <- r
	}
	s.Session.Released(id, r)
}

// PUBREC with an error waits until the store has forgotten the identifier.
func TestPubrecWithErrorWaitsForTheStore(t *testing.T) {
	slow := &slowStore{openDisk(t, disk.Options{}), make(chan *store.Receipt, 1)}
	b, addr := start(t, withStore(slow))
	k := gated(t, b)
	pub := connect(t, addr, "pub", keepSession)
	pub.publish("t", "1", 2, 1)
	k.next("1")(packet.QuotaExceeded)
	r := receive(t, slow.forgotten)
	pub.expectQuiet()
	r.Done(nil)
	pub.expectAck(packet.TypePubrec, 1, packet.QuotaExceeded)
}

func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("waited too long")
	}
	return v
}

// A message that hooks have not decided about when its connection ends has not been
// received: when it comes again it is routed.
func TestUndecidedMessageIsNotReceived(t *testing.T) {
	for _, name := range []string{"the client goes", "the client errs", "the host says so", "another one comes"} {
		t.Run(name, func(t *testing.T) {
			b, addr := start(t)
			asked := make(chan func(hook.Verdict), 1)
			b.Install(&fakeHost{publish: func(batch []*hook.PublishRequest, done func()) bool {
				asked <- func(v hook.Verdict) {
					batch[0].Verdict = v
					done()
				}
				return false
			}}, hook.SetOf(hook.InterceptPublish))
			sub, pub := connect(t, addr, "sub"), connect(t, addr, "pub", keepSession)
			sub.subscribe("#", 0)
			two := func(second string, dup bool) []byte {
				out, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: []byte("t"), Payload: []byte("1"), QoS: 2, PacketID: 1, Dup: dup})
				out, _ = packet.AppendPublish(out, packet.V5, &packet.PublishOut{Topic: []byte(second), Payload: []byte("2"), QoS: 2, PacketID: 2, Dup: dup})
				return out // in one write, so that the host is asked about both together
			}
			if name == "the client errs" {
				pub.write(two("a/#", false))
				pub.expectEnd(packet.TopicNameInvalid)
			} else {
				pub.write(two("t", false))
				answer := receive(t, asked)
				switch name {
				case "the client goes":
					pub.nc.Close()
				case "the host says so":
					answer(hook.Disconnect)
					pub.expectEnd(packet.AdministrativeAction)
				}
			}
			pub = connect(t, addr, "pub", keepSession)
			pub.write(two("t", true))
			receive(t, asked)(hook.Continue)
			for i, payload := range []string{"1", "2"} {
				sub.expectPublish("t", payload)
				pub.expectAck(packet.TypePubrec, uint16(i+1), packet.Success)
			}
		})
	}
}

// PUBREC leaves in the order of PUBLISH, be it new or not [MQTT-4.6.0-3].
func TestPubrecInOrderBehindHooks(t *testing.T) {
	b, addr := start(t)
	pub := connect(t, addr, "pub", keepSession)
	pub.publish("t", "2", 2, 2)
	pub.expectAck(packet.TypePubrec, 2, packet.NoMatchingSubscribers)
	b.Install(&fakeHost{publish: func(_ []*hook.PublishRequest, done func()) bool {
		go done()
		return false
	}}, hook.SetOf(hook.InterceptPublish))
	out, _ := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: []byte("t"), Payload: []byte("1"), QoS: 2, PacketID: 1})
	out, _ = packet.AppendPublish(out, packet.V5, &packet.PublishOut{Topic: []byte("t"), Payload: []byte("2"), QoS: 2, PacketID: 2, Dup: true})
	pub.write(out)
	pub.expectAck(packet.TypePubrec, 1, packet.NoMatchingSubscribers)
	pub.expectAck(packet.TypePubrec, 2, packet.Success)
}
