package conformance

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Opcodes of WebSocket frames (RFC 6455 §5.2).
const (
	wsContinuation = 0x0
	wsText         = 0x1
	wsBinary       = 0x2
	wsClose        = 0x8
	wsPing         = 0x9
	wsPong         = 0xA
)

// wsConn is the client's end of a WebSocket as a stream of bytes. Each Write is
// one binary message; Read takes binary frames only [MQTT-6.0.0-1].
type wsConn struct {
	net.Conn
	br    *bufio.Reader
	left  int64 // of the frame that is being read
	pongs int
}

// dialWebSocket makes the opening handshake and returns the answer's subprotocol.
func dialWebSocket(t *testing.T, addr string, offers ...string) (*wsConn, string) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	request := "GET /mqtt HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	for _, o := range offers {
		request += "Sec-WebSocket-Protocol: " + o + "\r\n"
	}
	if _, err := io.WriteString(nc, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(nc)
	answer, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the WebSocket was refused: %s", answer.Status)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if got := answer.Header.Get("Sec-WebSocket-Accept"); got != base64.StdEncoding.EncodeToString(sum[:]) {
		t.Fatalf("Sec-WebSocket-Accept %q", got)
	}
	nc.SetDeadline(time.Time{})
	return &wsConn{Conn: nc, br: br}, answer.Header.Get("Sec-WebSocket-Protocol")
}

