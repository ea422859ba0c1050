package transport

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// Bits of Conn.pending: what the executor has to look at before it reads on.
const (
	pendWake   uint32 = 1 << iota // Handler.Woken is wanted
	pendResume                    // reading may go on, kept bytes are to be presented
	pendBroken                    // a write failed; what the peer sent before is still read
	pendClose                     // the connection ends
)

// Conn is one client connection. All methods are safe for concurrent use and none of them blocks.
type Conn struct {
	eng   *Engine
	lis   *Listener
	nc    net.Conn
	link  link
	tls   *tlsLayer // nil: not encrypted by us
	ws    *wsLayer  // nil: not WebSocket
	proxy *ProxyInfo

	pending  atomic.Uint32
	paused   atomic.Uint32
	dirty    atomic.Uint32 // some pass will flush us, or none: notDirty
	over     atomic.Bool   // high water was passed, low water not yet reached
	buffered atomic.Int64
	lastRead atomic.Int64
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64

	mu       sync.Mutex
	out      chunkList     // guarded by mu: what Append put there
	closeErr error         // guarded by mu: the first reason to close
	flushing bool          // guarded by mu: somebody holds the right to write to the socket
	stopped  bool          // guarded by mu: nothing may be appended any more
	dropped  bool          // guarded by mu: nothing is to be written any more
	parting  parting       // guarded by mu: how far the orderly end of the stream has come
	written  chan struct{} // guarded by mu: made by the executor that waits for the end of the flushing, closed there

	wire chunkList // owned by the holder of flushing: final bytes for the kernel

	// The rest belongs to the executor.
	h    Handler // set once, under mu, before the executor starts
	tail *chunk  // bytes the handler has not consumed yet
	need int     // how many bytes it wants to see at once, 0: any more
	dead bool    // a write has failed, the rest of the input is being read
}

// Pause stops reading for the given reason, a bit of the caller's choice. Reading goes on when no bit is set. Bytes that were read
// already are kept and presented after [Conn.Resume].
func (c *Conn) Pause(reason uint8) { c.paused.Or(uint32(reason)) }

// Resume takes back a reason of [Conn.Pause]; when it was the last one the executor calls Data with the kept bytes, if there are
// any, and reads on.
func (c *Conn) Resume(reason uint8) {
	old := c.paused.And(^uint32(reason))
	if old != 0 && old&^uint32(reason) == 0 {
		c.notify(pendResume)
	}
}

// Paused reports whether a reason of [Conn.Pause] is set.
func (c *Conn) Paused() bool { return c.paused.Load() != 0 }

// Wake makes the executor call [Handler.Woken] soon. Wakes that come before that call merge.
func (c *Conn) Wake() { c.notify(pendWake) }

func (c *Conn) notify(bit uint32) {
	// Whoever set the bit wakes; the executor takes all bits at once.
	if c.pending.Or(bit)&bit == 0 {
		c.link.wake()
	}
}

// Close ends the connection in order: what is in the out-buffer is offered to the kernel, then the stream is closed (WebSocket and
// TLS closing messages included). A peer that does not take it within a second is cut off. [Handler.Closed] gets err, or
// [ErrClosed] if err is nil; it is called soon and does not wait for that second. Only the first close counts.
func (c *Conn) Close(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.closeWith(err, false)
}

// CloseNow ends the connection at once and drops the out-buffer.
func (c *Conn) CloseNow() { c.closeWith(ErrClosed, true) }

func (c *Conn) closeWith(err error, now bool) {
	c.mu.Lock()
	if !c.stopped {
		c.stopped, c.closeErr = true, err
	}
	var rest chunkList
	if now {
		rest = c.dropLocked()
	}
	c.mu.Unlock()
	rest.free(&c.eng.chunks)
	c.notify(pendClose)
}

// dropLocked gives up all output and returns what has to be freed once mu is released. What the holder of the write right has taken
// already is freed by that holder.
func (c *Conn) dropLocked() (rest chunkList) {
	c.stopped, c.dropped = true, true
	rest = c.out.take()
	if c.ws != nil {
		rest.join(&c.ws.control)
	}
	if c.tls != nil {
		rest.join(&c.tls.sealed)
	}
	if !c.flushing {
		rest.join(&c.wire)
	}
	return rest
}

// Buffered is the number of bytes that the kernel has not taken yet; what a close has dropped stays in it.
func (c *Conn) Buffered() int { return int(c.buffered.Load()) }

// OverHighWater reports whether the out-buffer holds more than [Config.HighWater].
func (c *Conn) OverHighWater() bool { return c.buffered.Load() > int64(c.eng.cfg.HighWater) }

// LastRead is when bytes last arrived, in Unix milliseconds of [Config.Now]; at first, when the connection was accepted.
func (c *Conn) LastRead() int64 { return c.lastRead.Load() }

// BytesIn is the number of bytes read from the socket, TLS and WebSocket framing included.
func (c *Conn) BytesIn() uint64 { return c.bytesIn.Load() }

// BytesOut is the number of bytes the kernel has taken, TLS and WebSocket framing included.
func (c *Conn) BytesOut() uint64 { return c.bytesOut.Load() }

// RemoteAddr is the client's address: the one in the PROXY header if there was one, else the peer of the socket.
func (c *Conn) RemoteAddr() net.Addr {
	if c.proxy != nil && c.proxy.Source != nil {
		return c.proxy.Source
	}
	return c.nc.RemoteAddr()
}

// LocalAddr is the address the client connected to: the one in the PROXY header if there was one, else that of the socket.
func (c *Conn) LocalAddr() net.Addr {
	if c.proxy != nil && c.proxy.Destination != nil {
		return c.proxy.Destination
	}
	return c.nc.LocalAddr()
}

// ProxyInfo is what a PROXY header said, nil if there was none.
func (c *Conn) ProxyInfo() *ProxyInfo { return c.proxy }

// Listener is where the connection was accepted.
func (c *Conn) Listener() *Listener { return c.lis }

// Network is "tcp", "tls", "ws", "wss" or "unix".
func (c *Conn) Network() string { return c.lis.cfg.Network }

// TLS is the state of the TLS connection, nil if it is not one that we terminated.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.conn.ConnectionState()
	return &state
}
