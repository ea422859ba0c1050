package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/gobwas/ws"
)

// wsConn carries MQTT over WebSocket: bytes written go out as one binary frame,
// bytes read are the payloads of binary frames, whose borders mean nothing
// [MQTT-6.0.0-1], [MQTT-6.0.0-2]. One goroutine may read and another write.
type wsConn struct {
	net.Conn
	br   *bufio.Reader
	left int64 // of the current frame's payload
	mask [4]byte

	mu  sync.Mutex // one frame at a time; Read answers pings
	out []byte
}

// newWSConn takes over nc after the handshake; br holds what the server sent right
// behind it, and may be nil.
func newWSConn(nc net.Conn, br *bufio.Reader) *wsConn {
	if br == nil {
		br = bufio.NewReaderSize(nc, 4096)
	}
	// The mask guards proxies against chosen bytes in the stream; a benchmark's
	// bytes are its own, so one per connection does.
	return &wsConn{Conn: nc, br: br, mask: ws.NewMask()}
}

var errWSText = errors.New("WebSocket frame is not binary [MQTT-6.0.0-1]")

// Read reads from binary frames; pings are answered, a close frame ends the stream.
func (c *wsConn) Read(p []byte) (int, error) {
	for c.left == 0 {
		h, err := ws.ReadHeader(c.br)
		if err != nil {
			return 0, err
		}
		switch h.OpCode {
		case ws.OpBinary, ws.OpContinuation:
			c.left = h.Length
		case ws.OpText:
			return 0, errWSText
		case ws.OpClose:
			return 0, io.EOF
		default:
			if err := c.control(h); err != nil {
				return 0, err
			}
		}
	}
	n, err := c.br.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// control reads the payload of a ping or pong and answers a ping.
func (c *wsConn) control(h ws.Header) error {
	if h.Length > ws.MaxControlFramePayloadSize {
		return ws.ErrProtocolControlPayloadOverflow
	}
	var payload [ws.MaxControlFramePayloadSize]byte
	p := payload[:h.Length]
	if _, err := io.ReadFull(c.br, p); err != nil || h.OpCode != ws.OpPing {
		return err
	}
	_, err := c.writeFrame(ws.OpPong, p)
	return err
}

// Write sends p as one masked binary frame; p itself is not changed.
func (c *wsConn) Write(p []byte) (int, error) { return c.writeFrame(ws.OpBinary, p) }

func (c *wsConn) writeFrame(op ws.OpCode, p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := sliceWriter{c.out[:0]}
	h := ws.Header{Fin: true, OpCode: op, Masked: true, Mask: c.mask, Length: int64(len(p))}
	if err := ws.WriteHeader(&w, h); err != nil {
		return 0, fmt.Errorf("WebSocket frame header: %w", err)
	}
	start := len(w.b)
	w.b = append(w.b, p...)
	ws.Cipher(w.b[start:], c.mask, 0)
	c.out = w.b
	if _, err := c.Conn.Write(c.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}
