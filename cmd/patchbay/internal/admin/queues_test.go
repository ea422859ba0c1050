package admin

import (
	"fmt"
	"testing"

	"github.com/patchbay-mq/patchbay/core/hook"
)

func TestQueueCommands(t *testing.T) {
	b, address := newBroker(t)
	s := start(t, b, nil)
	q, err := b.Plugins().OpenQueue(hook.QueueSpec{Owner: "bridge", Name: "out", Filters: []string{"plant/#"}}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, address, "c", false)
	done(t, c.Publish("plant/1", 1, false, "x"))
	wantContains(t, at(t, s, "plugin", "queue"), "bridge", "out", "true", "plant/#")
	refused := run(t, "", "plugin", "queue", "remove", "bridge", "out", "--socket", s.socket)
	if refused.code() != 1 {
		t.Errorf("an open queue was removed: %+v", refused)
	}
	wantContains(t, fmt.Sprint(refused.err), "patchbay plugin disable bridge")
	q.Close()
	list := jsonLines[queueLine](t, at(t, s, "plugin", "queue", "list", "--json"))
	if len(list) != 1 || list[0].Open || list[0].Messages != 1 {
		t.Errorf("%+v", list)
	}
	wantContains(t, at(t, s, "plugin", "queue", "remove", "bridge", "out"), "removed with 1 messages")
	if list := b.Plugins().Queues(); len(list) != 0 {
		t.Errorf("it is still there: %+v", list)
	}
	if r := run(t, "", "plugin", "queue", "remove", "bridge", "out", "--socket", s.socket); r.code() != 1 {
		t.Errorf("removed twice: %+v", r)
	}
}