// frame writes one frame, masked as a client's must be.
func (w *wsConn) frame(opcode byte, final bool, payload []byte) error {
	b := []byte{opcode}
	if final {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	_, err := w.Conn.Write(b)
	return err
}

func (w *wsConn) Write(p []byte) (int, error) { return len(p), w.frame(wsBinary, true, p) }

func (w *wsConn) Read(p []byte) (int, error) {
	for w.left == 0 {
		var head [2]byte
		if _, err := io.ReadFull(w.br, head[:]); err != nil {
			return 0, err
		}
		if head[1]&0x80 != 0 {
			return 0, fmt.Errorf("the server masks its frames")
		}
		w.left = int64(head[1] & 0x7F)
		if ext := map[int64]int{126: 2, 127: 8}[w.left]; ext != 0 {
			var b [8]byte
			if _, err := io.ReadFull(w.br, b[8-ext:]); err != nil {
				return 0, err
			}
			w.left = int64(binary.BigEndian.Uint64(b[:]))
		}
		switch opcode := head[0] & 0x0F; opcode {
		case wsBinary, wsContinuation:
		case wsClose:
			return 0, io.EOF
		case wsPing, wsPong:
			if _, err := io.CopyN(io.Discard, w.br, w.left); err != nil {
				return 0, err
			}
			w.left = 0
			if opcode == wsPong {
				w.pongs++
			}
		default:
			return 0, fmt.Errorf("the server sent a frame with opcode %d [MQTT-6.0.0-1]", opcode)
		}
	}
	n, err := w.br.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	return n, err
}

func openWebSocket(t *testing.T, addr string, v version) (*client, *wsConn) {
	t.Helper()
	w, _ := dialWebSocket(t, addr, "mqtt")
	c := wrap(t, w, v)
	c.sendConnect(fresh(v))
	c.accepted()
	return c, w
}

func TestWebSocketSubprotocol(t *testing.T) {
	t.Parallel()
	for _, v := range []version{v5, v311} {
		shows(t, v, "MQTT-6.0.0-3", "MQTT-6.0.0-4", "MQTT-6.0.0-1")
	}
	addr := startBroker(t, settings{websocket: true})
	for _, offers := range [][]string{{"mqtt"}, {"chat, mqtt"}, {"mqtt, chat"}, {"chat", "mqtt"}} {
		w, selected := dialWebSocket(t, addr, offers...)
		if selected != "mqtt" {
			t.Errorf("offered %q: the server selected %q", offers, selected)
		}
		c := wrap(t, w, v5)
		c.sendConnect(fresh(v5))
		c.accepted()
		c.quiet()
	}
	for _, v := range []version{v5, v311} {
		c, w := openWebSocket(t, addr, v)
		topic := unique()
		c.listen(2, topic)
		for _, n := range []int{0, 100, 125, 126, 65536, 200000} { // around the lengths of frames
			c.publish(publishPacket{topic: topic, payload: string(make([]byte, n)), qos: 2})
			c.receives(string(make([]byte, n)))
		}
		if err := w.frame(wsPing, true, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		c.quiet()
		if w.pongs == 0 {
			t.Error("no pong")
		}
	}
}

func TestWebSocketTextFrame(t *testing.T) {
	t.Parallel()
	for _, v := range []version{v5, v311} {
		shows(t, v, "MQTT-6.0.0-1")
	}
	addr := startBroker(t, settings{websocket: true})
	for _, v := range []version{v5, v311} {
		c, w := openWebSocket(t, addr, v)
		w.frame(wsText, true, pingreq)
		for err := error(nil); err == nil; {
			var p packet
			if p, err = c.read(); err == nil && p.typ == PINGRESP {
				t.Error("a packet in a text frame was answered")
			}
		}
		w, _ = dialWebSocket(t, addr, "mqtt")
		w.frame(wsText, true, fresh(v).bytes())
		c = wrap(t, w, v)
		c.gone()
	}
}

func TestWebSocketFramesAreNoPackets(t *testing.T) {
	t.Parallel()
	for _, v := range []version{v5, v311} {
		shows(t, v, "MQTT-6.0.0-2")
	}
	addr := startBroker(t, settings{websocket: true})
	for _, v := range []version{v5, v311} {
		topic := unique()
		p := fresh(v)
		stream := join(p.bytes(), subscribe(v, 1, nil, sub{topic, 1}))
		for i := range 5 {
			stream = append(stream, publishPacket{topic: topic, payload: fmt.Sprint(i), qos: 1, id: 10 + i}.bytes(v)...)
		}
		for name, write := range map[string]func(w *wsConn) error{
			"all in one frame": func(w *wsConn) error { return w.frame(wsBinary, true, stream) },
			"a byte per frame": func(w *wsConn) error {
				for i := range stream {
					if err := w.frame(wsBinary, true, stream[i:i+1]); err != nil {
						return err
					}
				}
				return nil
			},
			"seven bytes per frame": func(w *wsConn) error {
				for rest := stream; len(rest) > 0; rest = rest[min(7, len(rest)):] {
					if err := w.frame(wsBinary, true, rest[:min(7, len(rest))]); err != nil {
						return err
					}
				}
				return nil
			},
			"fragments, empty ones and pings": func(w *wsConn) error {
				half := len(stream)/2 + 3
				return errors.Join(w.frame(wsBinary, true, nil), w.frame(wsBinary, false, stream[:half]),
					w.frame(wsPing, true, []byte("p")), w.frame(wsContinuation, false, nil), w.frame(wsContinuation, true, stream[half:]))
			},
		} {
			w, _ := dialWebSocket(t, addr, "mqtt")
			c := wrap(t, w, v)
			c.connect = p
			if err := write(w); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			c.accepted()
			c.take(SUBACK)
			c.receives("0", "1", "2", "3", "4")
			for i := range 5 {
				c.sameID(c.take(PUBACK), 10+i)
			}
			c.leave()
		}
	}
}

// The stream of a plain connection has no packet boundaries either.
func TestPacketsInPieces(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.2.0-1"}, v311: {"MQTT-7.1.1-1"}}, func(t *testing.T, v version) {
		topic := unique()
		p := fresh(v)
		stream := join(p.bytes(), subscribe(v, 1, nil, sub{topic, 1}))
		const messages = 100
		var want []string
		for i := range messages {
			want = append(want, fmt.Sprint(i, string(bytes.Repeat([]byte("x"), i*3))))
			stream = append(stream, publishPacket{topic: topic, payload: want[i], qos: 1, id: 10 + i}.bytes(v)...)
		}
		for _, size := range []int{1, 2, 3, 5, 17, 1000, 1 << 20} {
			c := dial(t, broker(t), v)
			c.connect = p
			// Small pieces for the first packets only: each is a segment of its own.
			for rest := stream; len(rest) > 0; {
				n := min(size, len(rest))
				if len(stream)-len(rest) > 300 {
					n = len(rest)
				}
				c.send(rest[:n])
				rest = rest[n:]
			}
			c.accepted()
			c.take(SUBACK)
			c.receives(want...)
			for i := range messages {
				c.sameID(c.take(PUBACK), 10+i)
			}
			c.quiet()
			c.leave()
		}
	})
}
