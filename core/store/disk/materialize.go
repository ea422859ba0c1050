package disk

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk/internal/format"
)

var (
	errKey     = fmt.Errorf("%w: key", format.ErrCorrupt)
	errMissing = fmt.Errorf("%w: the shared message that it refers to is missing", format.ErrCorrupt)
)

// materializer turns contents on disk into entries in memory.
type materializer struct {
	from    pebble.Reader
	damage  *damage
	memo    format.Memo
	keyBuf  []byte
	content format.Content // the last one read
	message *packet.Message
	stored  int
}

// get reads the content at a place; found is false if there is none that can be
// read. The message has a reference, which fill passes on.
func (m *materializer) get(session, pos uint64) (found bool, err error) {
	m.keyBuf = format.AppendPairKey(m.keyBuf[:0], format.Contents, session, pos)
	value, closer, err := m.from.Get(m.keyBuf)
	if err != nil {
		return false, m.missing(m.keyBuf, err)
	}
	defer closer.Close()
	return m.read(append([]byte(nil), m.keyBuf...), value, nil)
}

// read reads a content. What keep refuses is not found; damaged records go to
// the quarantine and are not found either.
func (m *materializer) read(key, value []byte, keep func(*format.Content) bool) (found bool, err error) {
	if err := format.DecodeContent(key, value, &m.content, &m.memo); err != nil {
		m.damage.record(key, value, err)
		return false, nil
	}
	if keep != nil && !keep(&m.content) {
		return false, nil
	}
	m.stored = len(value)
	if m.content.Shared == 0 {
		if err := m.keep(m.content.Body); err != nil {
			m.damage.record(key, value, err)
			return false, nil
		}
		return true, nil
	}
	m.keyBuf = format.AppendNumberKey(m.keyBuf[:0], format.Shared, m.content.Shared)
	body, closer, err := m.from.Get(m.keyBuf)
	if errors.Is(err, pebble.ErrNotFound) {
		m.damage.record(key, value, errMissing)
		return false, nil
	}
	if err != nil {
		return false, m.missing(m.keyBuf, err)
	}
	defer closer.Close()
	_, text, err := format.DecodeShared(m.keyBuf, body)
	if err == nil {
		err = m.keep(text)
	}
	if err != nil {
		// The content goes: without its message it is nothing.
		m.damage.record(key, value, err)
		return false, nil
	}
	return true, nil
}

// missing deals with an error of Get: not found, and damage, are no errors.
func (m *materializer) missing(key []byte, err error) error {
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil
	case pebble.IsCorruptionError(err):
		m.damage.span(key, append(append([]byte(nil), key...), 0), err)
		return nil
	}
	return fmt.Errorf("store: read: %w", err)
}

func (m *materializer) keep(body []byte) error {
	var view packet.Message
	if err := format.DecodeBody(body, &view, &m.memo); err != nil {
		return err
	}
	m.message = view.Keep(view.ID)
	return nil
}

// entry is the entry that was read, but for its place.
func (m *materializer) entry() store.Entry {
	c := &m.content
	return store.Entry{Message: m.message, Route: c.Route, QoS: c.QoS, Retain: c.Retain, Unscreened: c.Unscreened}
}

// fill makes s a slot of what was read, keeping its place.
func (m *materializer) fill(s *slot) {
	pos := s.entry.Pos
	s.entry = m.entry()
	s.entry.Pos = pos
	s.size = int64(m.message.Size())
	s.shared, s.fan, s.stored = m.content.Shared, m.content.Fan, uint32(m.stored)
	s.content, s.wantContent = true, true
}
