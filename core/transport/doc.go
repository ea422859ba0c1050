// Package transport owns the sockets of the broker: listeners, handshakes (PROXY protocol, TLS, WebSocket), batched reads and
// coalesced writes. It feeds bytes to a [Handler] and takes bytes from anyone by [Conn.Append]; what the bytes mean it does not
// know, and it must never import core/broker.
//
//	            accept ─► PROXY header ─► TLS ─► WebSocket upgrade        (blocking, own goroutine, HandshakeTimeout)
//	                                                    │
//	kernel ─read─► [decrypt] ─► [unframe] ─► kept tail + Handler.Data     one turn of the connection's executor = one Pass
//	                                                    │ Append to any Conn, Pass.Flush
//	kernel ◄writev─ [encrypt] ◄─ [frame] ◄─ out-chunks ◄┘                 once per connection at the end of the pass
//
// The rule that everything hangs on: handlers never block. What has to wait calls [Conn.Pause] and returns; whoever has the
// answer calls [Conn.Resume] or [Conn.Wake], and the connection's own executor goes on. Because TLS and WebSocket are filters
// over bytes that were already read (crypto/tls is fed from memory and keeps its state when the memory is used up), a driver only
// ever sees plain sockets.
//
// A [Driver] waits for readiness and calls into the connection. [Loops] is the one for Linux: event loops for plain TCP and unix
// sockets, which are accepted past package net. [Portable] runs everything else there, and all on macOS: one goroutine per
// connection, parked in syscall.RawConn.Read without a buffer. [Blocking] is the one for every other system. An idle connection
// holds no read buffer, no out-chunk, no writer goroutine and no timer; on a loop no goroutine either.
//
// WebSocket uses github.com/gobwas/ws because it works on bytes: its Upgrader takes an io.ReadWriter and its mask cipher a slice,
// so frames are decoded inside our pass. coder/websocket owns the net.Conn, a goroutine and the buffers of a connection, which is
// just what must not exist per idle client here.
//
// Locks: Conn.mu guards the out-buffer and the closing flags and is a leaf: no call-out is made under it. The right to write to a
// socket is the flag Conn.flushing (a token, taken under mu, kept while blocked); loopLink.mu guards the number of a socket against
// its close, and is taken after none but Conn.flushing. Passes come from one LIFO list; a goroutine that
// holds one must not ask for a second.
//
// Start at [New] and [Engine.Listen]; then in.go (bytes to handler), out.go and flush.go (bytes to kernel), driver_raw.go; for the loops
// loop_linux.go, driver_loops_linux.go and accept_linux.go.
package transport
