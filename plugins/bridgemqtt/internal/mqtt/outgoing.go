package mqtt

import (
	"bytes"
	"strings"
	"time"
)

// Outgoing is a message that is to be published. It belongs to the Link from Publish until
// Done is called.
type Outgoing struct {
	Message
	// Done is told the server's Reason Code (0 from 3.1.1 servers) when it has the message, or
	// has refused it: once, from a goroutine that it must not hold up, with the Link locked.
	// Of QoS 0 it is told when the message is on its way.
	Done func(code byte, reason string)

	id       uint16
	tried    bool // sent on an earlier connection
	sent     bool // on this one
	released bool // PUBREC has come
	over     bool
}

// CodeTooLarge is told to Done for messages that the server would not take.
const CodeTooLarge = 0x95

// outgoing is what goes to the server, in order. It is guarded by Link.mu.
type outgoing struct {
	list  []*Outgoing // not over, but for some
	next  int         // the first of list that was not sent
	byID  map[uint16]*Outgoing
	ids   []uint16 // free ones
	count int      // sent and not over
	// recovering are Packet Identifiers of which a process before may have left the
	// server a half of a QoS 2 exchange: until it is through, none is used again.
	recovering int
	until      time.Time // when what the server has not answered of it is given up
}

// recovery is how long a server may take to say what it knows of old identifiers. Some
// of 3.1.1 do not speak of those that they do not know.
const recovery = 5 * time.Second

func (o *outgoing) init(n int) {
	o.byID = make(map[uint16]*Outgoing, n)
	for id := n; id >= 1; id-- {
		o.ids = append(o.ids, uint16(id))
	}
}

// Publish queues messages, in order.
func (l *Link) Publish(list []*Outgoing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.list = append(l.out.list, list...)
	l.pump()
}

// Detach copies what belongs to others of those messages that are not over, so that these
// may have their memory back.
func (l *Link) Detach(list []*Outgoing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range list {
		if x.over {
			continue
		}
		m := &x.Message
		m.Topic, m.ContentType, m.ResponseTopic = strings.Clone(m.Topic), strings.Clone(m.ContentType), strings.Clone(m.ResponseTopic)
		m.Payload, m.CorrelationData = bytes.Clone(m.Payload), bytes.Clone(m.CorrelationData)
		pairs := make([]Pair, len(m.UserProperties))
		for i, p := range m.UserProperties {
			pairs[i] = Pair{strings.Clone(p.Name), strings.Clone(p.Value)}
		}
		m.UserProperties = pairs
	}
}

// connected begins a connection: what the server may have is sent again, in order, before
// everything else [MQTT-4.4.0-1].
func (o *outgoing) connected(l *Link, c *connection, recover bool) {
	o.recovering = 0
	if recover {
		// Identifiers are taken from 1 up, so these are all that there can be. What the
		// server does not know of it answers all the same.
		o.recovering, o.until = l.o.MaxInflight, time.Now().Add(recovery)
		c.append(func(b []byte) []byte {
			for id := 1; id <= l.o.MaxInflight; id++ {
				b = appendAck(b, typePubrel, uint16(id))
			}
			return b
		})
	}
	for _, x := range o.list {
		if x.over {
			continue
		}
		if !c.ack.sessionPresent {
			if x.released { // the server had it, and has passed it on
				o.finish(x, 0, "")
			}
			x.tried = false
		}
	}
}

// recovered goes on when the server has had its time to recover.
func (l *Link) recovered(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out.recovering > 0 && now.After(l.out.until) {
		l.out.recovering = 0
		l.pump()
	}
}

// disconnected has everything sent again with the next connection.
func (o *outgoing) disconnected() {
	o.next, o.count = 0, 0
	o.compact()
	for _, x := range o.list {
		x.tried = x.tried || x.sent
		x.sent = false
	}
}

// compact drops what is over from the head of the list.
func (o *outgoing) compact() {
	n := 0
	for n < len(o.list) && o.list[n].over {
		n++
	}
	if n == 0 || n < len(o.list)/2 && n < 1024 {
		return
	}
	left := copy(o.list, o.list[n:])
	clear(o.list[left:])
	o.list, o.next = o.list[:left], max(o.next-n, 0)
}

// pump sends what may be sent. It is called with mu held.
func (l *Link) pump() {
	o, c := &l.out, l.conn
	if c == nil || o.recovering > 0 {
		return
	}
	window := min(int(c.ack.receiveMaximum), l.o.MaxInflight)
	for o.next < len(o.list) && c.room() {
		x := o.list[o.next]
		switch {
		case x.over || x.sent:
		case x.released:
			if o.count >= window {
				return
			}
			o.sent(x)
			c.append(func(b []byte) []byte { return appendAck(b, typePubrel, x.id) })
		default:
			if !l.send(c, x, window) {
				return
			}
		}
		o.next++
	}
	o.compact()
}

func (o *outgoing) sent(x *Outgoing) {
	x.sent = true
	o.count++
}

// send sends a PUBLISH; false if there is no room in the window.
func (l *Link) send(c *connection, x *Outgoing, window int) bool {
	o := &l.out
	m := x.Message
	m.QoS = min(m.QoS, c.ack.maximumQoS)
	m.Retain = m.Retain && c.ack.retain
	n := m.remaining(c.version)
	if n > maximumRemaining || c.ack.maximumPacket > 0 && n+1+sizeVarint(n) > int(c.ack.maximumPacket) {
		o.finish(x, CodeTooLarge, "")
		return true
	}
	if m.QoS > 0 && o.count >= window {
		return false
	}
	if l.o.Sending != nil && c.echoes() {
		l.o.Sending(&m)
	}
	if m.QoS == 0 {
		c.append(func(b []byte) []byte { return appendPublish(b, c.version, &m, 0, false) })
		o.finish(x, 0, "")
		return true
	}
	if x.id == 0 { // there is one: the window is not larger than their number
		x.id = o.ids[len(o.ids)-1]
		o.ids = o.ids[:len(o.ids)-1]
		o.byID[x.id] = x
	}
	o.sent(x)
	c.append(func(b []byte) []byte { return appendPublish(b, c.version, &m, x.id, x.tried) })
	return true
}

// finish takes a message out of everything, and tells its Done.
func (o *outgoing) finish(x *Outgoing, code byte, reason string) {
	if x.over {
		return
	}
	x.over = true
	if x.sent {
		o.count--
	}
	if x.id != 0 {
		delete(o.byID, x.id)
		o.ids = append(o.ids, x.id)
	}
	done := x.Done
	x.Message, x.Done = Message{}, nil
	done(code, reason)
}

// acknowledged deals with PUBACK, PUBREC and PUBCOMP.
func (l *Link) acknowledged(c *connection, kind byte, a ack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.out
	if kind == typePubcomp && o.recovering > 0 {
		if o.recovering--; o.recovering == 0 {
			l.pump()
		}
		return
	}
	x := o.byID[a.id]
	if x == nil || !x.sent {
		if kind == typePubrec && a.code < 0x80 {
			c.append(func(b []byte) []byte { return appendAck(b, typePubrel, a.id) })
		}
		return
	}
	switch {
	case kind != typePubrec:
		if kind == typePubcomp {
			a.code = 0 // 0x92 says that it is through with it
		}
		o.finish(x, a.code, a.reason)
	case a.code >= 0x80:
		o.finish(x, a.code, a.reason)
	default:
		x.released = true
		c.append(func(b []byte) []byte { return appendAck(b, typePubrel, a.id) })
	}
	l.pump()
}
