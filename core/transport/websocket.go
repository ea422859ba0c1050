package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/gobwas/ws"
)

// WSConfig is the WebSocket part of a [ListenerConfig].
type WSConfig struct {
	// Path is the only path that is served, "/mqtt" if empty. "*" serves any.
	Path string

	// Origins are the Origin header values that are accepted, such as "https://example.org"; empty accepts any. Clients that send
	// no Origin are not browsers and are accepted.
	Origins []string

	// AnySubprotocol accepts clients that do not offer the subprotocol "mqtt" (or "mqttv3.1"), which [MQTT-6.0.0-3] demands.
	AnySubprotocol bool
}

// wsHeadLimit bounds the upgrade request, cookies of browsers included.
const wsHeadLimit = 8 << 10

var wsHeadEnd = []byte("\r\n\r\n")

// wsUpgrade answers the upgrade request on conn and returns the bytes that came after it.
func wsUpgrade(conn io.ReadWriter, cfg *WSConfig) (ahead []byte, err error) {
	head, ahead, err := readHead(conn)
	if err != nil {
		return nil, err
	}
	request := struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(head), conn}
	var offered bool
	_, err = ws.Upgrader{
		ReadBufferSize: wsHeadLimit,
		OnRequest: func(uri []byte) error {
			path, _, _ := strings.Cut(string(uri), "?")
			if want := cfg.path(); want != "*" && path != want {
				return reject(http.StatusNotFound, "MQTT is served at "+want)
			}
			return nil
		},
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), "Origin") && !cfg.originAllowed(string(value)) {
				return reject(http.StatusForbidden, "this origin is not allowed")
			}
			return nil
		},
		Protocol: func(name []byte) bool {
			ok := string(name) == "mqtt" || string(name) == "mqttv3.1"
			offered = offered || ok
			return ok
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			if !offered && !cfg.AnySubprotocol {
				return nil, reject(http.StatusBadRequest, `the WebSocket subprotocol "mqtt" must be offered [MQTT-6.0.0-3]`)
			}
			return nil, nil
		},
	}.Upgrade(request)
	if err != nil {
		return nil, fmt.Errorf("websocket upgrade: %w", err)
	}
	return ahead, nil
}

func reject(status int, text string) error {
	return ws.RejectConnectionError(ws.RejectionStatus(status), ws.RejectionReason(text))
}

func (cfg *WSConfig) path() string {
	if cfg.Path == "" {
		return "/mqtt"
	}
	return cfg.Path
}

func (cfg *WSConfig) originAllowed(origin string) bool {
	return len(cfg.Origins) == 0 || slices.ContainsFunc(cfg.Origins, func(allowed string) bool {
		return strings.EqualFold(allowed, origin)
	})
}

var errHeadTooLong = errors.New("websocket upgrade: request header too long")

// readHead reads up to the empty line. The upgrader reads through a buffer of its own and would lose frames that come with the
// request, so it gets exactly the request.
func readHead(conn io.ReadWriter) (head, ahead []byte, err error) {
	buf := make([]byte, 0, 1<<10)
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
		old := len(buf)
		n, err := conn.Read(buf[old:min(cap(buf), wsHeadLimit)])
		buf = buf[:old+n]
		if i := bytes.Index(buf[max(0, old-len(wsHeadEnd)+1):], wsHeadEnd); i >= 0 {
			end := max(0, old-len(wsHeadEnd)+1) + i + len(wsHeadEnd)
			return buf[:end], buf[end:], nil
		}
		if len(buf) >= wsHeadLimit {
			_, _ = io.WriteString(conn, "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return nil, nil, errHeadTooLong
		}
		if err != nil {
			return nil, nil, fmt.Errorf("websocket upgrade: %w", err)
		}
	}
}
