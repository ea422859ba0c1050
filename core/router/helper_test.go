package router

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// session is a Subscriber whose state the test sets.
type session struct {
	id      uint64
	offline atomic.Bool
	load    atomic.Int64
}

func (s *session) Online() bool { return !s.offline.Load() }
func (s *session) Load() int    { return int(s.load.Load()) }
func (s *session) Key() uint64  { return s.id }

func sessions(n int) []*session {
	list := make([]*session, n)
	for i := range list {
		list[i] = &session{id: uint64(i + 1)}
	}
	return list
}

// naiveMatch is the matching rule of MQTT 5 §4.7, written as the specification says it.
func naiveMatch(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(t):
			return false
		case level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}

// model is the naive router.
type model map[modelKey]Options

type modelKey struct {
	s             *session
	group, filter string
}

// match says what a Router must return for the topic, in the form of describe.
func (m model) match(topic string) []string {
	bySession := map[*session]*Target{}
	groups := map[string]bool{}
	for k, o := range m {
		if !naiveMatch(k.filter, topic) {
			continue
		}
		if k.group != "" {
			groups["group "+k.group+" "+k.filter] = true
			continue
		}
		t := bySession[k.s]
		if t == nil {
			t = &Target{Sub: k.s, NoLocal: true}
			bySession[k.s] = t
		}
		t.QoS = max(t.QoS, o.QoS)
		t.NoLocal = t.NoLocal && o.NoLocal
		t.RetainAsPublished = t.RetainAsPublished || o.RetainAsPublished
		if o.ID != 0 {
			t.IDs = append(t.IDs, o.ID)
		}
	}
	var lines []string
	for g := range groups {
		lines = append(lines, g)
	}
	for _, t := range bySession {
		lines = append(lines, describeOne(t))
	}
	slices.Sort(lines)
	return lines
}

// describe makes a result comparable: one line per target, sorted.
func describe(list Targets) []string {
	var lines []string
	for i := range list {
		lines = append(lines, describeOne(&list[i]))
	}
	slices.Sort(lines)
	return lines
}

func describeOne(t *Target) string {
	if t.Group != nil {
		group, filter := t.Group.Name()
		return "group " + group + " " + filter
	}
	ids := slices.Sorted(slices.Values(t.IDs))
	return fmt.Sprintf("session %d qos %d no-local %v rap %v ids %v", t.Sub.Key(), t.QoS, t.NoLocal, t.RetainAsPublished, ids)
}

func mustMatch(t *testing.T, r *Router, topic string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := describe(r.Match([]byte(topic), nil)); !slices.Equal(got, want) {
		t.Errorf("match %.40q:\n got %q\nwant %q", topic, got, want)
	}
}

func mustBeEmpty(t *testing.T, r *Router) {
	t.Helper()
	if got, want := r.Stats(), (Stats{Nodes: 1}); got != want {
		t.Errorf("stats of an empty router: got %+v, want %+v", got, want)
	}
}

// many is n, or a fifth of it where everything is slow.
func many(n int) int {
	if raceEnabled {
		return n / 5
	}
	return n
}
