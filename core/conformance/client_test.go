package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for the broker. It only matters when a test fails.
const patience = 10 * time.Second

var (
	runTag  = strconv.FormatInt(time.Now().UnixNano()%(36*36*36*36*36), 36)
	counter atomic.Int64
)

// unique returns a new name of letters and digits, at most 23 of them: a Client
// Identifier or the first level of a topic that no other test uses.
func unique() string {
	return "t" + runTag + "x" + strconv.FormatInt(counter.Add(1), 36)
}

// client is one connection to the broker. It belongs to the goroutine of its test.
type client struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
	v  version

	connect connectPacket // as sent
	connack packet        // as received

	// What inspect keeps of the connection.
	closing  bool           // a DISCONNECT or a refusing CONNACK has arrived
	inflight map[int]byte   // QoS by Packet Identifier of the broker's unfinished PUBLISHes
	aliases  map[int]string // the broker's Topic Aliases

	stash  []packet // read by take, but not asked for yet
	nextID int
}

// dial opens a connection without sending anything.
func dial(t testing.TB, addr string, v version) *client {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	return wrap(t, nc, v)
}

func wrap(t testing.TB, nc net.Conn, v version) *client {
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc, br: bufio.NewReader(nc), v: v, inflight: map[int]byte{}, aliases: map[int]string{}}
}

// fresh is a CONNECT with a new Client Identifier and a clean start.
func fresh(v version) connectPacket { return connectPacket{v: v, id: unique(), clean: true} }

// lasting is a CONNECT whose Session outlives the connection.
func lasting(v version, id string) connectPacket {
	c := connectPacket{v: v, id: id}
	if v == v5 {
		c.props = prop(pSessionExpiry, 300)
	}
	return c
}

// connecting sends a CONNECT to the shared broker and does not read the answer.
func connecting(t testing.TB, p connectPacket) *client {
	t.Helper()
	return connectingTo(t, broker(t), p)
}

func connectingTo(t testing.TB, addr string, p connectPacket) *client {
	t.Helper()
	c := dial(t, addr, p.v)
	c.sendConnect(p)
	return c
}

func (c *client) sendConnect(p connectPacket) {
	c.t.Helper()
	c.connect = p
	c.send(p.bytes())
}

// open connects to the shared broker.
func open(t testing.TB, p connectPacket) *client {
	t.Helper()
	return openAt(t, broker(t), p)
}

func openAt(t testing.TB, addr string, p connectPacket) *client {
	t.Helper()
	c := connectingTo(t, addr, p)
	c.accepted()
	return c
}

// accepted reads the CONNACK that lets the client in.
func (c *client) accepted() packet {
	c.t.Helper()
	p := c.expect(CONNACK)
	if p.code != 0 {
		c.t.Fatalf("CONNECT was refused: %v", p)
	}
	return p
}

// send writes bytes as they are.
func (c *client) send(parts ...[]byte) {
	c.t.Helper()
	c.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.nc.Write(join(parts...)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// trySend is send to a connection that the broker may have closed already.
func (c *client) trySend(parts ...[]byte) {
	c.nc.SetWriteDeadline(time.Now().Add(patience))
	c.nc.Write(join(parts...))
}

var errClosed = errors.New("connection closed by the broker")

// read returns the next packet, or errClosed. Anything else fails the test.
func (c *client) read() (packet, error) {
	c.t.Helper()
	return c.readUntil(time.Now().Add(patience))
}

func (c *client) readUntil(deadline time.Time) (packet, error) {
	c.t.Helper()
	c.nc.SetReadDeadline(deadline)
	first, body, err := readFrame(c.br)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return packet{}, err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return packet{}, errClosed
	}
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	p, err := decode(c.v, first, body)
	if err != nil {
		c.t.Fatalf("read: %v: % X", err, body)
	}
	for _, violation := range c.inspect(&p) {
		c.t.Errorf("%v: %s", p, violation)
	}
	return p, nil
}

// readFrame reads one packet's first byte and body.
func readFrame(br *bufio.Reader) (byte, []byte, error) {
	first, err := br.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	var head [4]byte
	for i := range head {
		if head[i], err = br.ReadByte(); err != nil {
			return 0, nil, err
		}
		if head[i] < 0x80 {
			r := reader{b: head[:i+1]}
			n := r.vbi()
			if r.err != nil {
				return 0, nil, fmt.Errorf("remaining length: %w", r.err)
			}
			// Not allocated before it is there: the length may be a lie.
			body, err := io.ReadAll(io.LimitReader(br, int64(n)))
			if err == nil && len(body) < n {
				err = io.ErrUnexpectedEOF
			}
			return first, body, err
		}
	}
	return 0, nil, errors.New("remaining length has more than four bytes")
}

// next returns the next packet, whatever it is.
func (c *client) next() packet {
	c.t.Helper()
	if len(c.stash) > 0 {
		p := c.stash[0]
		c.stash = c.stash[1:]
		return p
	}
	p, err := c.read()
	if err != nil {
		c.t.Fatalf("waiting for a packet: %v", err)
	}
	return p
}

// expect returns the next packet, which must be of the type.
func (c *client) expect(typ byte) packet {
	c.t.Helper()
	p := c.next()
	if p.typ != typ {
		c.t.Fatalf("got %v, want %s", p, typeNames[typ])
	}
	return p
}

// take returns the first packet of the type and leaves the others for later.
func (c *client) take(typ byte) packet {
	c.t.Helper()
	for i, p := range c.stash {
		if p.typ == typ {
			c.stash = slices.Delete(c.stash, i, i+1)
			return p
		}
	}
	for {
		p, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", typeNames[typ], err)
		}
		if p.typ == typ {
			return p
		}
		c.stash = append(c.stash, p)
	}
}

