package mqtt

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gobwas/ws"
)

// Server is where to connect to.
type Server struct {
	url *url.URL
}

// ParseServer reads a URL: mqtt://host:1883, mqtts://host:8883, ws://host/path,
// wss://host/path, unix:///path. tcp, ssl and tls are known too; ports may be left out.
func ParseServer(s string) (*Server, error) {
	u, err := url.Parse(s)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the text, which may have a password
		}
		return nil, err
	}
	port := ""
	switch u.Scheme {
	case "mqtt", "tcp":
		u.Scheme, port = "mqtt", "1883"
	case "mqtts", "ssl", "tls":
		u.Scheme, port = "mqtts", "8883"
	case "ws":
		port = "80"
	case "wss":
		port = "443"
	case "unix":
		if u.Path == "" || u.Host != "" {
			return nil, errors.New("a unix socket is written as unix:///path")
		}
		return &Server{u}, nil
	default:
		return nil, errors.New("a server is written as mqtt://host:1883, mqtts://host:8883, ws://host/path, wss://host/path or unix:///path")
	}
	if u.Hostname() == "" {
		return nil, errors.New("it has no host")
	}
	if u.User != nil {
		return nil, errors.New("user name and password have keys of their own: username, password")
	}
	if (u.Scheme == "mqtt" || u.Scheme == "mqtts") && strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("only WebSocket has a path")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return &Server{u}, nil
}

// String is the URL.
func (s *Server) String() string { return s.url.String() }

// Secure reports whether the connection is by TLS.
func (s *Server) Secure() bool { return s.url.Scheme == "mqtts" || s.url.Scheme == "wss" }

// dial connects, up to where MQTT begins.
func (s *Server) dial(ctx context.Context, tc *tls.Config, header http.Header) (net.Conn, error) {
	network, address := "tcp", s.url.Host
	if s.url.Scheme == "unix" {
		network, address = "unix", s.url.Path
	}
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if s.Secure() {
		c := tc.Clone()
		if c.ServerName == "" {
			c.ServerName = s.url.Hostname()
		}
		t := tls.Client(nc, c)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		nc = t
	}
	if s.url.Scheme != "ws" && s.url.Scheme != "wss" {
		return nc, nil
	}
	// The handshake ends with its context.
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	d := ws.Dialer{Protocols: []string{"mqtt"}, Header: ws.HandshakeHeaderHTTP(header)}
	br, hs, err := d.Upgrade(nc, s.url)
	if err == nil && hs.Protocol != "mqtt" {
		err = errors.New(`the server has not agreed on the subprotocol "mqtt"`)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("WebSocket: %w", err)
	}
	if br == nil {
		br = bufio.NewReader(nc)
	}
	return &wsConn{Conn: nc, r: br}, nil
}

// wsConn is a WebSocket of binary messages as a stream. Read is for one goroutine, Write
// for another.
type wsConn struct {
	net.Conn
	r    *bufio.Reader
	left int64 // of the present frame
}

// maxControl is the largest payload of a control frame (RFC 6455 §5.5).
const maxControl = 125

func (c *wsConn) Read(b []byte) (int, error) {
	for c.left == 0 {
		h, err := ws.ReadHeader(c.r)
		if err != nil {
			return 0, err
		}
		if h.OpCode.IsControl() {
			if err := c.control(h); err != nil {
				return 0, err
			}
			continue
		}
		if h.OpCode != ws.OpBinary && h.OpCode != ws.OpContinuation || h.Masked || h.Rsv != 0 {
			return 0, errors.New("WebSocket: a frame that is not of MQTT")
		}
		c.left = h.Length
	}
	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

// control deals with a control frame.
func (c *wsConn) control(h ws.Header) error {
	if h.Length > maxControl {
		return errors.New("WebSocket: a control frame that is too long")
	}
	data := make([]byte, h.Length)
	if _, err := io.ReadFull(c.r, data); err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(data)
		return fmt.Errorf("WebSocket: closed by the server, %d %s", code, reason)
	case ws.OpPing:
		return c.frame(ws.OpPong, data)
	}
	return nil
}

func (c *wsConn) Write(b []byte) (int, error) {
	return len(b), c.frame(ws.OpBinary, b)
}

// frame sends one frame in one write, so that those of Read and Write do not mix.
func (c *wsConn) frame(op ws.OpCode, data []byte) error {
	out, err := ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, true, data)))
	if err != nil {
		return err
	}
	_, err = c.Conn.Write(out)
	return err
}
