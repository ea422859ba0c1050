package crash

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// role describes a subscriber.
type role struct {
	version        packet.Version
	qos            byte
	filters        []string
	toggles        []string // subscribed to now and then
	shared         bool     // a member of the shared subscription
	slow, cuts     bool
	leaves         bool
	renews         bool // begins a new session now and then; not for a member
	absent         int  // misses one life of the broker in so many, 0 none
	receiveMaximum uint16
}

// roles are the subscribers of a run. Topics are live/P/…, state/P/… (retained)
// and shared/P for publisher P, and keep/P/… (retained), which nobody but the
// check of retained messages looks at. Each topic of live goes to several of
// them, and some have overlapping subscriptions.
var roles = []role{
	{version: packet.V5, qos: 2, filters: []string{"live/#", "state/#"}},
	{version: packet.V311, qos: 2, filters: []string{"live/+/two", "state/#"}, slow: true},
	{version: packet.V5, qos: 2, filters: []string{"live/0/#", "live/1/#", "live/+/both"}, slow: true, receiveMaximum: 3},
	{version: packet.V311, qos: 1, filters: []string{"live/#"}, cuts: true, slow: true},
	{version: packet.V5, qos: 2, filters: []string{"live/#"}, cuts: true, slow: true, receiveMaximum: 20},
	{version: packet.V5, qos: 1, filters: []string{"live/+/one", "+/+/both"}, leaves: true, receiveMaximum: 1},
	{version: packet.V5, qos: 2, filters: []string{"live/#"}, absent: 2},
	{version: packet.V311, qos: 2, filters: []string{"live/#", "state/#"}, absent: 2, cuts: true},
	{version: packet.V311, qos: 1, filters: []string{"live/0/+", "state/+/one"}, absent: 2, leaves: true},
	{version: packet.V5, qos: 2, filters: []string{"live/0/#"}, toggles: []string{"live/2/#", "live/+/two", "state/1/#"}, leaves: true, slow: true},
	{version: packet.V311, qos: 1, filters: []string{"live/3/#"}, toggles: []string{"live/+/one", "state/#"}},
	{version: packet.V5, qos: 2, filters: []string{"live/4/#"}, shared: true, absent: 3},
	{version: packet.V311, qos: 2, shared: true, cuts: true},
	{version: packet.V5, qos: 2, filters: []string{"live/#", "state/+/two"}, slow: true, cuts: true, renews: true},
	{version: packet.V5, qos: 2, filters: []string{"live/+/two"}, toggles: []string{"live/1/#"}, leaves: true, renews: true},
}

// publishers are those of a run, like roles its subscribers.
var publishers = []struct {
	version                             packet.Version
	clean, givesUp, leaves, lazyRelease bool
}{
	{version: packet.V5},
	{version: packet.V311},
	{version: packet.V5, leaves: true, lazyRelease: true},
	{version: packet.V311, clean: true, givesUp: true, lazyRelease: true},
	{version: packet.V5, clean: true, leaves: true},
}

// cast is who takes part in a run.
type cast struct {
	publishers  []*publisher
	subscribers []*subscriber
	group       *account   // nil: there is no shared subscription
	guests      []*account // those of a plugin
	mourner     *mourner   // nil: there are no dead letters
}

func newCast(l *ledger, seed uint64) *cast {
	c := &cast{group: l.account("the shared subscription", 2, false)}
	// Publishers come first: their number is in the topics.
	for i, role := range publishers {
		p := &publisher{
			client:  client{l: l, who: l.enter(fmt.Sprintf("pub%d", i), fmt.Sprintf("MQTT %v, clean %t", role.version, role.clean)), version: role.version, clean: role.clean, rng: rand.New(rand.NewPCG(seed, uint64(i)))},
			givesUp: role.givesUp, leaves: role.leaves, lazyRelease: role.lazyRelease,
		}
		p.topics = topicsOf(p.who)
		c.publishers = append(c.publishers, p)
	}
	for i, r := range roles {
		c.subscribers = append(c.subscribers, newSubscriber(l, fmt.Sprintf("sub%d", i), r, c.group, rand.New(rand.NewPCG(seed, uint64(100+i)))))
	}
	return c
}

// topicsOf are the topics of a publisher: no topic has two, so that the order of
// retained messages is known.
func topicsOf(who actor) []publisherTopic {
	streams := func(name string, qos ...byte) (list []*stream) {
		for _, q := range qos {
			list = append(list, &stream{publisher: who, topic: name, qos: q})
		}
		return list
	}
	name := func(first, last string) string { return fmt.Sprintf("%s/%d/%s", first, who, last) }
	return []publisherTopic{
		{streams: streams(name("live", "one"), 1)},
		{streams: streams(name("live", "two"), 2)},
		{streams: streams(name("live", "both"), 1, 2)},
		{streams: streams(name("state", "one"), 1), retain: true},
		{streams: streams(name("state", "two"), 2), retain: true},
		{streams: streams(name("keep", "one"), 1), retain: true, clears: true},
		{streams: streams(name("keep", "two"), 2), retain: true, clears: true},
		{streams: streams(fmt.Sprint(sharedTopics, who), 1, 2)},
	}
}

func newSubscriber(l *ledger, name string, r role, group *account, rng *rand.Rand) *subscriber {
	s := &subscriber{
		client:  client{l: l, who: l.enter(name, r.String()), version: r.version, receiveMaximum: r.receiveMaximum, rng: rng},
		account: l.account(name, r.qos, true),
		slow:    r.slow, cuts: r.cuts, leaves: r.leaves, renews: r.renews, absent: r.absent,
		received: map[uint16]*incoming{}, released: map[uint16]int{},
	}
	for _, f := range r.filters {
		s.wish(s.account, f, "", false)
	}
	for _, f := range r.toggles {
		s.wish(s.account, f, "", true)
	}
	if r.shared {
		s.group = group
		s.wish(group, sharedTopics+"#", "$share/group/", false)
	}
	return s
}

// wish adds a Topic Filter; MQTT 5 ones get a Subscription Identifier.
func (s *subscriber) wish(a *account, filter, prefix string, toggles bool) {
	w := &wish{account: a, filter: filter, wire: prefix + filter, toggles: toggles}
	if s.version == packet.V5 {
		// One of one byte, and others of two.
		w.id = uint32(1 + 150*len(s.wishes))
	}
	s.wishes = append(s.wishes, w)
}

// String describes a role in reports.
func (r role) String() string {
	filters := append(slices.Clone(r.filters), r.toggles...)
	if r.shared {
		filters = append(filters, "$share")
	}
	return fmt.Sprintf("MQTT %v, QoS %d, %s", r.version, r.qos, strings.Join(filters, " "))
}
