package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// wsPayload takes frames of a server apart by way of gobwas, independent of our decoder.
func wsPayload(t testing.TB, b []byte) (payload []byte, frames int) {
	t.Helper()
	r := bytes.NewReader(b)
	for r.Len() > 0 {
		head, body := readServerFrame(t, r)
		if head.OpCode != ws.OpBinary || !head.Fin {
			t.Fatalf("frame %+v, want final, binary", head)
		}
		payload = append(payload, body...)
		frames++
	}
	return payload, frames
}

func readServerFrame(t testing.TB, r io.Reader) (ws.Header, []byte) {
	t.Helper()
	head, err := ws.ReadHeader(r)
	if err != nil {
		t.Fatal(err)
	}
	if head.Masked {
		t.Fatalf("frame %+v is masked", head)
	}
	body := make([]byte, head.Length)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return head, body
}

// clientFrame is a masked frame as clients send it.
func clientFrame(op ws.OpCode, fin bool, payload []byte) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, payload)))
}

func TestWebSocketDecoder(t *testing.T) {
	binaryFrame := func(s string) []byte { return clientFrame(ws.OpBinary, true, []byte(s)) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, tc := range map[string]struct {
		in   []byte
		want string        // payload
		code ws.StatusCode // of the error; 0: none; 1: EOF
	}{
		"one":              {binaryFrame("abc"), "abc", 0},
		"empty":            {binaryFrame(""), "", 0},
		"joined":           {join(binaryFrame("ab"), binaryFrame("c"), binaryFrame("")), "abc", 0},
		"medium":           {binaryFrame(strings.Repeat("x", 126)), strings.Repeat("x", 126), 0},
		"long":             {binaryFrame(strings.Repeat("y", 70000)), strings.Repeat("y", 70000), 0},
		"fragmented":       {join(clientFrame(ws.OpBinary, false, []byte("a")), clientFrame(ws.OpContinuation, false, []byte("b")), clientFrame(ws.OpContinuation, true, []byte("c"))), "abc", 0},
		"ping between":     {join(clientFrame(ws.OpBinary, false, []byte("a")), clientFrame(ws.OpPing, true, []byte("hi")), clientFrame(ws.OpContinuation, true, []byte("b"))), "ab", 0},
		"pong":             {join(clientFrame(ws.OpPong, true, nil), binaryFrame("a")), "a", 0},
		"text":             {join(binaryFrame("a"), clientFrame(ws.OpText, true, []byte("b"))), "a", ws.StatusUnsupportedData},
		"unmasked":         {ws.MustCompileFrame(ws.NewBinaryFrame([]byte("a"))), "", ws.StatusProtocolError},
		"rsv":              {[]byte{0xc2, 0x80, 0, 0, 0, 0}, "", ws.StatusProtocolError},
		"reserved opcode":  {clientFrame(3, true, nil), "", ws.StatusProtocolError},
		"lone part":        {clientFrame(ws.OpContinuation, true, nil), "", ws.StatusProtocolError},
		"nested":           {join(clientFrame(ws.OpBinary, false, []byte("a")), binaryFrame("b")), "a", ws.StatusProtocolError},
		"split control":    {clientFrame(ws.OpPing, false, nil), "", ws.StatusProtocolError},
		"long control":     {[]byte{0x89, 0xfe, 0, 126}, "", ws.StatusProtocolError},
		"negative length":  {[]byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, "", ws.StatusProtocolError},
		"length not short": {[]byte{0x82, 0xfe, 0, 5, 1, 2, 3, 4}, "", ws.StatusProtocolError},
		"huge claim":       {join([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, []byte("abc")), "abc", 0},
		"close":            {join(binaryFrame("a"), clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(ws.StatusNormalClosure, "bye")), binaryFrame("b")), "a", 1},
		"close empty":      {clientFrame(ws.OpClose, true, nil), "", 1},
		"close private":    {clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(4001, "")), "", 1},
		"close half code":  {clientFrame(ws.OpClose, true, []byte{3}), "", ws.StatusProtocolError},
		"close bad code":   {clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(ws.StatusNoStatusRcvd, "")), "", ws.StatusProtocolError},
		"close bad text":   {clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(1000, "\xff")), "", ws.StatusInvalidFramePayloadData},
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1, 2, 3, 7, 1 << 20} {
				got, err := decodeInSteps(t, tc.in, step)
				if string(got) != tc.want {
					t.Errorf("step %d: payload %.20q, want %.20q", step, got, tc.want)
				}
				var we *wsError
				switch {
				case tc.code == 0 && err != nil, tc.code == 1 && err != io.EOF:
					t.Errorf("step %d: error %v", step, err)
				case tc.code > 1 && (!errors.As(err, &we) || we.code != tc.code):
					t.Errorf("step %d: error %v, want code %d", step, err, tc.code)
				}
			}
		})
	}
}

