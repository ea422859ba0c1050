package transport

import "errors"

// ErrClosed is what [Handler.Closed] gets when the connection was closed by our own side without a reason of its own.
var ErrClosed = errors.New("transport: connection closed")

// Handler is the state machine of one connection. Data, Woken and Closed are called on the connection's executor, one at a time.
// They must not block, must not call [Engine.Do] (use the Pass they were given) and must not keep p or b.
type Handler interface {
	// Data gets the bytes that are there. It consumes complete packets and returns how many bytes it used, and how many bytes the
	// packet at b[used:] needs in all (0: not known yet). b is valid during the call only, and may be modified.
	//
	// The rest is kept and presented again, with what came after it, when need bytes (or any more, if need is 0) are there.
	// A handler that called [Conn.Pause] returns early; the rest is then presented again after [Conn.Resume], even when nothing
	// new has arrived. Without a pause it must consume every complete packet: it is not called again before more bytes come.
	Data(p *Pass, b []byte) (used, need int)

	// Woken is called after [Conn.Wake], also while reading is paused. Any number of wakes may merge into one call.
	Woken(p *Pass)

	// Closed is called exactly once, and nothing of this interface is called after it. err is io.EOF when the peer closed, the
	// error given to [Conn.Close] (or [ErrClosed]) when we did, os.ErrDeadlineExceeded after a write timeout, else the error of
	// the socket, of TLS or of WebSocket.
	Closed(p *Pass, err error)
}

// Drainer is an option of a [Handler]: Drained is called when [Conn.Buffered] has fallen below the low water mark after it had
// been above the high water mark. It runs on any goroutine, concurrently with the other methods and possibly around Closed, with
// no lock of this package held. What is appended during the call is flushed at the end of p.
type Drainer interface {
	Drained(p *Pass)
}

// Owner is a reference-counted payload lent to [Conn.AppendShared].
type Owner interface {
	// Unref gives back one reference; it must not block and must not call into the connection.
	Unref()
}
