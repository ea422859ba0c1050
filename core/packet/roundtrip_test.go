package packet

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

// gen makes random packets that are valid and in the form that decoding gives.
type gen struct{ *rand.Rand }

func (g gen) bool() bool { return g.IntN(2) == 0 }

func (g gen) text(least int) string {
	const runes = "abc/$ üß€𝄞\x01\ufeff"
	all := []rune(runes)
	out := make([]rune, least+g.IntN(12))
	for i := range out {
		out[i] = all[g.IntN(len(all))]
	}
	return string(out)
}

func (g gen) bytes() []byte {
	b := make([]byte, g.IntN(40))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g gen) users() (list []UserProperty) {
	for range g.IntN(4) {
		list = append(list, UserProperty{g.text(0), g.text(0)})
	}
	return list
}

// props sets about half of what packet t may carry.
func (g gen) props(t Type) (p Properties) {
	for id, spec := range propSpecs {
		id := Property(id)
		if spec.in&(1<<t) == 0 || g.bool() {
			continue
		}
		switch spec.kind {
		case kindByte:
			*p.byteField(id) = byte(g.IntN(2))
		case kindU16:
			*p.uint16Field(id) = 1 + uint16(g.IntN(65535))
		case kindU32:
			*p.uint32Field(id) = max(1, g.Uint32())
		case kindVar:
			*p.uint32Field(id) = 1 + g.Uint32N(MaxRemaining)
		case kindString:
			*p.stringField(id) = g.text(1)
		case kindBinary:
			*p.binaryField(id) = g.bytes()
		case kindPair:
			if p.User = g.users(); p.User == nil {
				continue
			}
		}
		p.Set.Add(id)
	}
	if p.Set.Has(PropAuthenticationData) && !p.Set.Has(PropAuthenticationMethod) {
		p.SetAuthMethod(g.text(0))
	}
	return p
}

func (g gen) code(set codeSet) ReasonCode {
	for {
		if c := ReasonCode(g.Uint32()); set.has(c) {
			return c
		}
	}
}

func (g gen) codes(set codeSet) []ReasonCode {
	list := make([]ReasonCode, 1+g.IntN(5))
	for i := range list {
		list[i] = g.code(set)
	}
	return list
}

func (g gen) id() uint16 { return 1 + uint16(g.IntN(65535)) }

func (g gen) propsFor(v Version, t Type) Properties {
	if v != V5 {
		return Properties{}
	}
	return g.props(t)
}

func (g gen) connect(v Version) *Connect {
	p := &Connect{Version: v, CleanStart: g.bool(), KeepAlive: uint16(g.Uint32()), ClientID: g.text(1), Props: g.propsFor(v, TypeConnect)}
	if p.HasUsername = g.bool(); p.HasUsername {
		p.Username = g.text(0)
	}
	if p.HasPassword = (p.HasUsername || v == V5) && g.bool(); p.HasPassword {
		p.Password = g.bytes()
	}
	if g.bool() {
		p.Will = &Will{Topic: g.text(1), Payload: g.bytes(), QoS: byte(g.IntN(3)), Retain: g.bool(), Props: g.propsFor(v, 0)}
		p.Will.Forward, _ = p.Will.Props.AppendForward(nil)
	}
	return p
}

func (g gen) publish(v Version) *message {
	m := &message{Topic: g.text(1), Payload: string(g.bytes()), QoS: byte(g.IntN(3)), Retain: g.bool()}
	if m.QoS > 0 {
		m.PacketID, m.Dup = g.id(), g.bool()
	}
	if v != V5 {
		return m
	}
	p := g.props(0)
	p.Set.Remove(PropWillDelayInterval)
	m.Set, m.PayloadFormat, m.MessageExpiry, m.ContentType = p.Set, p.PayloadFormat, p.MessageExpiry, p.ContentType
	m.ResponseTopic, m.CorrelationData, m.User = p.ResponseTopic, string(p.CorrelationData), p.User
	if g.bool() {
		m.TopicAlias = g.id()
		m.Set.Add(PropTopicAlias)
	}
	for range g.IntN(3) {
		m.SubscriptionIDs = append(m.SubscriptionIDs, 1+g.Uint32N(MaxRemaining))
		m.Set.Add(PropSubscriptionIdentifier)
	}
	return m
}

