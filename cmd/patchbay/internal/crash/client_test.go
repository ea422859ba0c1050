package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// sessionExpiry is the Session Expiry Interval of persistent clients in seconds:
// longer than any run.
const sessionExpiry = 24 * 3600

// idle is how long a client looks at nothing but its socket.
const idle = 10 * time.Millisecond

// errOwn ends a visit by the client's own doing.
var errOwn = errors.New("the client has gone by itself")

// stage is one life of the broker as its clients see it.
type stage struct {
	addr string
	// wild: there is traffic, and clients misbehave. Else they catch up with what is
	// old, and publish one last message for each stream.
	wild atomic.Bool
	// leave is closed when clients are to disconnect in order, and killed before the
	// broker is: what goes wrong from then on is nobody's fault. Clients go on until
	// they have read all that the broker had written. gone is closed when it is dead.
	leave, killed, gone chan struct{}
}

func newStage(addr string) *stage {
	return &stage{addr: addr, leave: make(chan struct{}), killed: make(chan struct{}), gone: make(chan struct{})}
}

// handler takes one packet from the broker; body is valid during the call.
type handler func(h packet.Header, body []byte) error

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (st *stage) over() bool { return closed(st.killed) || closed(st.leave) }

// pause waits, but not longer than the stage.
func (st *stage) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-st.killed:
	case <-st.leave:
	}
}

// client is what publishers and subscribers have in common: an MQTT session, and
// connections one after the other. One goroutine owns it during a stage.
type client struct {
	l       *ledger
	who     actor
	version packet.Version
	// clean: every connection starts a new session. Else it goes on with the old.
	clean          bool
	receiveMaximum uint16 // 0: that of the protocol
	rng            *rand.Rand

	// renewing: the next CONNECT is for a new session, whatever there was.
	renewing bool

	asked  bool // a CONNECT was sent: there may be a session
	known  bool // a CONNACK was seen: there must be one
	visits int  // connections so far
	c      *conn
	out    []byte // to be sent with flush
}

// attend takes part in a stage until it is over: one visit after the other.
func (c *client) attend(st *stage, visit func(*stage) error) {
	for !st.over() {
		err := c.visit(st, visit)
		switch {
		case err == nil, closed(st.killed):
			return
		case errors.Is(err, errOwn):
		default:
			c.l.fault(c.who, "the connection failed though the broker was not killed: "+err.Error())
			return
		}
	}
}

// visit is one connection. It ends with nil when the client has disconnected
// because the stage is over.
func (c *client) visit(st *stage, visit func(*stage) error) error {
	c.l.remark(c.who, "sends CONNECT")
	first := !c.asked
	c.asked = true
	nc, ack, err := connect(st.addr, c.request())
	if err != nil {
		return err
	}
	defer nc.cut()
	c.c, c.out = nc, c.out[:0]
	c.visits++
	c.checkPresent(ack.SessionPresent, first)
	return visit(st)
}

func (c *client) request() *packet.Connect {
	req := &packet.Connect{Version: c.version, CleanStart: c.clean || c.renewing, ClientID: c.l.name(c.who)}
	if c.version == packet.V5 {
		if !c.clean {
			req.Props.SetSessionExpiry(sessionExpiry)
		}
		if c.receiveMaximum > 0 {
			req.Props.SetReceiveMaximum(c.receiveMaximum)
		}
	}
	return req
}

// checkPresent holds Session Present against what the broker owes
// [MQTT-3.2.2-2, -3]. first says that this was the client's first CONNECT.
func (c *client) checkPresent(present, first bool) {
	c.l.remark(c.who, fmt.Sprintf("receives CONNACK, session present: %t", present))
	if present && (c.clean || c.renewing || first) {
		c.l.fault(c.who, "CONNACK has Session Present 1, and there cannot be a session")
	}
	if !present && !c.clean && !c.renewing && c.known {
		c.l.fault(c.who, "the session is lost: CONNACK has Session Present 0")
	}
	c.known = true
}

// flush sends what has been put into out. If that fails, what the broker had
// written before is still read: it counts.
func (c *client) flush(handle handler) error {
	err := c.c.send(c.out)
	c.out = c.out[:0]
	if err == nil {
		return nil
	}
	for {
		h, body, none := c.c.next(time.Now().Add(idle))
		if none != nil {
			return err
		}
		if err := handle(h, body); err != nil {
			return err
		}
	}
}

// read returns the next packet, or errIdle if there is none at the deadline.
func (c *client) read(st *stage, deadline time.Time) (packet.Header, []byte, error) {
	gone := closed(st.gone)
	h, body, err := c.c.next(deadline)
	if gone && errors.Is(err, errIdle) {
		err = errors.New("the broker is gone and the connection is not")
	}
	return h, body, err
}

// upTo returns a random time.
func (c *client) upTo(d time.Duration) time.Duration { return time.Duration(c.rng.Int64N(int64(d))) }

// oneIn is true once in n times.
func (c *client) oneIn(n int) bool { return c.rng.IntN(n) == 0 }