// decodeInSteps gives the decoder step bytes at a time.
func decodeInSteps(t testing.TB, in []byte, step int) (payload []byte, err error) {
	e := newTestEngine(t, Config{})
	c, _ := newNullConn(e)
	c.ws = &wsLayer{}
	in = bytes.Clone(in)
	for len(in) > 0 && err == nil {
		n := min(step, len(in))
		var part []byte
		part, err = c.ws.decode(c, in[:n])
		payload = append(payload, part...)
		in = in[n:]
	}
	return payload, err
}

// FuzzWebSocket: however the bytes are cut, payload and verdict are the same, and the payload is what gobwas reads from them.
func FuzzWebSocket(f *testing.F) {
	f.Add(clientFrame(ws.OpBinary, true, []byte("hello")), 1)
	f.Add(append(clientFrame(ws.OpBinary, false, []byte("a")), clientFrame(ws.OpContinuation, true, make([]byte, 130))...), 3)
	f.Add(clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(1000, "x")), 2)
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 9, 9}, 5)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		whole, errWhole := decodeInSteps(t, in, len(in)+1)
		parts, errParts := decodeInSteps(t, in, 1+(step&0xff))
		if !bytes.Equal(whole, parts) {
			t.Fatalf("payload depends on the cuts: %x and %x", whole, parts)
		}
		if (errWhole == nil) != (errParts == nil) || errWhole != nil && errWhole.Error() != errParts.Error() {
			t.Fatalf("verdict depends on the cuts: %v and %v", errWhole, errParts)
		}
		var want []byte
		for r := bytes.NewReader(in); len(want) < len(whole); {
			head, err := ws.ReadHeader(r)
			if err != nil {
				t.Fatalf("gobwas reads no frame (%v), but there are %d bytes of payload after %d", err, len(whole), len(want))
			}
			payload, _ := io.ReadAll(io.LimitReader(r, head.Length))
			if head.OpCode.IsData() {
				ws.Cipher(payload, head.Mask, 0)
				want = append(want, payload...)
			}
		}
		if !bytes.Equal(whole, want) {
			t.Fatalf("payload %x, gobwas reads %x", whole, want)
		}
	})
}

// wsClient is a small WebSocket client; Write makes one frame per call.
type wsClient struct {
	net.Conn
	r    *bufio.Reader
	left int64
}

func wsDial(t testing.TB, nc net.Conn, path, headers string) (*wsClient, *http.Response) {
	t.Helper()
	write(t, nc, []byte("GET "+path+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+headers+"\r\n"))
	c := &wsClient{Conn: nc, r: bufio.NewReader(nc)}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, resp
}

const offerMQTT = "Sec-WebSocket-Protocol: mqtt\r\n"

func (c *wsClient) Write(b []byte) (int, error) {
	_, err := c.Conn.Write(clientFrame(ws.OpBinary, true, b))
	return len(b), err
}

func (c *wsClient) Read(b []byte) (int, error) {
	for c.left == 0 {
		head, err := ws.ReadHeader(c.r)
		if err != nil {
			return 0, err
		}
		if head.OpCode.IsControl() {
			return 0, errors.New("control frame")
		}
		c.left = head.Length
	}
	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

func (c *wsClient) control(t testing.TB) (ws.OpCode, []byte) {
	t.Helper()
	head, body := readServerFrame(t, c.r)
	return head.OpCode, body
}

func TestEchoWebSocket(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, handlers := listen(t, e, ListenerConfig{Network: "ws"}, nil)
		nc, resp := wsDial(t, dial(t, l), "/mqtt?token=1", offerMQTT)
		if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
			t.Fatalf("upgrade answered %s, %v", resp.Status, resp.Header)
		}
		echoSession(t, nc)
		byteSession(t, nc)
		// Ping in the middle of a fragmented packet.
		pkt := frame([]byte("split"))
		write(t, nc.Conn, clientFrame(ws.OpBinary, false, pkt[:3]))
		write(t, nc.Conn, clientFrame(ws.OpPing, true, []byte("alive?")))
		if op, body := nc.control(t); op != ws.OpPong || string(body) != "alive?" {
			t.Errorf("ping answered by %v %q", op, body)
		}
		write(t, nc.Conn, clientFrame(ws.OpContinuation, true, pkt[3:]))
		if got := readFrame(t, nc); string(got) != "split" {
			t.Errorf("got %q", got)
		}
		write(t, nc.Conn, clientFrame(ws.OpClose, true, ws.NewCloseFrameBody(4321, "")))
		if op, body := nc.control(t); op != ws.OpClose || binary.BigEndian.Uint16(body) != 4321 {
			t.Errorf("close answered by %v %x", op, body)
		}
		h := receive(t, handlers, "handler")
		if err := receive(t, h.closed, "Closed"); err != io.EOF {
			t.Errorf("Closed got %v, want EOF", err)
		}
		if h.c.Network() != "ws" {
			t.Errorf("network %q", h.c.Network())
		}
	})
}

