package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/transport"
)

// fail ends the connection because of something the client did, or that keeps
// the server from serving it; the client is told as far as its version can.
func (c *conn) fail(err error) {
	code, reason := reasonOf(err)
	if isProtocolError(code) {
		c.b.stats.ProtocolErrors.Add(1)
	}
	if c.state != connected {
		c.refuseConnect(code, reason)
		c.shut(err)
		return
	}
	c.end(code, reason, err)
}

// disconnect ends a connection from any goroutine, with DISCONNECT to MQTT 5
// clients. It does nothing if it has ended already.
func (c *conn) disconnect(code packet.ReasonCode, reason string) {
	c.end(code, reason, refuse(code, reason))
}

func (c *conn) end(code packet.ReasonCode, reason string, err error) {
	if c.ended.Load() {
		return
	}
	if c.version == packet.V5 {
		d := packet.Disconnect{Code: carried(packet.TypeDisconnect, code)}
		if reason != "" && !c.noProblemInfo {
			d.Props.SetReasonString(reason)
		}
		if code == packet.UseAnotherServer || code == packet.ServerShuttingDown {
			if ref := c.b.live.Load().MQTT.ServerReference; ref != "" {
				d.Props.SetServerReference(ref)
			}
		}
		b, fits := c.encode(&d)
		if !fits {
			d.Props = packet.Properties{} // [MQTT-3.14.2-3]
			b, fits = c.encode(&d)
		}
		if fits && !c.ended.Swap(true) {
			c.Append(b)
			c.b.stats.PacketsSent[packet.TypeDisconnect].Add(1)
		}
	}
	c.shut(err)
}

// encode encodes a packet other than PUBLISH; fits is false if it is larger than
// the client takes [MQTT-3.1.2-24].
func (c *conn) encode(pkt interface {
	Append(dst []byte, v packet.Version) ([]byte, error)
}) (b []byte, fits bool) {
	b, err := pkt.Append(nil, min(c.version, packet.V5))
	return b, err == nil && (c.maxOut == 0 || len(b) <= int(c.maxOut))
}

// reply sends a packet other than PUBLISH to a client; one that the client does
// not take ends the connection.
func (c *conn) reply(p *transport.Pass, typ packet.Type, pkt interface {
	Append(dst []byte, v packet.Version) ([]byte, error)
}) error {
	b, fits := c.encode(pkt)
	if !fits {
		return refuse(packet.PacketTooLarge, "the answer exceeds the client's Maximum Packet Size")
	}
	c.Append(b)
	p.Scratch.(*scratch).tally.sent(typ, 1)
	p.Flush(c.Conn)
	return nil
}

// shut closes the connection after what has been written.
func (c *conn) shut(err error) {
	c.once.Do(func() {
		c.closed = err
		c.ended.Store(true)
		c.Conn.Close(err)
	})
}

// reasonOf is what a client is told about an error.
func reasonOf(err error) (packet.ReasonCode, string) {
	var pe *packet.Error
	if errors.As(err, &pe) {
		return pe.Code, pe.Error()
	}
	var re *reasonError
	if errors.As(err, &re) {
		return re.code, re.reason
	}
	return packet.UnspecifiedError, ""
}

func isProtocolError(code packet.ReasonCode) bool {
	switch code {
	case packet.MalformedPacket, packet.ProtocolError, packet.UnsupportedProtocolVersion, packet.TopicAliasInvalid,
		packet.PacketTooLarge, packet.ReceiveMaximumExceeded, packet.TopicNameInvalid:
		return true
	}
	return false
}

// ending tells others when a connection has ended.
type ending struct {
	mu    sync.Mutex
	over  bool
	tells []func()
}

// tell calls done, from another goroutine, when the connection has ended, or
// returns true if it has.
func (e *ending) tell(done func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.tells = append(e.tells, done)
	}
	return e.over
}

func (e *ending) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	for _, done := range e.tells {
		done()
	}
	e.tells = nil
}

// through tells those who wait for the end of the connection: the client's next
// one, which may be on another executor. What it has published has to be in the
// out-buffers by then, or could be overtaken [MQTT-4.6.0-5].
func (c *conn) through(p *transport.Pass) {
	c.b.settleAll(p)
	c.gone.end()
}

// Closed is called once, when the connection is gone.
func (c *conn) Closed(p *transport.Pass, err error) {
	defer c.through(p)
	c.b.clock.Fresh() // session expiry and Will Delay count from here
	c.ended.Store(true)
	c.b.clock.Disarm(&c.timer)
	if c.retry != nil {
		c.b.clock.Disarm(c.retry)
	}
	if c.rates != nil {
		c.b.clock.Disarm(&c.rates.timer)
	}
	if c.auth != nil {
		c.b.clock.Disarm(&c.auth.life)
	}
	if c.stall != nil {
		c.b.clock.Disarm(&c.stall.timer)
	}
	c.caughtUp()
	c.b.stats.Connected.Add(-1)
	c.b.stats.BytesSent.Add(int64(c.BytesOut()))
	c.next = nil
	for _, b := range [...]*batch{c.batch, c.deciding} {
		if b == nil {
			continue
		}
		for i := range b.items {
			c.abandon(&b.items[i])
		}
	}
	c.batch, c.deciding = nil, nil
	c.dropAcks()
	c.b.memory.forget(c)
	c.b.backlog.forget(c)
	ours := true
	c.once.Do(func() { ours, c.closed = false, err })
	err = c.closed
	if a := c.attaching; a != nil {
		c.attaching = nil
		c.discard(a)
	}
	if c.sess == nil {
		level := slog.LevelDebug // who only looked whether somebody listens
		if ours {
			level = slog.LevelInfo
		}
		about := []any{"remote", c.RemoteAddr(), "listener", c.lst.Transport.Name, "reason", closeReason(err)}
		if c.client != nil {
			about = append(about, "client", c.client.ID, "namespace", c.client.Namespace)
		}
		c.b.log.Log(context.Background(), level, "connection refused", about...)
		return
	}
	code, _ := reasonOf(err)
	if c.normalEnd {
		code = packet.Success
	}
	c.b.event(hook.Event{Point: hook.Disconnected, Client: c.client, Code: code, Reason: closeReason(err)})
	c.detach(p)
	c.b.log.Info("client disconnected", "client", c.client.ID, "namespace", c.client.Namespace,
		"remote", c.RemoteAddr(), "reason", closeReason(err))
}

// closeReason puts into words why a connection ended.
func closeReason(err error) string {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return "closed by the client"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "the client took nothing within limits.write_timeout"
	}
	return err.Error()
}
