package disk

import (
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

// Problem is something that Check found.
type Problem struct {
	// Record names the record, What says what is wrong with it.
	Record, What string
}

// Summary is what Check counted.
type Summary struct {
	Sessions, Subscriptions, Received     int64
	Waiting, Inflight, Released           int64
	Shared, Retained, Values              int64
	Ended                                 int64 // sessions whose messages are still being removed
	Quarantined                           int64
	Problems                              int64
	WaitingBytes, SharedBytes, ValueBytes int64
}

// Check reads everything, decodes it, and compares what refers to each other.
// report is called for each problem. The memory that it takes is in proportion to
// the number of messages that several sessions share.
func (v *View) Check(report func(Problem)) (Summary, error) {
	if err := v.gate.enter(); err != nil {
		return Summary{}, err
	}
	defer v.gate.leave()
	c := &checker{view: v, refs: make(map[uint64]int64), ended: make(map[uint64]bool)}
	c.damage.report = func(p Problem) {
		c.Problems++
		report(p)
	}
	for _, step := range []func() error{c.checkEnded, c.checkSessions, c.checkMessages, c.checkShared, c.checkNamed, c.checkQuarantine} {
		if err := step(); err != nil {
			return c.Summary, err
		}
	}
	return c.Summary, nil
}

type checker struct {
	Summary
	view   *View
	damage damage
	refs   map[uint64]int64 // contents that refer to a shared message
	ended  map[uint64]bool
}

func (c *checker) problem(key []byte, what string, args ...any) {
	c.damage.report(Problem{Record: describe(key), What: fmt.Sprintf(what, args...)})
}

// each calls fn for all records of a keyspace; an error of fn is a problem of
// that record.
func (c *checker) each(space byte, fn func(key, value []byte) error) error {
	lower, upper := format.Span(space)
	cur := c.view.cursor(&c.damage, lower, upper)
	for cur.next() {
		if err := fn(cur.key(), cur.value); err != nil {
			c.problem(cur.key(), "%v", err)
		}
	}
	return cur.close()
}

func (c *checker) checkEnded() error {
	return c.each(format.Ended, func(key, value []byte) error {
		c.Ended++
		session, ok := format.SplitNumberKey(key)
		if !ok {
			return errKey
		}
		c.ended[session] = true
		_, err := format.DecodeText(key, value)
		return err
	})
}

func (c *checker) checkSessions() error {
	var with uint64 // the session whose record was seen last
	return c.each(format.Sessions, func(key, value []byte) error {
		session, kind, _, ok := format.SplitSessionKey(key)
		if !ok {
			return errKey
		}
		if kind != format.KindRecord && session != with && !c.ended[session] {
			return errors.New("belongs to no session")
		}
		switch kind {
		case format.KindRecord:
			c.Sessions++
			with = session
			r, err := format.DecodeRecord(key, value)
			if err == nil && r.Will != nil {
				r.Will.Message.Unref()
			}
			return err
		case format.KindSubscription:
			c.Subscriptions++
			_, err := format.DecodeSubscription(key, value)
			return err
		default:
			c.Received++
			return format.DecodeMark(key, value)
		}
	})
}

// checkMessages goes over contents, index and sessions side by side: all are
// sorted by session.
func (c *checker) checkMessages() error {
	lower, upper := format.Span(format.Index)
	index := c.view.cursor(&c.damage, lower, upper)
	lower, upper = format.Span(format.Sessions)
	sessions := c.view.cursor(&c.damage, lower, upper)
	moreIndex, moreSessions := index.next(), sessions.next()
	type sent struct {
		key  []byte
		seen bool
	}
	flight := make(map[uint64]*sent)
	var at uint64
	begun, known := false, false
	leave := func() {
		for _, s := range flight {
			if !s.seen {
				c.problem(s.key, "its message is missing")
			}
		}
		clear(flight)
	}
	// enter reads the index up to a session, and finds out whether that exists.
	enter := func(session uint64) {
		leave()
		at, begun = session, true
		for ; moreIndex; moreIndex = index.next() {
			of, _, ok := format.SplitPairKey(index.key())
			if of > session {
				break
			}
			pos, released, err := format.DecodeIndex(index.key(), index.value)
			switch {
			case !ok || err != nil:
				c.problem(index.key(), "%v", errors.Join(err))
			case released:
				c.Released++
			case of < session:
				c.problem(index.key(), "its message is missing")
			default:
				flight[pos] = &sent{key: append([]byte(nil), index.key()...)}
			}
		}
		known = c.ended[session]
		for ; moreSessions; moreSessions = sessions.next() {
			of, kind, _, _ := format.SplitSessionKey(sessions.key())
			if of > session {
				break
			}
			known = known || of == session && kind == format.KindRecord
		}
	}
	var content format.Content
	err := c.each(format.Contents, func(key, value []byte) error {
		session, pos, ok := format.SplitPairKey(key)
		if !ok {
			return errKey
		}
		if !begun || session != at {
			enter(session)
		}
		if s := flight[pos]; s != nil {
			s.seen = true
			c.Inflight++
		} else {
			c.Waiting++
		}
		if err := format.DecodeContent(key, value, &content, nil); err != nil {
			return err
		}
		if content.Shared != 0 {
			c.refs[content.Shared]++
		} else if err := format.DecodeBody(content.Body, new(packet.Message), nil); err != nil {
			return err
		}
		if flight[pos] == nil {
			c.WaitingBytes += int64(content.Size)
			if content.Direct {
				return errors.New("was in flight, but nothing says so: it is never sent again")
			}
		}
		if !known {
			return errors.New("belongs to no session")
		}
		return nil
	})
	enter(1<<64 - 1)
	leave()
	return errors.Join(err, index.close(), sessions.close())
}

func (c *checker) checkShared() error {
	err := c.each(format.Shared, func(key, value []byte) error {
		id, ok := format.SplitNumberKey(key)
		if !ok {
			return errKey
		}
		refs := c.refs[id]
		delete(c.refs, id)
		count, body, err := format.DecodeShared(key, value)
		if err != nil || count <= 0 && refs == 0 {
			return err // without references it only waits to be removed
		}
		c.Shared++
		c.SharedBytes += int64(len(body))
		if count != refs {
			return fmt.Errorf("counts %d references, there are %d", count, refs)
		}
		return format.DecodeBody(body, new(packet.Message), nil)
	})
	for id, n := range c.refs {
		c.problem(format.AppendNumberKey(nil, format.Shared, id), "is missing; %d messages of sessions refer to it", n)
	}
	return err
}

func (c *checker) checkNamed() error {
	err := c.each(format.Retained, func(key, value []byte) error {
		c.Retained++
		if _, _, ok := format.SplitNamedKey(key); !ok {
			return errKey
		}
		return format.DecodeRetained(key, value, new(packet.Message), nil)
	})
	return errors.Join(err, c.each(format.Values, func(key, value []byte) error {
		c.Values++
		if _, _, ok := format.SplitNamedKey(key); !ok {
			return errKey
		}
		v, _, _, err := format.DecodeValue(key, value)
		c.ValueBytes += int64(len(v))
		return err
	}))
}

func (c *checker) checkQuarantine() error {
	return c.each(format.Quarantine, func(key, value []byte) error {
		c.Quarantined++
		when, original, ok := format.SplitQuarantineKey(key)
		if !ok {
			return errKey
		}
		why, _, err := format.DecodeQuarantined(key, value)
		if err != nil {
			return err
		}
		c.problem(original, "in quarantine since %s: %s", time.UnixMilli(when).UTC().Format(time.RFC3339), why)
		return nil
	})
}