// The error is told by the close frame, after what was sent before it.
func TestWebSocketCloseCodes(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, handlers := listen(t, e, ListenerConfig{Network: "ws"}, nil)
		for _, tc := range []struct {
			send  []byte
			close bool
			code  ws.StatusCode
		}{
			{clientFrame(ws.OpText, true, []byte("hello")), false, ws.StatusUnsupportedData}, // [MQTT-6.0.0-1]
			{ws.MustCompileFrame(ws.NewBinaryFrame(nil)), false, ws.StatusProtocolError},
			{nil, true, ws.StatusNormalClosure},
		} {
			nc, _ := wsDial(t, dial(t, l), "/mqtt", offerMQTT)
			h := receive(t, handlers, "handler")
			write(t, nc.Conn, append(clientFrame(ws.OpBinary, true, frame([]byte("before"))), tc.send...))
			if got := readFrame(t, nc); string(got) != "before" {
				t.Errorf("got %q", got)
			}
			if tc.close {
				h.c.Close(nil)
			}
			if op, body := nc.control(t); op != ws.OpClose || ws.StatusCode(binary.BigEndian.Uint16(body)) != tc.code {
				t.Errorf("sent % x: got %v %x, want close %d", tc.send, op, body, tc.code)
			}
			if _, err := nc.r.ReadByte(); err != io.EOF {
				t.Errorf("after the close frame: %v, want EOF", err)
			}
			nc.Close()
			receive(t, h.closed, "Closed")
		}
	})
}

func TestWebSocketUpgrade(t *testing.T) {
	e := newTestEngine(t, Config{})
	strict, _ := listen(t, e, ListenerConfig{Network: "ws", WebSocket: &WSConfig{Path: "/broker", Origins: []string{"https://good.example"}}}, nil)
	lax, _ := listen(t, e, ListenerConfig{Network: "ws", WebSocket: &WSConfig{Path: "*", AnySubprotocol: true}}, nil)
	for name, tc := range map[string]struct {
		l       *Listener
		path    string
		headers string
		status  int
		proto   string
	}{
		"good":            {strict, "/broker", offerMQTT + "Origin: https://good.example\r\n", 101, "mqtt"},
		"no origin":       {strict, "/broker", offerMQTT, 101, "mqtt"},
		"mqttv3.1":        {strict, "/broker", "Sec-WebSocket-Protocol: chat, mqttv3.1\r\n", 101, "mqttv3.1"},
		"wrong path":      {strict, "/mqtt", offerMQTT, 404, ""},
		"wrong origin":    {strict, "/broker", offerMQTT + "Origin: https://evil.example\r\n", 403, ""},
		"no subprotocol":  {strict, "/broker", "", 400, ""}, // [MQTT-6.0.0-3]
		"bad subprotocol": {strict, "/broker", "Sec-WebSocket-Protocol: chat\r\n", 400, ""},
		"long header":     {strict, "/broker", offerMQTT + "Cookie: " + strings.Repeat("x", 9000) + "\r\n", 431, ""},
		"big header":      {strict, "/broker", offerMQTT + "Cookie: " + strings.Repeat("x", 6000) + "\r\n", 101, "mqtt"},
		"any path":        {lax, "/", offerMQTT, 101, "mqtt"},
		"any subprotocol": {lax, "/x", "", 101, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, resp := wsDial(t, dial(t, tc.l), tc.path, tc.headers)
			if resp.StatusCode != tc.status || resp.Header.Get("Sec-WebSocket-Protocol") != tc.proto {
				t.Errorf("status %s, subprotocol %q, want %d, %q", resp.Status, resp.Header.Get("Sec-WebSocket-Protocol"), tc.status, tc.proto)
			}
			if body, _ := io.ReadAll(resp.Body); tc.status == 400 && !strings.Contains(string(body), "subprotocol") {
				t.Errorf("refusal does not say why: %q", body)
			}
		})
	}
	eventually(t, "all five failures are counted", func() bool { return strict.Stats().FailedWS == 5 })
}

// Frames that come in the same segment as the upgrade request are not lost.
func TestWebSocketEarlyFrames(t *testing.T) {
	eachDriver(t, func(t *testing.T, cfg Config) {
		e := newTestEngine(t, cfg)
		l, _ := listen(t, e, ListenerConfig{Network: "ws"}, nil)
		raw := dial(t, l)
		request := "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + offerMQTT +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
		early := clientFrame(ws.OpBinary, true, frame([]byte("early")))
		write(t, raw, append([]byte(request), early[:9]...))
		nc := &wsClient{Conn: raw, r: bufio.NewReader(raw)}
		if resp, err := http.ReadResponse(nc.r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		write(t, raw, early[9:])
		if got := readFrame(t, nc); string(got) != "early" {
			t.Errorf("got %q", got)
		}
	})
}
