package router

import "slices"

// Subscriber is one session as the router sees it. The dynamic type must be comparable, in practice a pointer;
// the same session is always the same value. All methods may be called from any goroutine, at any time,
// also after the session has unsubscribed, and must not block or call back into the router.
type Subscriber interface {
	// Online reports whether the session has a connection now.
	Online() bool
	// Load is the number of unacknowledged and queued messages; the least_inflight strategy compares it.
	Load() int
	// Key is a number that stays the same for the life of the session, for hashing. Keys should be spread
	// over 64 bits and distinct, but two sessions with one key are only slower, never confused.
	Key() uint64
}

// Options are the Subscription Options of one Topic Filter (MQTT 5 §3.8.3.1) and its Subscription Identifier.
type Options struct {
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte   // for the session; the router does not use it
	ID                uint32 // Subscription Identifier, 0 for none
}

// Target is one delivery that a message causes. Either Sub or Group is set in what Match and Lookup return;
// both are set in what [Group.Pick] returns.
type Target struct {
	Sub Subscriber
	// IDs are the Subscription Identifiers of all matching subscriptions, nil for none; immutable.
	// Two subscriptions with the same identifier put it here twice (MQTT 5 §3.3.2.3.8).
	IDs []uint32
	// Group is a shared subscription; its receiver is picked per message with [Group.Pick].
	Group *Group
	// QoS is the highest granted by the matching subscriptions [MQTT-3.3.4-2]; 0 for a group.
	QoS byte
	// NoLocal is set if every matching subscription asked for it: one that did not must deliver.
	NoLocal bool
	// RetainAsPublished is set if any matching subscription asked for it.
	RetainAsPublished bool

	hash uint32 // of Sub.Key, kept here so that merging does not touch the sessions' memory
}

// Targets is a match result: immutable once returned, it may be kept and shared as long as wanted.
type Targets []Target

// newTarget returns the delivery that one ordinary subscription causes.
func newTarget(s Subscriber, o Options) Target {
	t := Target{
		Sub: s, QoS: o.QoS, NoLocal: o.NoLocal, RetainAsPublished: o.RetainAsPublished,
		hash: uint32(mix(s.Key())),
	}
	if o.ID != 0 {
		t.IDs = []uint32{o.ID}
	}
	return t
}

// equal tells whether two targets of the same session or group, each of one subscription, are the same delivery.
func (t *Target) equal(o *Target) bool {
	return t.QoS == o.QoS && t.NoLocal == o.NoLocal && t.RetainAsPublished == o.RetainAsPublished &&
		slices.Equal(t.IDs, o.IDs)
}

// absorb adds another matching subscription of the same session [MQTT-3.3.4-2..5].
func (t *Target) absorb(o *Target) {
	t.QoS = max(t.QoS, o.QoS)
	t.NoLocal = t.NoLocal && o.NoLocal
	t.RetainAsPublished = t.RetainAsPublished || o.RetainAsPublished
	switch {
	case len(o.IDs) == 0:
	case len(t.IDs) == 0:
		t.IDs = o.IDs
	default: // a fresh slice: t.IDs is shared with the subscription that it came from
		ids := make([]uint32, 0, len(t.IDs)+len(o.IDs))
		t.IDs = append(append(ids, t.IDs...), o.IDs...)
	}
}

// mix spreads the bits of x over the whole word (the finaliser of MurmurHash3), so that keys that
// are only counted up hash well too.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
