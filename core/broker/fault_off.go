//go:build !patchbay_faults

package broker

// ackBeforeCommit would be a broken promise; see fault_on.go.
const ackBeforeCommit = false

// ackBeforeGate would be another; see fault_on.go.
const ackBeforeGate = false
