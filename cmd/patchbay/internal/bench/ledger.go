package bench

import "slices"

// maxGaps bounds the gaps that are remembered per publisher, topic and subscriber
// (8 bytes each). Beyond it the oldest gap is given up: its messages stay lost, and
// one that comes all the same counts as a duplicate. Drops come in runs, so that
// bound is far away in practice; without it a broker that drops every other message
// would fill the generator's memory.
const maxGaps = 4096

// verdict is what a ledger says of one delivery.
type verdict byte

const (
	verdictInOrder   verdict = iota // the next one, or one after a gap
	verdictLate                     // fills a gap: delivered once, but out of order
	verdictDuplicate                // delivered before
)

// span is a range of sequence numbers, both ends included.
type span struct{ first, last uint32 }

// ledger is the account of what one subscriber got of one publisher on one topic.
// The zero value expects sequence number 1. It is not safe for concurrent use.
type ledger struct {
	high uint32  // the highest sequence number seen
	gaps *[]span // missing below high, ascending; nil until the first gap
}

// deliver enters the message seq. missed is the number of messages that it shows to
// be missing (they may still come late); they are no longer under way as far as a
// publisher's window is concerned.
func (l *ledger) deliver(seq uint32) (v verdict, missed uint32) {
	if seq > l.high {
		missed = seq - l.high - 1
		if missed > 0 {
			l.miss(span{l.high + 1, seq - 1})
		}
		l.high = seq
		return verdictInOrder, missed
	}
	if l.fill(seq) {
		return verdictLate, 0
	}
	return verdictDuplicate, 0
}

func (l *ledger) miss(s span) {
	if l.gaps == nil {
		l.gaps = new([]span)
	}
	if len(*l.gaps) >= maxGaps {
		*l.gaps = slices.Delete(*l.gaps, 0, 1)
	}
	*l.gaps = append(*l.gaps, s)
}

// fill takes seq out of the gaps and reports whether it was in one.
func (l *ledger) fill(seq uint32) bool {
	if l.gaps == nil {
		return false
	}
	gaps := *l.gaps
	i, _ := slices.BinarySearchFunc(gaps, seq, func(s span, seq uint32) int {
		if s.last < seq {
			return -1
		}
		return 1
	})
	if i == len(gaps) || seq < gaps[i].first {
		return false
	}
	switch s := gaps[i]; {
	case s.first == s.last:
		gaps = slices.Delete(gaps, i, i+1)
	case seq == s.first:
		gaps[i].first++
	case seq == s.last:
		gaps[i].last--
	default:
		gaps[i].first = seq + 1
		gaps = slices.Insert(gaps, i, span{s.first, seq - 1})
	}
	*l.gaps = gaps
	return true
}
