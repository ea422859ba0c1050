package disk

import "github.com/patchbay-mq/patchbay/core/store"

// A consumer may want messages again that it has taken and not settled. What is
// committed of them is on disk only; a page of it is kept in memory at a time, in
// work.reread, until it has been handed out.

func (c *session) Again(after uint64, max, maxBytes int) (list []store.Entry, ok bool) {
	c.mu.Lock()
	defer c.unlock(nil)
	w := c.w
	if w == nil || w.flight.live == 0 {
		return nil, true
	}
	bytes := 0
	for i := w.flight.search(after + 1); i < len(w.flight.items) && len(list) < max; i++ {
		s := w.flight.items[i].slot
		if s == nil || !s.wantContent {
			continue
		}
		e, known := c.recall(s)
		if !known {
			if len(list) == 0 {
				c.request(i, max, maxBytes)
				return nil, false
			}
			break
		}
		if e.Message != nil {
			if bytes += e.Message.Size(); len(list) > 0 && bytes > maxBytes {
				break
			}
			e.Message.Ref()
		}
		list = append(list, e)
	}
	if n := len(list); n > 0 {
		w.forgetReread(list[n-1].Pos)
	}
	return list, true
}

// recall finds the message of a slot in flight, if it is in memory.
func (c *session) recall(s *slot) (e store.Entry, known bool) {
	e = s.entry
	if e.Message != nil {
		return e, true
	}
	for _, r := range c.w.reread {
		if r.Pos == e.Pos {
			e.Message = r.Message
			return e, true
		}
	}
	return e, false
}

// request asks for the messages of slots in flight from the i-th on. One that is
// being committed can be read when that is through.
func (c *session) request(i, max, maxBytes int) {
	w := c.w
	w.wanted = w.wanted[:0]
	var bytes int64
	for ; i < len(w.flight.items) && len(w.wanted) < min(max, pageMax) && bytes < int64(min(maxBytes, pageMaxBytes)); i++ {
		s := w.flight.items[i].slot
		if s == nil || !s.wantContent {
			continue
		}
		if s.entry.Message != nil || s.batches > 0 {
			break
		}
		bytes += s.size
		w.wanted = append(w.wanted, s.entry.Pos)
	}
	if len(w.wanted) > 0 {
		c.fetch()
	}
	w.wantReady = true
}

// readWanted reads what was asked for.
func (c *session) readWanted(wanted []uint64) (list []store.Entry, err error) {
	m := materializer{from: c.store.db, damage: &c.store.damage}
	for _, pos := range wanted {
		found, err := m.get(c.key, pos)
		if err != nil {
			unrefAll(list)
			return nil, err
		}
		e := store.Entry{Pos: pos}
		if found {
			e.Message = m.message
		}
		list = append(list, e)
	}
	return list, nil
}

// keepReread takes the place of the page before.
func (w *work) keepReread(list []store.Entry) {
	w.forgetReread(^uint64(0))
	w.reread = list
}

// forgetReread gives back what was read again, up to and with a place.
func (w *work) forgetReread(upTo uint64) {
	k := 0
	for k < len(w.reread) && w.reread[k].Pos <= upTo {
		k++
	}
	unrefAll(w.reread[:k])
	if w.reread = w.reread[k:]; len(w.reread) == 0 {
		w.reread = nil
	}
}
