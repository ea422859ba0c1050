package pluginhost

import (
	"slices"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/core/access"
	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/topic"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// hooked is one hook of one generation of a plugin, ready to be asked. It is
// immutable but for its statistics.
type hooked struct {
	plugin     *plugin
	gen        *generation
	point      pluginv1.Point
	filters    []string // nil: all topics
	minQoS     byte
	fields     pluginv1.Field
	maxBatch   int
	maxDelay   time.Duration
	deadline   time.Duration
	failure    pluginv1.FailurePolicy // never the default one
	namespaces []string               // nil: all
	// onlyRefuses says, at PointAuthenticate, that it does not count as one that decides who
	// may connect.
	onlyRefuses bool
	stats       *hookStats
}

// decides reports whether some hook of PointAuthenticate can let clients in.
func decides(hooks []*hooked) bool {
	return slices.ContainsFunc(hooks, func(k *hooked) bool { return !k.onlyRefuses })
}

// sees reports whether the hook is about a message of that topic and QoS.
func (k *hooked) sees(namespace, name string, qos byte) bool {
	if qos < k.minQoS || !k.inNamespace(namespace) {
		return false
	}
	if k.filters == nil {
		return true
	}
	for _, f := range k.filters {
		if topic.Match(f, name) {
			return true
		}
	}
	return false
}

// seesFilter is sees for a Topic Filter of a subscription: it is enough that some
// topic could match both.
func (k *hooked) seesFilter(namespace, filter string, qos byte) bool {
	if qos < k.minQoS || !k.inNamespace(namespace) {
		return false
	}
	return k.filters == nil || slices.ContainsFunc(k.filters, func(f string) bool { return access.Overlaps(f, filter) })
}

func (k *hooked) inNamespace(n string) bool {
	return k.namespaces == nil || slices.Contains(k.namespaces, n)
}

// hookPoints pairs the contract's points with the broker's.
var hookPoints = map[pluginv1.Point]hook.Point{
	pluginv1.PointAuthenticate:         hook.Authenticate,
	pluginv1.PointAuthorizePublish:     hook.AuthorizePublish,
	pluginv1.PointAuthorizeSubscribe:   hook.AuthorizeSubscribe,
	pluginv1.PointAuthorizeReceive:     hook.AuthorizeReceive,
	pluginv1.PointInterceptPublish:     hook.InterceptPublish,
	pluginv1.PointInterceptSubscribe:   hook.InterceptSubscribe,
	pluginv1.PointInterceptUnsubscribe: hook.InterceptUnsubscribe,
	pluginv1.PointInterceptWill:        hook.InterceptWill,
	pluginv1.PointInterceptDeliver:     hook.InterceptDeliver,
	pluginv1.PointGatePublish:          hook.GatePublish,
	pluginv1.PointConnected:            hook.Connected,
	pluginv1.PointDisconnected:         hook.Disconnected,
	pluginv1.PointAuthFailed:           hook.AuthFailed,
	pluginv1.PointSessionCreated:       hook.SessionCreated,
	pluginv1.PointSessionResumed:       hook.SessionResumed,
	pluginv1.PointSessionTakenOver:     hook.SessionTakenOver,
	pluginv1.PointSessionExpired:       hook.SessionExpired,
	pluginv1.PointSubscribed:           hook.Subscribed,
	pluginv1.PointUnsubscribed:         hook.Unsubscribed,
	pluginv1.PointPublished:            hook.Published,
	pluginv1.PointDelivered:            hook.Delivered,
	pluginv1.PointAcknowledged:         hook.Acknowledged,
	pluginv1.PointDropped:              hook.Dropped,
	pluginv1.PointDeadLettered:         hook.DeadLettered,
	pluginv1.PointRetainedSet:          hook.RetainedSet,
	pluginv1.PointRetainedCleared:      hook.RetainedCleared,
	pluginv1.PointWillPublished:        hook.WillPublished,
	pluginv1.PointBrokerStarted:        hook.BrokerStarted,
	pluginv1.PointBrokerStopping:       hook.BrokerStopping,
	pluginv1.PointPluginStateChanged:   hook.PluginStateChanged,
	pluginv1.PointLimitReached:         hook.LimitReached,
	pluginv1.PointTick:                 hook.Tick,
}

// pointName is how a point is written in the broker's config and in tables:
// "intercept_publish".
func pointName(p pluginv1.Point) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), "POINT_"))
}

// compile makes hooks of what a plugin wants and what its operator wants
// otherwise. The manifest has been checked.
func compile(g *generation, wanted []pluginv1.Hook, spec *Spec) []*hooked {
	var list []*hooked
	for i := range wanted {
		w := &wanted[i]
		if _, known := hookPoints[w.Point]; !known && w.Point != pluginv1.PointPermit {
			continue // of a later contract: nothing that this host could tell
		}
		over := spec.Hooks[w.Point]
		if over.Off {
			continue
		}
		k := &hooked{
			plugin: g.plugin, gen: g, point: w.Point, filters: w.TopicFilters, minQoS: byte(w.MinQoS), fields: pluginv1.Field(w.Fields),
			maxBatch: int(w.MaxBatch), maxDelay: time.Duration(w.MaxDelayMs) * time.Millisecond,
			deadline: time.Duration(w.DeadlineMs) * time.Millisecond, failure: w.Failure,
			onlyRefuses: w.OnlyRefuses, stats: g.plugin.statsOf(w.Point),
		}
		k.defaults()
		if over.Deadline > 0 && over.Deadline < k.deadline {
			k.deadline = over.Deadline
		}
		if over.Failure != pluginv1.FailurePolicyDefault {
			k.failure = over.Failure
		}
		k.namespaces = within(spec.Namespaces, w.Namespaces)
		list = append(list, k)
	}
	return list
}

// defaults fills in what the manifest has left to the contract.
func (k *hooked) defaults() {
	decides := k.point.Mode() != pluginv1.Observation
	if k.maxBatch == 0 {
		k.maxBatch = 256
		if decides {
			k.maxBatch = 64
		}
	}
	if k.maxDelay == 0 {
		k.maxDelay = 2 * time.Millisecond
	}
	if k.deadline == 0 {
		k.deadline = 50 * time.Millisecond
		switch k.point {
		case pluginv1.PointAuthenticate, pluginv1.PointPermit, pluginv1.PointGatePublish:
			k.deadline = 5 * time.Second
		}
	}
	if k.failure == pluginv1.FailurePolicyDefault {
		k.failure = pluginv1.FailurePolicyContinue
		switch k.point {
		case pluginv1.PointAuthenticate, pluginv1.PointPermit, pluginv1.PointAuthorizePublish,
			pluginv1.PointAuthorizeSubscribe, pluginv1.PointAuthorizeReceive, pluginv1.PointGatePublish:
			k.failure = pluginv1.FailurePolicyDeny
		}
	}
}

// within restricts what a plugin wants to what its operator gives; nil is all.
func within(given, wanted []string) []string {
	switch {
	case len(given) == 0 && len(wanted) == 0:
		return nil
	case len(given) == 0:
		return wanted
	case len(wanted) == 0:
		return given
	}
	both := []string{}
	for _, n := range wanted {
		if slices.Contains(given, n) {
			both = append(both, n)
		}
	}
	return both
}

// filterOf is a Topic Filter without `$share/NAME/`.
func filterOf(filter string) string {
	if f, err := topic.ParseFilter(filter); err == nil {
		return f.Filter
	}
	return filter
}
