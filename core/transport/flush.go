package transport

import (
	"errors"
	"os"
)

// errWouldBlock says that the kernel has no room, or no bytes, right now.
var errWouldBlock = errors.New("transport: operation would block")

// parting is how far the orderly end of the stream has come; each step is taken when all earlier bytes are on their way.
type parting uint8

const (
	partNothing parting = iota
	partWebSocket
	partTLS
	partDone
)

// flush writes what there is without blocking. The dirty flag falls before the out-buffer is looked at, so whoever appends after
// that look finds it down and asks for a flush of his own.
func (c *Conn) flush(p *Pass) {
	c.dirty.Store(notDirty)
	c.mu.Lock()
	if c.flushing || (c.out.empty() && !c.stopped && c.layersEmpty()) {
		// Whoever holds the right to write looks at the out-buffer again, under mu, before he gives it up.
		c.mu.Unlock()
		return
	}
	c.flushing = true
	c.mu.Unlock()
	if c.pump(p) {
		c.link.awaitWritable()
	}
}

func (c *Conn) layersEmpty() bool {
	return (c.ws == nil || c.ws.control.empty()) && (c.tls == nil || c.tls.sealed.empty())
}

// pump writes until nothing is left (and gives back the right to write), or until the kernel has no room: then it reports blocked
// and the caller keeps the right. p is nil on a goroutine that holds no pass.
func (c *Conn) pump(p *Pass) (blocked bool) {
	for {
		if c.wire.empty() && !c.refill() {
			return false
		}
		n, err := c.link.write()
		if n > 0 {
			c.account(p, n)
		}
		switch err {
		case nil:
		case errWouldBlock:
			return true
		default:
			c.writeFailed(err)
			return false
		}
	}
}

// refill moves what was appended to wire, framed and encrypted. It returns false when there is nothing; the right to write is then
// given back already.
func (c *Conn) refill() bool {
	for {
		c.mu.Lock()
		if c.dropped {
			c.giveBackLocked()
			rest := c.wire.take()
			c.mu.Unlock()
			rest.free(&c.eng.chunks)
			return false
		}
		if c.tls != nil && !c.tls.sealed.empty() {
			c.wire = c.tls.sealed.take()
			c.mu.Unlock()
			return true
		}
		batch := c.takeLocked()
		if batch.empty() {
			if c.stopped && c.parting < partDone {
				c.partLocked()
				continue
			}
			c.giveBackLocked()
			c.mu.Unlock()
			return false
		}
		c.mu.Unlock()
		if c.tls == nil {
			c.wire = batch
			return true
		}
		// An error of crypto/tls repeats itself on the reading side, where it has a place to go.
		c.tls.seal(&batch)
	}
}

// giveBackLocked ends the right to write.
func (c *Conn) giveBackLocked() {
	c.flushing = false
	if c.written != nil {
		close(c.written)
		c.written = nil
	}
}

// takeLocked empties the out-buffer, in WebSocket frames if that is the transport.
func (c *Conn) takeLocked() chunkList {
	if c.ws == nil {
		return c.out.take()
	}
	batch := c.ws.control.take()
	frames := c.out.take()
	c.buffered.Add(int64(wsFrame(&c.eng.chunks, &frames)))
	batch.join(&frames)
	return batch
}

// partLocked takes the next step of the orderly end. It releases mu.
func (c *Conn) partLocked() {
	c.parting++
	step := c.parting
	if step == partWebSocket && c.ws != nil {
		c.ws.closeLocked(c)
	}
	c.mu.Unlock()
	switch {
	case step == partTLS && c.tls != nil:
		c.tls.closeNotify()
	case step == partDone:
		c.link.closeWrite()
	}
}

// account accounts for n bytes of wire that the kernel took.
func (c *Conn) account(p *Pass, n int) {
	c.wire.skip(&c.eng.chunks, n)
	c.bytesOut.Add(uint64(n))
	left := c.buffered.Add(-int64(n))
	if !c.over.Load() || left > int64(c.eng.cfg.LowWater) || !c.over.CompareAndSwap(true, false) {
		return
	}
	if p != nil {
		p.drained = append(p.drained, c)
		return
	}
	c.eng.Do(c.callDrained)
}

func (c *Conn) callDrained(p *Pass) {
	c.mu.Lock()
	h, stopped := c.h, c.stopped
	c.mu.Unlock()
	if d, ok := h.(Drainer); ok && !stopped {
		d.Drained(p)
	}
}

// writeFailed is the end of the output; the caller holds the right to write. What the peer sent before it went away is still read:
// a DISCONNECT in the receive queue must not be lost to a reset that answers our last write.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	if !c.stopped {
		c.closeErr = err
	}
	c.giveBackLocked()
	rest := c.dropLocked()
	c.mu.Unlock()
	rest.free(&c.eng.chunks)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.notify(pendClose)
		return
	}
	c.notify(pendBroken)
}
