package transport

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const (
	// wsHeadroom is the longest header of an outgoing frame: two bytes and a 64-bit length, no mask.
	wsHeadroom = 10

	// wsFrameTarget bounds the frames we make, to a chunk more: clients deliver a message only when all of its frame is there.
	wsFrameTarget = 64 << 10
)

// wsError is the reason for which we end a WebSocket connection, with the status code that tells the peer.
type wsError struct {
	code ws.StatusCode
	text string
}

func (e *wsError) Error() string {
	return fmt.Sprintf("transport: websocket: %s (close %d)", e.text, e.code)
}

func wsProtocolError(text string) error { return &wsError{ws.StatusProtocolError, text} }

// wsLayer is the WebSocket state of a connection.
type wsLayer struct {
	wsDecoder
	answered  bool          // executor: decode has appended to control
	control   chunkList     // guarded by Conn.mu: finished control frames
	closeCode ws.StatusCode // guarded by Conn.mu: what our close frame says; 0 is a normal closure
}

// wsDecoder takes frames apart as their bytes come. It holds no payload, so the length that a frame claims costs nothing.
type wsDecoder struct {
	head    [14]byte // the header of the current frame, as far as it is here
	headLen int
	left    uint64 // payload bytes of the current frame still to come
	mask    [4]byte
	pos     int // payload bytes of the current frame so far, modulo 4
	op      ws.OpCode
	open    bool // a message has begun and not ended
	inside  bool // header complete, payload is being read
	ctl     [ws.MaxControlFramePayloadSize]byte
	ctlLen  int
}

// next decodes until b is used up or a control frame is complete. Message payload is moved down in b, behind the out bytes that are
// there already. It returns how far it has come in b, the new out, and the opcode of the complete control frame (0: none), whose
// payload is ctl[:ctlLen].
func (d *wsDecoder) next(b []byte, at, out int) (newAt, newOut int, control ws.OpCode, err error) {
	for at < len(b) || d.inside {
		if !d.inside {
			if at, err = d.header(b, at); err != nil || !d.inside {
				return at, out, 0, err
			}
		}
		n := int(min(d.left, uint64(len(b)-at)))
		part := b[at : at+n]
		ws.Cipher(part, d.mask, d.pos)
		d.pos = (d.pos + n) & 3
		d.left -= uint64(n)
		at += n
		if d.op.IsControl() {
			d.ctlLen += copy(d.ctl[d.ctlLen:], part)
		} else {
			out += copy(b[out:], part)
		}
		if d.left > 0 {
			return at, out, 0, nil
		}
		d.inside, d.headLen = false, 0
		if d.op.IsControl() {
			return at, out, d.op, nil
		}
	}
	return at, out, 0, nil
}

// header collects the bytes of a frame header and sets inside when it is complete and valid.
func (d *wsDecoder) header(b []byte, at int) (int, error) {
	for at < len(b) {
		want := 2
		if d.headLen >= 2 {
			want = d.headSize()
		}
		n := copy(d.head[d.headLen:want], b[at:])
		d.headLen += n
		at += n
		if d.headLen == 2 && want == 2 {
			// What can be refused after two bytes is, before a peer is asked for more.
			if err := d.check(); err != nil {
				return at, err
			}
			continue
		}
		if d.headLen >= 2 && d.headLen == d.headSize() {
			return at, d.begin()
		}
	}
	return at, nil
}

func (d *wsDecoder) headSize() int {
	switch d.head[1] & 0x7f {
	case 126:
		return 2 + 2 + 4
	case 127:
		return 2 + 8 + 4
	default:
		return 2 + 4
	}
}

// check looks at the first two bytes of a header.
func (d *wsDecoder) check() error {
	fin, op := d.head[0]&0x80 != 0, ws.OpCode(d.head[0]&0x0f)
	switch {
	case d.head[0]&0x70 != 0:
		return wsProtocolError("reserved bits set")
	case d.head[1]&0x80 == 0:
		return wsProtocolError("frame without mask")
	case op.IsReserved():
		return wsProtocolError("reserved opcode")
	case op.IsControl() && !fin:
		return wsProtocolError("fragmented control frame")
	case op.IsControl() && d.head[1]&0x7f > ws.MaxControlFramePayloadSize:
		return wsProtocolError("control frame too long")
	case op == ws.OpText:
		return &wsError{ws.StatusUnsupportedData, "text frame, MQTT needs binary frames [MQTT-6.0.0-1]"}
	case op == ws.OpContinuation && !d.open:
		return wsProtocolError("continuation without a message")
	case op == ws.OpBinary && d.open:
		return wsProtocolError("new message inside a fragmented one")
	}
	if !op.IsControl() {
		d.open = !fin
	}
	d.op = op
	return nil
}

// begin reads length and mask of a complete header.
func (d *wsDecoder) begin() error {
	mask := d.head[d.headLen-4 : d.headLen]
	switch d.head[1] & 0x7f {
	case 126:
		d.left = uint64(binary.BigEndian.Uint16(d.head[2:]))
		if d.left < 126 {
			return wsProtocolError("length not in its shortest form")
		}
	case 127:
		d.left = binary.BigEndian.Uint64(d.head[2:])
		if d.left <= 0xffff || d.left>>63 != 0 {
			return wsProtocolError("bad 64-bit length")
		}
	default:
		d.left = uint64(d.head[1] & 0x7f)
	}
	copy(d.mask[:], mask)
	d.pos, d.ctlLen, d.inside = 0, 0, true
	return nil
}

