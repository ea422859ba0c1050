package bridgetest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// retry is the pause of clients whose broker is away.
const retry = 20 * time.Millisecond

// connection is one of a client that keeps its session, with MQTT 5.
type connection struct {
	nc      net.Conn
	r       *bufio.Reader
	resumed bool // the broker had the session
	window  int  // how many messages of QoS 1 it takes unacknowledged
}

// dial connects, and returns when the broker has said yes.
func dial(addr, clientID string) (*connection, error) {
	nc, err := net.DialTimeout(network(addr), addr, Patience)
	if err != nil {
		return nil, err
	}
	c := &connection{nc: nc, r: bufio.NewReaderSize(nc, 64<<10), window: 65535}
	if err := c.connect(clientID); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (c *connection) connect(clientID string) error {
	_ = c.nc.SetDeadline(time.Now().Add(Patience))
	defer func() { _ = c.nc.SetDeadline(time.Time{}) }()
	cp := packets.NewControlPacket(packets.CONNECT)
	p := cp.Content.(*packets.Connect)
	day := uint32(24 * 60 * 60)
	p.ClientID, p.Properties.SessionExpiryInterval = clientID, &day
	if _, err := cp.WriteTo(c.nc); err != nil {
		return err
	}
	in, err := packets.ReadPacket(c.r)
	if err != nil {
		return err
	}
	ack, ok := in.Content.(*packets.Connack)
	if !ok || ack.ReasonCode != 0 {
		return fmt.Errorf("the broker does not let %s in: %v", clientID, in)
	}
	c.resumed = ack.SessionPresent
	if m := ack.Properties.ReceiveMaximum; m != nil {
		c.window = int(*m)
	}
	return nil
}

func (c *connection) write(p io.WriterTo) error {
	_, err := p.WriteTo(c.nc)
	return err
}
