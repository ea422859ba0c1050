package router

import "fmt"

// Strategy says which member of a shared group receives a message.
type Strategy byte

const (
	// RoundRobin takes the online members in turn.
	RoundRobin Strategy = iota
	// Random takes any online member with equal probability.
	Random
	// LeastInflight takes the online member with the smallest Load; equal ones take turns. Groups of more than
	// 128 members are sampled.
	LeastInflight
	// Sticky keeps a publisher with its member while that is online.
	Sticky
	// HashClient gives all messages of one publisher to the same member while the members stay the same.
	// Joining and leaving moves only the publishers that have to move.
	HashClient
	// HashTopic does the same for all messages of one topic.
	HashTopic
)

var strategyNames = [...]string{
	RoundRobin:    "round_robin",
	Random:        "random",
	LeastInflight: "least_inflight",
	Sticky:        "sticky",
	HashClient:    "hash_client",
	HashTopic:     "hash_topic",
}

// ParseStrategy returns the strategy of that name, as configuration spells it.
func ParseStrategy(name string) (Strategy, error) {
	for s, n := range strategyNames {
		if n == name {
			return Strategy(s), nil
		}
	}
	return 0, fmt.Errorf("unknown shared subscription strategy %q: want one of %v", name, strategyNames)
}

// String returns the name that [ParseStrategy] takes.
func (s Strategy) String() string {
	if int(s) < len(strategyNames) {
		return strategyNames[s]
	}
	return fmt.Sprintf("Strategy(%d)", byte(s))
}
