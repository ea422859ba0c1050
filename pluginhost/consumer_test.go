package pluginhost

import (
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// A consumer is not lent an instance that has ended, even before anybody has noted
// that: each attempt on it would count.
func TestConsumerIsNotLentWhatHasEnded(t *testing.T) {
	h, _ := newTestHost(t)
	defer closeHost(t, h)
	inst := newFake(nil)
	p := serve(t, h, "sink", inst, false, new(pluginv1.Manifest))
	g := p.gen.Load()
	if _, release, ok := p.pin(); !ok {
		t.Fatal("an instance that runs is not lent")
	} else {
		release()
	}
	p.life.Lock() // the watcher cannot get through
	close(inst.exited)
	_, _, ok := p.pin()
	same := p.gen.Load() == g
	p.life.Unlock()
	if ok || !same {
		t.Errorf("lent: %t; the instance is still the plugin's: %t", ok, same)
	}
}
