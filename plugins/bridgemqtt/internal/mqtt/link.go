package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Options of a Link. They must not be changed afterwards.
type Options struct {
	// Servers are tried in order, the first one again first after each loss.
	Servers []*Server
	// Versions are tried in order where a server refuses one.
	Versions []Version
	// Bridge asks 3.1.1 servers with the bit of bridges not to send back what this client
	// has published, and to keep RETAIN; those that refuse it are asked again without.
	Bridge        bool
	ClientID      string
	Username      string
	Password      []byte
	HasPassword   bool
	CleanStart    bool   // of the first connection; the Link itself always wants to go on
	SessionExpiry uint32 // in seconds
	KeepAlive     time.Duration
	// ConnectTimeout is for everything up to CONNACK.
	ConnectTimeout time.Duration
	// ReceiveMaximum is how many messages of QoS 1 and 2 may come unacknowledged, MaxInflight
	// how many may go, up to 60,000; MaxPacket the largest packet to take, in bytes.
	ReceiveMaximum uint16
	MaxInflight    int
	MaxPacket      uint32
	TLS            *tls.Config
	Header         http.Header // of the WebSocket handshake
	// Will is published by the server when the connection is gone, Birth by the Link when there
	// is one; nil: nothing.
	Will, Birth *Message
	// Subscribe is made with every connection to a session that is not known to have it.
	Subscribe []Subscription
	// Unsubscribe is taken back with the first connection.
	Unsubscribe []string
	// QoS2 says that messages of QoS 2 will be published.
	QoS2 bool
	// RetryMin is the first pause when all servers have failed, doubled up to RetryMax.
	RetryMin, RetryMax time.Duration
	// Failback is how often a Link that is not with its first server looks whether that is
	// back; 0 is never.
	Failback time.Duration
	// Sending is told of each message that goes to a server which sends it back where a
	// subscription matches it. It must not block, nor call the Link, nor keep the message.
	Sending func(m *Message)
	// Changed is told of each change of State. It must not block, nor call the Link.
	Changed func(State)
	// Refused is told of subscriptions that the server refuses. It must not block.
	Refused func(filter string, code byte)
}

// State is how a Link is.
type State struct {
	Connected bool
	Server    string
	Version   Version
	// Bridge says that a 3.1.1 server does not send back what this client publishes.
	Bridge bool
	// Resumed says that the server has still had the session.
	Resumed bool
	Since   time.Time
	// Err is why there is no connection, or why the last one ended.
	Err string
}

// Link is a connection that is there again when it was lost. Its methods are safe for
// concurrent use.
type Link struct {
	o Options

	mu      sync.Mutex
	state   State
	changed chan struct{}       // closed with each change of state
	conn    *connection         // nil: none
	ever    bool                // there has been a connection
	spoke   map[*Server]attempt // how a server has let the client in before
	out     outgoing
	in      incoming
}

// New makes a Link, which Run brings to life.
func New(o Options) *Link {
	l := &Link{o: o, changed: make(chan struct{}), spoke: map[*Server]attempt{}, state: State{Since: time.Now(), Err: "not connected yet"}}
	l.out.init(o.MaxInflight)
	l.in.init()
	return l
}

// State returns how the Link is, and a channel that is closed when that has changed.
func (l *Link) State() (State, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.changed
}

// set is called with mu held.
func (l *Link) set(s State) {
	if s.Connected != l.state.Connected || s.Since.IsZero() {
		s.Since = time.Now()
	} else {
		s.Since = l.state.Since
	}
	l.state = s
	close(l.changed)
	l.changed = make(chan struct{})
	if l.o.Changed != nil {
		l.o.Changed(s)
	}
}

var (
	errTakenOver = errors.New("another client has the client id now")
	errFailback  = errors.New("the first server is back")
)

const (
	// stable is how long a connection has to have been there for the next to be tried at once.
	stable = 2 * time.Second
	// truce is the shortest pause after another client has taken the session: it may be this
	// bridge's successor.
	truce = 5 * time.Second
)

// Run keeps the connection until ctx ends.
func (l *Link) Run(ctx context.Context) {
	pause := l.o.RetryMin
	for {
		lasted, err := l.round(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, errTakenOver):
			pause = max(pause, truce)
		case errors.Is(err, errFailback), lasted >= stable:
			pause = l.o.RetryMin
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause*3/4 + rand.N(pause/2+1)):
		}
		pause = min(2*pause, max(l.o.RetryMax, truce))
	}
}

// round tries the servers in turn until one lets the client in, and stays there. It
// returns why that has ended, or why the last one has refused, and how long it has lasted.
func (l *Link) round(ctx context.Context) (lasted time.Duration, err error) {
	for i := range l.o.Servers {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		began := time.Now()
		var ok bool
		ok, err = l.session(ctx, i)
		l.lost(err)
		if ok {
			return time.Since(began), err
		}
	}
	return 0, err
}

// lost notes that there is no connection.
func (l *Link) lost(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.Connected, s.Err = false, err.Error()
	l.set(s)
}

// attempt is a way to say CONNECT.
type attempt struct {
	version Version
	bridge  bool
}

// attempts are the ways to try with a server. One that has let the client in before still
// speaks that version: if it does not answer, that is not why.
func (l *Link) attempts(s *Server) (list []attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.spoke[s]; ok {
		return []attempt{a}
	}
	for _, v := range l.o.Versions {
		if v == V311 && l.o.Bridge {
			list = append(list, attempt{v, true})
		}
		list = append(list, attempt{v, false})
	}
	return list
}

