package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	mqtt3 "github.com/eclipse/paho.mqtt.golang"
)

// target is where a broker listens.
type target struct {
	network string       // "tcp" or "unix"
	address string       // host:port or path
	bind    *net.TCPAddr // local address, may be nil
	wsPath  string       // not empty: WebSocket, with this path and query
	tls     *tls.Config
}

// String is how messages name the broker.
func (t target) String() string {
	if t.wsPath != "" {
		return t.webSocketURL()
	}
	return t.address
}

func (t target) webSocketURL() string {
	if t.tls != nil {
		return "wss://" + t.address + t.wsPath
	}
	return "ws://" + t.address + t.wsPath
}

// dial opens the connection up to where MQTT begins. Its errors are complete lines for the user.
func (t target) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	raw, err := t.dialRaw(ctx)
	if err != nil {
		return nil, t.explain(err)
	}
	return newConn(raw), nil
}

func (t target) dialRaw(ctx context.Context) (net.Conn, error) {
	if t.wsPath != "" {
		return mqtt3.NewWebsocket(t.webSocketURL(), t.tls, answerTimeout, nil, nil)
	}
	var dialer net.Dialer
	if t.bind != nil {
		dialer.LocalAddr = t.bind
	}
	raw, err := dialer.DialContext(ctx, t.network, t.address)
	if err != nil || t.tls == nil {
		return raw, err
	}
	secure := tls.Client(raw, t.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error says more
		return nil, err
	}
	return secure, nil
}

// brokerURL is a parsed -L.
type brokerURL struct {
	tls                  bool
	host                 string
	port                 uint16 // 0 = not given
	path                 string // of WebSocket, never empty for ws and wss
	topic                string // of mqtt and mqtts
	user, password       string
	hasUser, hasPassword bool
}

// parseURL reads the -L form of mosquitto_sub. net/url cannot: a topic may hold '#' and '?' as they are.
func parseURL(s string) (*brokerURL, error) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		return nil, errors.New("want mqtt://host, mqtts://host, ws://host or wss://host")
	}
	authority, path, _ := strings.Cut(rest, "/")
	u := &brokerURL{}
	switch strings.ToLower(scheme) {
	case "mqtt", "tcp":
		u.topic = path
	case "mqtts", "ssl":
		u.topic, u.tls = path, true
	case "ws":
		u.path = "/" + path
	case "wss":
		u.path, u.tls = "/"+path, true
	default:
		return nil, fmt.Errorf("unknown scheme %q; want mqtt, mqtts, ws or wss", scheme)
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := u.setCredentials(authority[:at]); err != nil {
			return nil, err
		}
		authority = authority[at+1:]
	}
	return u, u.setHost(authority)
}

func (u *brokerURL) setCredentials(s string) (err error) {
	user, password, hasPassword := strings.Cut(s, ":")
	u.hasUser, u.hasPassword = true, hasPassword
	if u.user, err = url.PathUnescape(user); err != nil {
		return errors.New("user name: bad percent-encoding")
	}
	if u.password, err = url.PathUnescape(password); err != nil {
		return errors.New("password: bad percent-encoding")
	}
	return nil
}

func (u *brokerURL) setHost(authority string) error {
	u.host = authority
	// A colon inside brackets belongs to an IPv6 address.
	if colon := strings.LastIndexByte(authority, ':'); colon > strings.LastIndexByte(authority, ']') {
		port, err := strconv.ParseUint(authority[colon+1:], 10, 16)
		if err != nil || port == 0 {
			return fmt.Errorf("port %q: want a number from 1 to 65535", authority[colon+1:])
		}
		u.host, u.port = authority[:colon], uint16(port)
	}
	if strings.HasPrefix(u.host, "[") && strings.HasSuffix(u.host, "]") {
		u.host = u.host[1 : len(u.host)-1]
	}
	if u.host == "" || strings.ContainsAny(u.host, "[] ") {
		return errors.New("no host name")
	}
	return nil
}

// redactURL takes the credentials out of a URL that goes into an error.
func redactURL(s string) string {
	scheme, rest, found := strings.Cut(s, "://")
	if at := strings.LastIndexByte(rest, '@'); found && at >= 0 {
		return scheme + "://…" + rest[at:]
	}
	return s
}

// sleep waits for d; it returns false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
