package pluginv1

// Mode is what a Point means for the course of things.
type Mode uint8

const (
	// Decision waits for a verdict before it goes on.
	Decision Mode = iota + 1
	// Gate holds an acknowledgement back.
	Gate
	// Observation waits for nothing.
	Observation
)

// Mode returns what p is, also for Points that were added after this package was
// written; 0 for what can be none.
func (p Point) Mode() Mode {
	switch {
	case p >= 1 && p <= 19:
		return Decision
	case p >= 20 && p <= 23:
		return Gate
	case p >= 24 && p <= 63:
		return Observation
	}
	return 0
}

// Permits reports whether a verdict at p may have the action. For observations only
// ActionContinue makes sense.
func (p Point) Permits(a Action) bool {
	return a >= 0 && a < 32 && permitted(p)&(1<<a) != 0
}

func permitted(p Point) uint32 {
	const (
		next       = 1 << ActionContinue
		allow      = 1 << ActionAllow
		deny       = 1 << ActionDeny
		replace    = 1 << ActionReplace
		drop       = 1 << ActionDrop
		disconnect = 1 << ActionDisconnect
		postpone   = 1 << ActionDefer
		challenge  = 1 << ActionChallenge
	)
	switch p {
	case PointAuthenticate:
		return next | allow | deny | challenge | disconnect | postpone
	case PointPermit:
		return next | allow | deny | postpone
	case PointAuthorizePublish, PointAuthorizeSubscribe:
		return next | allow | deny | disconnect | postpone
	case PointAuthorizeReceive:
		return next | allow | deny
	case PointInterceptPublish:
		return next | allow | deny | replace | drop | disconnect | postpone
	case PointInterceptSubscribe, PointInterceptUnsubscribe:
		return next | allow | deny | replace | disconnect | postpone
	case PointInterceptWill:
		return next | allow | replace | drop | postpone
	case PointInterceptDeliver:
		return next | allow | replace | drop
	case PointGatePublish:
		return next | allow | deny | postpone
	}
	if p.Mode() == Observation {
		return next
	}
	return 0
}
