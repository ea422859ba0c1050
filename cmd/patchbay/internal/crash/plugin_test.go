package crash

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// prepareHosting prepares a broker with the recorder.
func prepareHosting(t testing.TB, binary, fault string, env ...string) *hosting {
	t.Helper()
	h, err := newHosting(binary, builds.recorder(t), folder(t), fault, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h
}

// TestPluginGate: what a gate holds back is not acknowledged before the plugin has it,
// whoever dies.
func TestPluginGate(t *testing.T) {
	seed := chooseSeed()
	r := newGateRun(prepareHosting(t, builds.binary(t, ""), ""), seed)
	defer r.close()
	demandPlugin(t, r, r.execute(kills(12)), seed)
}

// TestPluginConsumer: what was acknowledged a consumer gets, in order, whoever dies.
func TestPluginConsumer(t *testing.T) {
	seed := chooseSeed()
	r := newConsumerRun(prepareHosting(t, builds.binary(t, ""), ""), seed)
	defer r.close()
	demandPlugin(t, r, r.execute(kills(12)), seed)
}

// TestPluginGateHarnessCatches: a gate that does not hold is caught, be it the plugin's
// fault or the broker's.
func TestPluginGateHarnessCatches(t *testing.T) {
	t.Run("plugin answers early", func(t *testing.T) {
		seed := chooseSeed()
		r := newGateRun(prepareHosting(t, builds.binary(t, ""), "early"), seed)
		defer r.close()
		caught(t, r.run, r.execute(20), seed)
	})
	t.Run("broker answers early", func(t *testing.T) {
		seed := chooseSeed()
		r := newGateRun(prepareHosting(t, builds.binary(t, "patchbay_faults"), "", "BROKER_FAULT=ack-before-gate"), seed)
		defer r.close()
		caught(t, r.run, r.execute(20), seed)
	})
}

// TestPluginConsumerHarnessCatches: messages that a consumer does not get are missed,
// whoever has lost them.
func TestPluginConsumerHarnessCatches(t *testing.T) {
	t.Run("plugin answers early", func(t *testing.T) {
		seed := chooseSeed()
		r := newConsumerRun(prepareHosting(t, builds.binary(t, ""), "early"), seed)
		defer r.close()
		r.stalled = 2 * time.Second // what is lost is not worth to be awaited for longer
		caught(t, r.run, r.execute(20), seed)
	})
	t.Run("broker answers early", func(t *testing.T) {
		seed := chooseSeed()
		r := newConsumerRun(prepareHosting(t, builds.binary(t, "patchbay_faults"), "", "BROKER_FAULT=ack-before-commit"), seed)
		defer r.close()
		caught(t, r.run, r.execute(60), seed)
	})
}

// TestPluginBacklog: operators see what waits for a consumer, to the message, also
// while it is dead or disabled, and that it is gone in the end.
func TestPluginBacklog(t *testing.T) {
	h := prepareHosting(t, builds.binary(t, ""), "")
	r := newConsumerRun(h, chooseSeed())
	defer r.close()
	if err := r.backlog(t); err != nil {
		t.Fatalf("%v\n%s", err, r.ledger.report(maxViolations))
	}
}

// demandPlugin is demand for a run with the recorder.
func demandPlugin(t *testing.T, r *pluginRun, err error, seed uint64) {
	t.Helper()
	c, q := r.ledger.summary(), r.inquest.summary()
	q.Starts = r.hosting.door.count()
	t.Logf("%d kills, %.1f s: %+v %+v", r.kills, time.Since(r.ledger.start).Seconds(), c, q)
	again := fmt.Sprintf("-crash.kills %d -crash.seed %d", r.most, seed)
	consumes := r.inquest.queue != nil
	switch {
	case errors.Is(err, errViolated):
		t.Errorf("violations after %d kills (%s); data folder and log are in %s\n%s", r.kills, again, r.program.remains(), r.ledger.report(maxViolations))
	case err != nil:
		t.Errorf("after %d kills (%s), in %s: %v", r.kills, again, r.program.remains(), err)
	case c.Acknowledged == 0 || q.PluginKills == 0 || q.BrokerKills == 0 || q.Recorded == 0 || consumes && q.Letters == 0:
		t.Errorf("the run has seen too little to show anything")
	case r.kills >= 50 && (c.Republished == 0 || c.PubrelResent == 0 || q.RecordedAgain == 0 || !consumes && c.Refused == 0):
		t.Errorf("in %d kills, something that has to happen never did", r.kills)
	}
}