func (g gen) ack(v Version) *ackCopy {
	a := &ackCopy{Type: TypePuback + Type(g.IntN(4)), PacketID: g.id()}
	if v == V5 {
		a.Code = g.code([]codeSet{pubackCodes, pubackCodes, pubrelCodes, pubrelCodes}[a.Type-TypePuback])
		a.User = g.users()
		if g.bool() {
			a.ReasonString = g.text(1)
		}
	}
	return a
}

func (g gen) subscribe(v Version) *Subscribe {
	p := &Subscribe{PacketID: g.id(), Props: g.propsFor(v, TypeSubscribe)}
	for range 1 + g.IntN(4) {
		s := Subscription{Filter: g.text(0), QoS: byte(g.IntN(3))}
		if v == V5 {
			s.NoLocal, s.RetainAsPublished, s.RetainHandling = g.bool(), g.bool(), byte(g.IntN(3))
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return p
}

// packet is any packet of version v.
func (g gen) packet(v Version) any {
	switch t := Type(1 + g.IntN(15)); t {
	case TypeConnect:
		return g.connect(v)
	case TypeConnack:
		if v != V5 {
			c, _ := connackReason(byte(g.IntN(6)))
			return &Connack{SessionPresent: c == Success && v == V311 && g.bool(), Code: c}
		}
		c := g.code(connackCodes)
		return &Connack{SessionPresent: c == Success && g.bool(), Code: c, Props: g.props(t)}
	case TypePublish:
		return g.publish(v)
	case TypeSubscribe:
		return g.subscribe(v)
	case TypeSuback:
		if v != V5 {
			return &Suback{PacketID: g.id(), Codes: g.codes(suback311Codes)}
		}
		return &Suback{PacketID: g.id(), Codes: g.codes(subackCodes), Props: g.props(t)}
	case TypeUnsubscribe:
		p := &Unsubscribe{PacketID: g.id(), Props: g.propsFor(v, t)}
		for range 1 + g.IntN(4) {
			p.Filters = append(p.Filters, g.text(0))
		}
		return p
	case TypeUnsuback:
		if v != V5 {
			return &Unsuback{PacketID: g.id()}
		}
		return &Unsuback{PacketID: g.id(), Codes: g.codes(unsubackCodes), Props: g.props(t)}
	case TypePingreq, TypePingresp:
		return ping(t)
	case TypeDisconnect:
		if v != V5 {
			return &Disconnect{}
		}
		return &Disconnect{Code: g.code(disconnectCodes), Props: g.props(t)}
	case TypeAuth:
		if v == V5 {
			p := &Auth{Code: g.code(authCodes), Props: g.props(t)}
			p.Props.SetAuthMethod(g.text(0))
			return p
		}
	}
	return g.ack(v)
}

// Whatever is encoded decodes to the same, and that encodes to the same bytes.
func TestRoundTrip(t *testing.T) {
	g := gen{rand.New(rand.NewPCG(3, 4))}
	for range 15_000 {
		v := all[g.IntN(3)]
		p := g.packet(v)
		frame, err := encodeFrame(v, p)
		if err != nil {
			t.Fatalf("%v %#v: %v", v, p, err)
		}
		got, err := decodeFrame(v, frame, true)
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("in %v\n %#v\nbecomes %x, and that\n %#v, %v", v, p, frame, got, err)
		}
		again, err := encodeFrame(v, got)
		if err != nil || !bytes.Equal(again, frame) {
			t.Fatalf("in %v %#v: encoded again %x, %v; before %x", v, p, again, err, frame)
		}
	}
}

// A random change to a good packet never makes a decoder panic, and what it still
// accepts can be encoded.
func TestDamagedPackets(t *testing.T) {
	g := gen{rand.New(rand.NewPCG(5, 6))}
	for range 20_000 {
		v := all[g.IntN(3)]
		frame, _ := encodeFrame(v, g.packet(v))
		for range 1 + g.IntN(3) {
			frame[g.IntN(len(frame))] = byte(g.Uint32())
		}
		checkDecoding(t, v, frame)
	}
}
