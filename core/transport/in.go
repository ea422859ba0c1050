package transport

// received takes what one read brought: raw bytes, in p.buf or in the driver's own buffer.
func (c *Conn) received(p *Pass, b []byte) {
	c.lastRead.Store(c.eng.cfg.Now())
	c.bytesIn.Add(uint64(len(b)))
	switch {
	case c.tls != nil:
		c.decrypt(p, b)
	case c.ws != nil:
		c.unframe(p, b)
	default:
		c.present(p, b)
	}
}

// unframe takes the payload out of WebSocket frames, in place.
func (c *Conn) unframe(p *Pass, b []byte) {
	if c.ws == nil {
		c.present(p, b)
		return
	}
	payload, err := c.ws.decode(c, b)
	if c.ws.answered {
		c.ws.answered = false
		p.Flush(c)
	}
	c.present(p, payload)
	if err != nil {
		c.closeWith(err, false)
	}
}

// present gives the handler the kept bytes, if there are any, and b. What it does not consume is kept.
func (c *Conn) present(p *Pass, b []byte) {
	for c.tail != nil {
		if c.paused.Load() != 0 || c.pending.Load()&pendClose != 0 {
			c.keep(b)
			return
		}
		var more bool
		if b, more = c.presentTail(p, b); !more {
			return
		}
	}
	if len(b) == 0 {
		return
	}
	if c.paused.Load() == 0 && c.pending.Load()&pendClose == 0 {
		var used int
		used, c.need = c.h.Data(p, b)
		b = b[used:]
	}
	c.keep(b)
}

// presentTail completes the kept packet with as little of b as is needed, so that the packets after it are handled in place. It
// returns what is left of b, and whether there is more to present.
func (c *Conn) presentTail(p *Pass, b []byte) (rest []byte, more bool) {
	old := len(c.tail.bytes())
	take := c.need - old
	if c.need == 0 {
		// The handler cannot tell yet: give it twice as much each time, so that a long packet is not looked at too often.
		take = max(64, old)
	}
	take = max(0, min(take, len(b)))
	c.keep(b[:take])
	if c.need > old+take {
		return nil, false
	}
	used, need := c.h.Data(p, c.tail.bytes())
	c.need = need
	if used >= old {
		// All kept bytes are consumed: what remains of the copy is still in b.
		c.eng.chunks.put(c.tail)
		c.tail = nil
		b = b[used-old:]
		if need > len(b) || c.paused.Load() != 0 {
			c.keep(b)
			return nil, false
		}
		return b, true
	}
	c.tail.off += used
	b = b[take:]
	return b, len(b) > 0
}

// keep puts b behind the kept bytes. The buffer grows with what has arrived, never by what a packet claims.
func (c *Conn) keep(b []byte) {
	if len(b) == 0 {
		return
	}
	cp := &c.eng.chunks
	if c.tail == nil {
		c.tail = cp.getSize(len(b))
	} else if t := c.tail; t.room() < len(b) {
		have := t.bytes()
		if cap(t.buf)-len(have) >= len(b) && t.off >= len(have) {
			// Moving down is cheaper than a new buffer once more than half is consumed.
			t.buf = t.buf[:copy(t.buf, have)]
			t.off = 0
		} else {
			grown := cp.getSize(max(len(have)+len(b), 2*len(have)))
			grown.buf = append(grown.buf, have...)
			cp.put(t)
			c.tail = grown
		}
	}
	c.tail.buf = append(c.tail.buf, b...)
}
