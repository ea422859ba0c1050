package transport

// Append copies b into the out-buffer. Like all Append methods it does not write (see [Pass.Flush]) and does nothing after Close.
func (c *Conn) Append(b []byte) {
	c.mu.Lock()
	if !c.stopped {
		c.out.write(&c.eng.chunks, b, c.headroom())
		c.addBuffered(len(b))
	}
	c.mu.Unlock()
}

// AppendPublish copies frame into the out-buffer and puts the Packet Identifier id into its two bytes at idOffset (0: it has none).
func (c *Conn) AppendPublish(frame []byte, idOffset int, id uint16) {
	c.mu.Lock()
	if !c.stopped {
		c.appendPatched(frame, idOffset, id)
		c.addBuffered(len(frame))
	}
	c.mu.Unlock()
}

// AppendAll copies frames, whose lengths add up to size, into the out-buffer, in one piece as far as there are buffers of that size.
func (c *Conn) AppendAll(frames [][]byte, size int) {
	c.mu.Lock()
	if !c.stopped {
		cp, room := &c.eng.chunks, c.headroom()
		if t := c.out.tail; t == nil || t.room() < size {
			c.out.grow(cp, size, room)
		}
		for _, b := range frames {
			c.out.write(cp, b, room)
		}
		c.addBuffered(size)
	}
	c.mu.Unlock()
}

// AppendShared is AppendPublish for a frame in two parts: head is copied and patched, payload is only referenced, must not change
// and is written from where it is. owner.Unref is called exactly once, when payload was written or dropped; at once after Close.
func (c *Conn) AppendShared(head []byte, idOffset int, id uint16, payload []byte, owner Owner) {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		owner.Unref()
		return
	}
	c.appendPatched(head, idOffset, id)
	if len(payload) > 0 {
		c.out.push(c.eng.chunks.share(payload, owner))
	}
	c.addBuffered(len(head) + len(payload))
	c.mu.Unlock()
	if len(payload) == 0 {
		owner.Unref()
	}
}

func (c *Conn) appendPatched(frame []byte, idOffset int, id uint16) {
	cp, room := &c.eng.chunks, c.headroom()
	if idOffset <= 0 {
		c.out.write(cp, frame, room)
		return
	}
	if t := c.out.tail; t == nil || t.room() < len(frame) {
		// The identifier may fall on the seam of two chunks, so it goes in by itself.
		c.out.write(cp, frame[:idOffset], room)
		c.out.write(cp, []byte{byte(id >> 8), byte(id)}, room)
		c.out.write(cp, frame[idOffset+2:], room)
		return
	}
	t := c.out.tail
	at := len(t.buf)
	t.buf = append(t.buf, frame...)
	t.buf[at+idOffset], t.buf[at+idOffset+1] = byte(id>>8), byte(id)
}

// headroom is what each out-chunk leaves free in front, so that a frame header needs no chunk of its own.
func (c *Conn) headroom() int {
	if c.ws != nil {
		return wsHeadroom
	}
	return 0
}

// addBuffered is called under mu, before a flusher can see the bytes, so that low water cannot be missed.
func (c *Conn) addBuffered(n int) {
	if c.buffered.Add(int64(n)) > int64(c.eng.cfg.HighWater) && !c.over.Load() {
		c.over.Store(true)
	}
}
