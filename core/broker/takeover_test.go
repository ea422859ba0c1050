package broker

import (
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// Nothing that a client sent on its old connection takes effect after what it sends
// on the new one.
func TestTakeoverWaitsForTheOldConnection(t *testing.T) {
	// An executor of its own, which can be held up without holding up others.
	b, addr := start(t, func(o *Options) { o.Driver = transport.Blocking() })
	busy, release := make(chan bool), make(chan bool)
	cancel, err := b.Subscribe("slow", func(Message) {
		busy <- true
		<-release
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	defer func() {
		select {
		case <-release:
		default:
			close(release)
		}
	}()
	old := connect(t, addr, "c")
	old.publish("slow", "1", 0, 0)
	<-busy // the old connection is in the middle of its message
	next := dial(t, addr)
	next.sendConnect("c")
	eventually(t, "the takeover to begin", func() bool { return b.stats.TakenOver.Load() == 1 })
	next.nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, _ := next.nc.Read(make([]byte, 1)); n != 0 {
		t.Error("CONNACK came while the old connection was at work")
	}
	close(release)
	next.expectConnack(packet.Success)
	old.expectEnd(packet.SessionTakenOver)
}

// A client that comes while another one of its Client Identifier is attaching finds that
// one by its session, which it does not know itself yet.
func TestTakeoverOfOneThatIsAttaching(t *testing.T) {
	b, addr := start(t)
	old := connect(t, addr, "c")
	first, _ := b.root.connection("c")
	first.attached.Store(false) // as in that moment
	told := make(chan string, 1)
	b.Install(&fakeHost{observe: func(e *hook.Event) {
		first.attached.Store(true)
		told <- e.Client.ID
	}}, hook.SetOf(hook.SessionTakenOver))
	connect(t, addr, "c")
	if id := <-told; id != "c" {
		t.Errorf("the session of %q was taken over", id)
	}
	old.expectEnd(packet.SessionTakenOver)
}