// quiet checks that nothing has been sent to the client: the answer to a PINGREQ
// is the next packet.
func (c *client) quiet() {
	c.t.Helper()
	if len(c.stash) > 0 {
		c.t.Fatalf("unexpected %v", c.stash[0])
	}
	c.send(pingreq)
	if p := c.next(); p.typ != PINGRESP {
		c.t.Fatalf("unexpected %v", p)
	}
}

// drain returns all PUBLISH packets that have been sent to the client so far.
func (c *client) drain() []packet {
	c.t.Helper()
	c.send(pingreq)
	var out []packet
	for {
		p := c.next()
		switch p.typ {
		case PINGRESP:
			return out
		case PUBLISH:
			out = append(out, p)
		default:
			c.t.Fatalf("unexpected %v", p)
		}
	}
}

// gone waits until the broker has closed the connection, and lets nothing else
// arrive before.
func (c *client) gone() {
	c.t.Helper()
	if p, err := c.read(); err == nil {
		c.t.Fatalf("got %v, want the connection closed", p)
	} else if err != errClosed {
		c.t.Fatalf("connection is still open: %v", err)
	}
}

// dropped waits until the broker has closed the connection because of an error:
// in MQTT 5 after a DISCONNECT with one of the Reason Codes, before without.
func (c *client) dropped(codes ...byte) {
	c.t.Helper()
	if c.v != v5 {
		c.gone()
		return
	}
	p, err := c.read()
	if err == errClosed && !strict() {
		return
	}
	if err != nil {
		c.t.Fatalf("waiting for DISCONNECT % X: %v", codes, err)
	}
	if p.typ != DISCONNECT || !slices.Contains(codes, p.code) {
		c.t.Fatalf("got %v, want DISCONNECT % X", p, codes)
	}
	c.gone()
}

// refused waits until the broker has refused a CONNECT: with a CONNACK of one of
// the codes, or without one if there are none, and by closing the connection.
func (c *client) refused(codes ...byte) {
	c.t.Helper()
	if len(codes) == 0 {
		c.gone()
		return
	}
	p, err := c.read()
	if err == errClosed && c.v == v5 && !strict() {
		return
	}
	if err != nil {
		c.t.Fatalf("waiting for CONNACK % X: %v", codes, err)
	}
	if p.typ != CONNACK || !slices.Contains(codes, p.code) || p.present {
		c.t.Fatalf("got %v, want CONNACK % X", p, codes)
	}
	c.gone()
}

// malformed is refused for a CONNECT that is not well-formed, for which MQTT
// 3.1.1 has no CONNACK [MQTT-3.1.4-1].
func (c *client) malformed(codes ...byte) {
	c.t.Helper()
	if c.v == v5 {
		c.refused(codes...)
	} else {
		c.refused()
	}
}

// cut ends the connection without a DISCONNECT, as if the network had failed, and
// waits until the broker has noticed.
func (c *client) cut() {
	c.t.Helper()
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	c.nc.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c.br); errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the broker has not noticed that the connection is lost")
	}
	c.nc.Close()
}

// leave disconnects in the proper way and waits until the broker has seen it.
func (c *client) leave() {
	c.t.Helper()
	c.send(disconnect)
	c.gone()
}

// packetID returns a Packet Identifier that the client has not used.
func (c *client) packetID() int {
	c.nextID++
	return c.nextID
}
