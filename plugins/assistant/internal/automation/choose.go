package automation

import (
	"container/list"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/plugins/internal/template"
)

// What becomes of a message, in the metric automation_messages.
const (
	answered  = "answered"
	unmet     = "condition"
	unsampled = "sampled_out"
	duplicate = "duplicate"
	tooOld    = "too_old"
	dead      = "dead_letter"
)

// chooser decides which messages are taken. It is for one goroutine.
type chooser struct {
	c    *Config
	seen *seen // nil: duplicates are taken
}

func newChooser(c *Config) *chooser {
	o := &chooser{c: c}
	if c.Duplicates != nil {
		o.seen = newSeen(c.Duplicates.For.Std())
	}
	return o
}

// choose says why a message is left out; "" if it is taken. A message that comes again is
// judged as before, but for its age.
func (o *chooser) choose(offset uint64, s *template.Source, now time.Time) string {
	m := s.Message
	switch {
	case m.ReceivedMs > 0 && now.Sub(time.UnixMilli(m.ReceivedMs)) > o.c.Window.Std()+o.c.MaxAge.Std():
		return tooOld
	case !o.met(s):
		return unmet
	case o.c.Sample < 1 && chance(offset) >= o.c.Sample:
		return unsampled
	case o.seen != nil && o.repeats(offset, s):
		return duplicate
	}
	return ""
}

// met reports whether all conditions are.
func (o *chooser) met(s *template.Source) bool {
	return !slices.ContainsFunc(o.c.When, func(c Condition) bool { return !c.met(s) })
}

func (c *Condition) met(s *template.Source) bool {
	text, err := c.Value.Text(s)
	switch {
	case err != nil:
		return false
	case len(c.Is) > 0 && !slices.Contains(c.Is, text), slices.Contains(c.IsNot, text):
		return false
	case c.Matches.Regexp != nil && !c.Matches.MatchString(text):
		return false
	case c.Min == nil && c.Max == nil:
		return true
	}
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	// Written so that what is not a number (NaN) is not between any two.
	return err == nil && (c.Min == nil || x >= *c.Min) && (c.Max == nil || x <= *c.Max)
}

// chance makes of an offset a number from 0 to 1, always the same, and evenly spread
// (splitmix64).
func chance(offset uint64) float64 {
	x := offset + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}

// repeats reports whether a message says what another one has said.
func (o *chooser) repeats(offset uint64, s *template.Source) bool {
	text, err := o.c.Duplicates.By.Text(s)
	if err != nil {
		return false // nothing else is known to say the same
	}
	namespace := s.Message.Namespace
	if namespace == "" {
		namespace = s.Client.Namespace
	}
	return o.seen.before(namespace+"\x00"+text, offset, s.Message.ReceivedMs)
}

// maxSeen bounds what is remembered of messages, about 150 bytes each.
const maxSeen = 50_000

// seen remembers which texts there were lately. What was there longest is forgotten
// first.
type seen struct {
	keep time.Duration
	seed maphash.Seed
	all  map[uint64]*list.Element // of *sighting
	age  *list.List               // the oldest in front
}

type sighting struct {
	hash, offset uint64
	ms           int64
}

func newSeen(keep time.Duration) *seen {
	return &seen{keep: keep, seed: maphash.MakeSeed(), all: map[uint64]*list.Element{}, age: list.New()}
}

// before reports whether a text was there before, in another message and not long ago.
// Else it is remembered as this one's.
func (s *seen) before(text string, offset uint64, ms int64) bool {
	h := maphash.String(s.seed, text)
	if e := s.all[h]; e != nil {
		x := e.Value.(*sighting)
		if ms-x.ms < s.keep.Milliseconds() {
			return x.offset != offset
		}
		s.forget(e)
	}
	s.all[h] = s.age.PushBack(&sighting{h, offset, ms})
	if s.age.Len() > maxSeen {
		s.forget(s.age.Front())
	}
	return false
}

func (s *seen) forget(e *list.Element) {
	delete(s.all, e.Value.(*sighting).hash)
	s.age.Remove(e)
}
