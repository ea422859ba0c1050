package crash

import (
	"errors"
	"testing"
)

// faults are the brokers that a run has to see through: the value of
// BROKER_FAULT for a program that is built with the tag patchbay_faults, and
// within how many kills.
var faults = []struct {
	name  string
	kills int
}{
	{"ack-before-commit", 60},
}

// TestCrashHarnessCatchesFaults: a broker that acknowledges too early is caught.
func TestCrashHarnessCatchesFaults(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			seed := chooseSeed()
			r := prepare(t, builds.binary(t, "patchbay_faults"), "store: disk\nsync: always", seed, "BROKER_FAULT="+fault.name)
			caught(t, r, r.execute(fault.kills), seed)
		})
	}
}

// TestCrashHarnessCatchesForgetting: a broker that keeps nothing is caught with
// the first kill.
func TestCrashHarnessCatchesForgetting(t *testing.T) {
	seed := chooseSeed()
	r := prepare(t, builds.binary(t, ""), "store: memory", seed)
	caught(t, r, r.execute(2), seed)
}

func caught(t *testing.T, r *run, err error, seed uint64) {
	t.Helper()
	if !errors.Is(err, errViolated) {
		t.Fatalf("seed %d: not caught in %d kills: %v; %+v", seed, r.kills, err, r.ledger.summary())
	}
	t.Logf("seed %d: caught after %d kills, %d violations, the first:\n%s", seed, r.kills, len(r.ledger.broken()), r.ledger.digest(20))
}

// TestCrashWithoutCrash: the same without a kill has nothing to report, whatever
// the store, as long as the process lives.
func TestCrashWithoutCrash(t *testing.T) {
	seed := chooseSeed()
	r := prepare(t, builds.binary(t, ""), "store: memory", seed)
	if err := r.lastLife(maxLife); err != nil {
		t.Fatalf("seed %d: %v\n%s", seed, err, r.ledger.report(maxViolations))
	}
	t.Logf("%+v", r.ledger.summary())
}