// session connects to a server and stays with it. It reports whether the server has let
// the client in, and why it has ended.
func (l *Link) session(ctx context.Context, server int) (ok bool, err error) {
	s := l.o.Servers[server]
	var c *connection
	for _, a := range l.attempts(s) {
		c, err = l.open(ctx, s, a.version, a.bridge)
		var refused *refusedVersion
		if !errors.As(err, &refused) {
			break
		}
		if refused.said { // it has been changed, perhaps
			l.mu.Lock()
			delete(l.spoke, s)
			l.mu.Unlock()
		}
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", s, err)
	}
	l.mu.Lock()
	l.spoke[s] = attempt{c.version, c.bridge}
	l.mu.Unlock()
	return true, fmt.Errorf("%s: %w", s, l.serve(ctx, c, server))
}

// refusedVersion is a server's refusal of a protocol version.
type refusedVersion struct {
	error
	said bool // by the server, which has not just closed the connection
}

// open dials a server and says CONNECT.
func (l *Link) open(ctx context.Context, s *Server, v Version, bridge bool) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.ConnectTimeout)
	defer cancel()
	nc, err := s.dial(ctx, l.o.TLS, l.o.Header)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	c := newConnection(l, s, nc, v, bridge)
	l.mu.Lock()
	ever := l.ever
	l.mu.Unlock()
	hello := connect{
		version: v, bridge: bridge, clientID: l.o.ClientID, username: l.o.Username, password: l.o.Password, hasPassword: l.o.HasPassword,
		cleanStart: l.o.CleanStart && !ever, keepAlive: uint16(l.o.KeepAlive / time.Second), sessionExpiry: l.o.SessionExpiry,
		receiveMaximum: l.o.ReceiveMaximum, maximumPacket: l.o.MaxPacket, will: l.o.Will,
	}
	if v == V311 {
		hello.cleanStart = l.o.SessionExpiry == 0 || hello.cleanStart
	}
	if _, err := nc.Write(appendConnect(nil, &hello)); err != nil {
		nc.Close()
		return nil, timely(ctx, err)
	}
	if err := c.connack(); err != nil {
		nc.Close()
		return nil, timely(ctx, err)
	}
	return c, nil
}

// timely says that the time was over, if that is why.
func timely(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("no CONNACK in time")
	}
	return err
}

// connack reads the answer to CONNECT.
func (c *connection) connack() error {
	h, err := readHeader(c.r)
	if err != nil {
		if c.version == V5 || c.bridge {
			// Old servers close the connection when they do not know a version.
			return &refusedVersion{fmt.Errorf("no CONNACK: %w", err), false}
		}
		return fmt.Errorf("no CONNACK: %w", err)
	}
	if h.kind != typeConnack || h.remaining > 1<<16 {
		return fmt.Errorf("%w: packet type %d in place of CONNACK", errMalformed, h.kind)
	}
	b, err := c.body(h.remaining)
	if err != nil {
		return err
	}
	if c.ack, err = parseConnack(b, c.version); err != nil {
		return err
	}
	switch code := c.ack.code; {
	case code == 0:
		return nil
	case c.version == V5 && (code == 0x84 || code == 0x01), c.version == V311 && code == 0x01:
		return &refusedVersion{fmt.Errorf("the server does not speak MQTT %s", c.version), true}
	default:
		return fmt.Errorf("the server refuses the connection: %s", reasonText(c.version, code, c.ack.reason))
	}
}

// reasonText is a Reason Code for people.
func reasonText(v Version, code byte, reason string) string {
	text := reasons[code]
	if v == V311 {
		text = returnCodes[code]
	}
	if text == "" {
		text = "unknown reason"
	}
	text = fmt.Sprintf("%s (0x%02X)", text, code)
	if reason != "" {
		text += ": " + reason
	}
	return text
}

// returnCodes are those of a CONNACK of 3.1.1 (§3.2.2.3).
var returnCodes = map[byte]string{
	1: "unacceptable protocol version", 2: "client id rejected", 3: "server unavailable", 4: "bad user name or password", 5: "not authorized",
}

// reasons are Reason Codes of refusals (MQTT 5 §2.4).
var reasons = map[byte]string{
	0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
	0x84: "unsupported protocol version", 0x85: "client id not valid", 0x86: "bad user name or password", 0x87: "not authorized",
	0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned", 0x8B: "server shutting down", 0x8C: "bad authentication method",
	0x8D: "keep alive timeout", 0x8E: "session taken over", 0x8F: "topic filter invalid", 0x90: "topic name invalid",
	0x91: "packet identifier in use", 0x92: "packet identifier not found", 0x93: "receive maximum exceeded", 0x94: "topic alias invalid",
	0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded", 0x98: "administrative action",
	0x99: "payload format invalid", 0x9A: "retain not supported", 0x9B: "QoS not supported", 0x9C: "use another server",
	0x9D: "server moved", 0x9E: "shared subscriptions not supported", 0x9F: "connection rate exceeded", 0xA0: "maximum connect time",
	0xA1: "subscription identifiers not supported", 0xA2: "wildcard subscriptions not supported",
}

// Reason is a Reason Code that Done was told, for people.
func Reason(code byte, reason string) string { return reasonText(V5, code, reason) }