// decode takes the payload out of b, in place, and answers control frames. The payload is good also when err is set; err is io.EOF
// after a close frame.
func (w *wsLayer) decode(c *Conn, b []byte) (payload []byte, err error) {
	at, out := 0, 0
	for at < len(b) {
		var control ws.OpCode
		at, out, control, err = w.next(b, at, out)
		switch {
		case err != nil:
		case control == ws.OpPing:
			// One pong answers all pings before it, so a flood of them is answered only as fast as the peer reads.
			if !c.OverHighWater() {
				c.appendControl(ws.OpPong, w.ctl[:w.ctlLen])
				w.answered = true
			}
		case control == ws.OpClose:
			if err = w.checkClose(); err == nil {
				err = io.EOF
			}
		}
		if err != nil {
			w.sayWhy(c, err)
			break
		}
	}
	return b[:out], err
}

// checkClose validates the payload of a close frame.
func (w *wsLayer) checkClose() error {
	if w.ctlLen == 0 {
		return nil
	}
	if w.ctlLen == 1 {
		return wsProtocolError("close frame with half a code")
	}
	code := ws.StatusCode(binary.BigEndian.Uint16(w.ctl[:]))
	switch {
	case !validCloseCode(code):
		return wsProtocolError("close frame with an invalid code")
	case !utf8.Valid(w.ctl[2:w.ctlLen]):
		return &wsError{ws.StatusInvalidFramePayloadData, "close reason is not UTF-8"}
	}
	return nil
}

// validCloseCode tells what may stand in a close frame: registered codes that are not reserved for local use, and those left to
// libraries and applications.
func validCloseCode(code ws.StatusCode) bool {
	switch {
	case code >= 3000 && code < 5000:
		return true
	case code == ws.StatusNoMeaningYet, code == ws.StatusNoStatusRcvd, code == ws.StatusAbnormalClosure:
		return false
	default:
		return code >= ws.StatusNormalClosure && code < ws.StatusTLSHandshake
	}
}

// sayWhy chooses the code of the close frame that ends the connection: an error's own, or the peer's sent back.
func (w *wsLayer) sayWhy(c *Conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if we, ok := err.(*wsError); ok {
		w.closeCode = we.code
	} else if w.ctlLen >= 2 {
		w.closeCode = ws.StatusCode(binary.BigEndian.Uint16(w.ctl[:]))
	}
}

func (c *Conn) appendControl(op ws.OpCode, payload []byte) {
	c.mu.Lock()
	if !c.stopped {
		c.controlLocked(op, payload)
	}
	c.mu.Unlock()
}

func (c *Conn) controlLocked(op ws.OpCode, payload []byte) {
	cp := &c.eng.chunks
	head := [2]byte{0x80 | byte(op), byte(len(payload))}
	c.ws.control.write(cp, head[:], 0)
	c.ws.control.write(cp, payload, 0)
	c.addBuffered(len(head) + len(payload))
}

// closeLocked appends the close frame.
func (w *wsLayer) closeLocked(c *Conn) {
	code := w.closeCode
	if code == 0 {
		code = ws.StatusNormalClosure
	}
	c.controlLocked(ws.OpClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
}

// wsFrame turns a list of chunks into binary frames, each a run of whole chunks, and returns how many header bytes that has added.
// Headers go into the headroom of chunks; nothing is copied.
func wsFrame(cp *chunkPools, list *chunkList) (added int) {
	var framed chunkList
	for !list.empty() {
		first, last := list.head, list.head
		size := len(first.bytes())
		for last.next != nil && size+len(last.next.bytes()) <= wsFrameTarget {
			last = last.next
			size += len(last.bytes())
		}
		rest := chunkList{head: last.next}
		if rest.head != nil {
			rest.tail = list.tail
		}
		last.next = nil
		if first.owner != nil || first.off < wsHeadroom {
			spare := cp.get(0)
			spare.buf, spare.off = spare.buf[:wsHeadroom], wsHeadroom
			framed.push(spare)
			framed.tail.next, framed.tail = first, last
			first = spare
		} else {
			framed.join(&chunkList{head: first, tail: last})
		}
		added += putFrameHeader(first, size)
		*list = rest
	}
	*list = framed
	return added
}

// putFrameHeader writes the header of a binary frame in front of what is in k and returns its length.
func putFrameHeader(k *chunk, size int) int {
	n := 2
	switch {
	case size > 0xffff:
		n = 10
	case size > 125:
		n = 4
	}
	k.off -= n
	head := k.buf[k.off : k.off+n]
	head[0] = 0x80 | byte(ws.OpBinary)
	switch n {
	case 2:
		head[1] = byte(size)
	case 4:
		head[1] = 126
		binary.BigEndian.PutUint16(head[2:], uint16(size))
	default:
		head[1] = 127
		binary.BigEndian.PutUint64(head[2:], uint64(size))
	}
	return n
}
