//go:build patchbay_faults

package broker

import "os"

// ackBeforeCommit makes the broker acknowledge before the Store has what it
// acknowledges. It exists in binaries built for the test that shows that the
// crash harness would notice.
var ackBeforeCommit = os.Getenv("BROKER_FAULT") == "ack-before-commit"

// ackBeforeGate makes it acknowledge before a gate has let pass what it acknowledges.
var ackBeforeGate = os.Getenv("BROKER_FAULT") == "ack-before-gate"
