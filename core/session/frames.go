package session

import (
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// sharedPayload is the payload size from which a frame's payload is not copied
// into each receiver's out-buffer but referenced for writev: at 4 KiB both cost
// the same, and a fan-out then holds the payload once.
const sharedPayload = 4 << 10

// Frames encodes one message for all its receivers: once for each layout that
// they need (version, QoS, RETAIN), and keeps the message once if anybody has to
// hold it. It belongs to one pass of one executor and is used for one message
// after the other.
type Frames struct {
	// NextID gives kept messages their id. It is set once.
	NextID func() uint64

	msg    *packet.Message
	kept   *packet.Message
	now    int64
	layout [16]frame
	valid  uint16
	buf    []byte
	out    packet.PublishOut

	waits, together bool
	receipt         *store.Receipt
	// delivered is told of what goes out for the first time, during Pump; nil
	// if nobody wants to know.
	delivered func(s *Session, m *packet.Message, qos byte)

	gatherer
}

// frame is an encoded PUBLISH, without its payload if shared is set.
type frame struct {
	start, end int // in buf
	idOffset   int
	size       int // of the whole packet
	shared     bool
}

// Begin turns to the next message, which has to stay valid until End. now is in
// Unix milliseconds.
func (f *Frames) Begin(m *packet.Message, now int64) {
	f.msg, f.now, f.valid, f.buf = m, now, 0, f.buf[:0]
	f.present = nonePresent
}

// End gives the reference back that Frames itself took.
func (f *Frames) End() {
	if f.kept != nil {
		f.kept.Unref()
		f.kept = nil
	}
	f.msg = nil
}

// Await says that the deliveries from now on belong to one publication, whose
// publisher waits until they are safe. together says that they become safe
// together (store.Store.Begin), so that none may be put off.
func (f *Frames) Await(together bool) { f.waits, f.together, f.receipt = true, together, nil }

// Together says that nobody waits for the deliveries from now on, but that they
// become safe together.
func (f *Frames) Together() { f.waits, f.together, f.receipt = false, true, nil }

// Enclosed reports whether the deliveries become safe together.
func (f *Frames) Enclosed() bool { return f.together }

// Receipt ends what Await or Together began. It returns nil if nothing is to be
// waited for.
func (f *Frames) Receipt() *store.Receipt {
	r := f.receipt
	f.waits, f.together, f.receipt = false, false, nil
	return r
}

// ReceiptFor returns the Receipt of the present publication, for what is stored
// on behalf of it; nil if nobody waits.
func (f *Frames) ReceiptFor() *store.Receipt {
	if f.waits && f.receipt == nil {
		f.receipt = store.NewReceipt()
	}
	return f.receipt
}

// Message is the present message.
func (f *Frames) Message() *packet.Message { return f.msg }

// Keep returns the message, kept, with a reference of the caller's own.
func (f *Frames) Keep() *packet.Message {
	if f.kept == nil {
		f.kept = f.msg.Keep(f.NextID())
	}
	f.kept.Ref()
	return f.kept
}

// get returns the frame of one layout; ids are Subscription Identifiers and make
// it one of a kind.
func (f *Frames) get(v packet.Version, qos byte, retain bool, ids []uint32) frame {
	k := qos
	if retain {
		k |= 4
	}
	if v == packet.V5 {
		k |= 8
	} else {
		ids = nil
	}
	if len(ids) == 0 && f.valid&(1<<k) != 0 {
		return f.layout[k]
	}
	fr := f.encode(v, qos, retain, ids, nil, 0)
	if len(ids) == 0 {
		f.layout[k] = fr
		f.valid |= 1 << k
	}
	return fr
}

// encode encodes for v. With aliases, for one receiver only, it uses and assigns
// Topic Aliases; max is then the largest packet to encode (0 no limit), since a
// packet that is not sent must not assign any.
func (f *Frames) encode(v packet.Version, qos byte, retain bool, ids []uint32, aliases *aliasTable, max uint32) frame {
	f.fill(qos, retain, ids)
	if aliases != nil {
		f.out.TopicAlias, f.out.Topic = aliases.lookup(f.msg.Topic)
		if size := f.out.Size(v); max != 0 && uint32(size) > max {
			aliases.forget(f.out.TopicAlias)
			return frame{size: size}
		}
	}
	fr := frame{start: len(f.buf), shared: len(f.msg.Payload) >= sharedPayload}
	if fr.shared {
		f.buf, fr.idOffset = packet.AppendPublishHead(f.buf, v, &f.out)
	} else {
		f.buf, fr.idOffset = packet.AppendPublish(f.buf, v, &f.out)
	}
	fr.end = len(f.buf)
	fr.size = fr.end - fr.start
	if fr.shared {
		fr.size += len(f.msg.Payload)
	}
	return fr
}

func (f *Frames) fill(qos byte, retain bool, ids []uint32) {
	m := f.msg
	left, expires := m.RemainingExpiry(f.now)
	f.out = packet.PublishOut{
		Topic: m.Topic, Payload: m.Payload, Forward: m.Props, SubscriptionIDs: ids,
		MessageExpiry: left, HasExpiry: expires, QoS: qos, Retain: retain,
	}
	if qos > 0 {
		f.out.PacketID = 1 // a place holder; every copy gets its own
	}
}

// send appends the message to l with the given Packet Identifier. It returns
// false, having done nothing, if the packet is larger than the receiver takes
// [MQTT-3.1.2-24].
func (f *Frames) send(l *link, qos byte, retain bool, ids []uint32, id uint16, dup bool) bool {
	var fr frame
	mark := len(f.buf)
	if l.aliases != nil {
		fr = f.encode(l.version, qos, retain, ids, l.aliases, l.maxPacket)
	} else {
		fr = f.get(l.version, qos, retain, ids)
	}
	if l.maxPacket != 0 && uint32(fr.size) > l.maxPacket {
		return false
	}
	b := f.buf[fr.start:fr.end]
	if dup {
		// Layouts are shared; a resent packet gets a copy of its own.
		mark = len(f.buf)
		f.buf = append(f.buf, b...)
		b = f.buf[mark:]
		b[0] |= 0x08
	}
	if fr.shared {
		m := f.Keep()
		l.out.AppendShared(b, fr.idOffset, id, m.Payload, m)
	} else {
		l.out.AppendPublish(b, fr.idOffset, id)
	}
	if dup || l.aliases != nil {
		f.buf = f.buf[:mark]
	}
	return true
}

// aliasTable assigns Topic Aliases to the topics of one connection, in the
// order in which they come, until all are taken (MQTT 5 §3.3.2.3.4). Topics
// after that are sent in full: a table that recycled aliases would cost a
// search for each message and gain little.
type aliasTable struct {
	max    uint16
	byName map[string]uint16
}

// lookup returns the alias for a topic, and the Topic Name to send with it:
// empty once the receiver knows the alias. Alias 0 means none.
func (t *aliasTable) lookup(topic []byte) (uint16, []byte) {
	if a, ok := t.byName[string(topic)]; ok {
		return a, nil
	}
	if len(t.byName) >= int(t.max) {
		return 0, topic
	}
	if t.byName == nil {
		t.byName = make(map[string]uint16)
	}
	a := uint16(len(t.byName) + 1)
	t.byName[string(topic)] = a
	return a, topic
}

// forget undoes the assignment that lookup has just made.
func (t *aliasTable) forget(alias uint16) {
	for name, a := range t.byName {
		if a == alias && int(a) == len(t.byName) {
			delete(t.byName, name)
			return
		}
	}
}
