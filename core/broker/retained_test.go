package broker

import (
	"testing"

	"github.com/patchbay-mq/patchbay/core/hook"
)

// A message that is retained while somebody subscribes is not missed between the one and
// the other: who subscribes when it is kept already, and so may have looked for it before,
// is among its receivers.
func TestSubscribeWhileRetaining(t *testing.T) {
	b, _ := start(t)
	var received []string
	b.Install(&fakeHost{observe: func(*hook.Event) {
		cancel, err := b.Subscribe("r", func(m Message) { received = append(received, string(m.Payload)) })
		if err != nil {
			t.Error(err)
		}
		t.Cleanup(cancel)
	}}, hook.SetOf(hook.RetainedSet))
	m := text("r", "x", 1)
	m.Retain = true
	publishFor(t, b, "", m)
	if len(received) != 1 || received[0] != "x" {
		t.Errorf("received %q, want x", received)
	}
}
