package packet

import (
	"encoding/binary"
	"iter"
	"unicode/utf8"
)

// Publish is a decoded PUBLISH. Topic, Payload and the byte slices in Props are
// views of the body that DecodePublish was given, valid as long as it is.
type Publish struct {
	Topic    []byte // the Topic Name; empty only with a Topic Alias
	Payload  []byte
	Props    PublishProps // 5.0 only
	PacketID uint16       // 0 for QoS 0
	QoS      byte
	Dup      bool
	Retain   bool
}

// PublishProps holds the properties of a decoded PUBLISH; Set says which are
// present. Subscription Identifiers and User Properties, which may come more than
// once, are walked on demand.
type PublishProps struct {
	Set             PropSet
	Raw             []byte // all properties as received, validated, without the Property Length
	PayloadFormat   byte   // Payload Format Indicator, 0 or 1
	TopicAlias      uint16 // 1..65,535 where present
	MessageExpiry   uint32 // Message Expiry Interval, seconds
	ContentType     []byte
	ResponseTopic   []byte
	CorrelationData []byte
}

// notForwarded are the properties of a PUBLISH that hold for one hop or change on
// the way.
const notForwarded PropSet = 1<<PropMessageExpiryInterval | 1<<PropSubscriptionIdentifier | 1<<PropTopicAlias

var (
	errPublishShort    = malformed("", "PUBLISH: ends within the variable header")
	errPublishNUL      = malformed("MQTT-1.5.4-2", "PUBLISH: topic name contains U+0000")
	errPublishUTF8     = malformed("MQTT-3.3.2-1", "PUBLISH: topic name is not well-formed UTF-8")
	errPublishWildcard = &Error{TopicNameInvalid, "MQTT-3.3.2-2", "PUBLISH: topic name contains a wildcard"}
	errPublishNoTopic  = protocolError("MQTT-4.7.3-1", "PUBLISH: topic name is empty and there is no topic alias")
	errPublishID       = protocolError("MQTT-2.2.1-3", "PUBLISH: packet identifier is 0")
	errPublishProps    = malformed("", "PUBLISH: property length exceeds the packet")
	errPublishSubID    = protocolError("MQTT-3.3.4-6", "PUBLISH: Subscription Identifier from a client")
	errPublishAlias    = &Error{TopicAliasInvalid, "MQTT-3.3.2-8", "PUBLISH: Topic Alias is 0"}
	errPublishResponse = protocolError("MQTT-3.3.2-14", "PUBLISH: Response Topic contains a wildcard")
	errPublishNoResp   = protocolError("MQTT-4.7.3-1", "PUBLISH: Response Topic is empty")
)

// DecodePublish fills p from body, the h.Remaining bytes that follow the Fixed
// Header h, which ReadHeader has checked. p keeps views of body and none of what
// it held before; nothing is allocated unless the packet is refused.
//
// Everything is checked that one packet shows: the Topic Name's UTF-8, wildcards
// [MQTT-3.3.2-2] and that it is empty only with a Topic Alias, a Packet Identifier
// of 0, and the properties. A Subscription Identifier is refused unless fromServer
// [MQTT-3.3.4-6]. What a Payload Format Indicator promises is not; see
// ValidPayloadFormat.
func DecodePublish(p *Publish, v Version, h Header, body []byte, fromServer bool) error {
	if len(body) < 2 {
		return errPublishShort
	}
	end := 2 + int(binary.BigEndian.Uint16(body))
	if end > len(body) {
		return errPublishShort
	}
	p.Topic = body[2:end:end]
	switch checkTopicName(p.Topic) {
	case faultNUL:
		return errPublishNUL
	case faultUTF8:
		return errPublishUTF8
	case faultWildcard:
		return errPublishWildcard
	}
	p.QoS = h.Flags >> 1 & 3
	p.Dup = h.Flags&flagDup != 0
	p.Retain = h.Flags&flagRetain != 0
	p.PacketID = 0
	rest := body[end:]
	if p.QoS > 0 {
		if len(rest) < 2 {
			return errPublishShort
		}
		if p.PacketID = binary.BigEndian.Uint16(rest); p.PacketID == 0 {
			return errPublishID
		}
		rest = rest[2:]
	}
	if v != V5 {
		p.Props = PublishProps{}
	} else {
		n, size, err := readVar(rest)
		switch {
		case err != nil:
			return err
		case size == 0:
			return errPublishShort
		case int(n) > len(rest)-size:
			return errPublishProps
		}
		rest = rest[size:]
		if err := p.Props.Decode(rest[:n:n], fromServer); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if len(p.Topic) == 0 && p.Props.TopicAlias == 0 {
		return errPublishNoTopic
	}
	p.Payload = rest
	return nil
}

// Decode fills p from properties in wire form, without a Property Length, as a
// PUBLISH carries them or as [Message] keeps them. It checks them as DecodePublish
// does, keeps views of raw, and allocates nothing unless they are refused.
func (p *PublishProps) Decode(raw []byte, fromServer bool) error {
	*p = PublishProps{Raw: raw}
	for b := raw; len(b) > 0; {
		id := Property(b[0])
		val, rest, err := cutProperty(b, TypePublish)
		if err != nil {
			return err
		}
		b = rest
		if p.Set.Has(id) && id != PropUserProperty && id != PropSubscriptionIdentifier {
			return duplicateProperty(TypePublish, id)
		}
		p.Set.Add(id)
		switch id {
		case PropPayloadFormatIndicator:
			p.PayloadFormat = val[0]
		case PropMessageExpiryInterval:
			p.MessageExpiry = binary.BigEndian.Uint32(val)
		case PropTopicAlias:
			if p.TopicAlias = binary.BigEndian.Uint16(val); p.TopicAlias == 0 {
				return errPublishAlias
			}
		case PropContentType:
			p.ContentType = val
		case PropResponseTopic:
			p.ResponseTopic = val
			if len(val) == 0 {
				return errPublishNoResp
			}
			// Its text is valid already, so what checkTopicName finds is a
			// wildcard.
			if checkTopicName(val) != "" {
				return errPublishResponse
			}
		case PropCorrelationData:
			p.CorrelationData = val
		case PropSubscriptionIdentifier:
			if !fromServer {
				return errPublishSubID
			}
		}
	}
	return nil
}

// UserProperties walks the User Properties, name and value, in their order
// [MQTT-3.3.2-18]. What it yields are views of Raw.
func (p *PublishProps) UserProperties() iter.Seq2[[]byte, []byte] {
	return userProperties(p.Raw)
}

// userProperties walks the User Properties in validated properties.
func userProperties(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for b := raw; len(b) > 0; {
			val, rest := nextProperty(b)
			if Property(b[0]) == PropUserProperty {
				n := 2 + int(binary.BigEndian.Uint16(val))
				if !yield(val[2:n:n], val[n+2:]) {
					return
				}
			}
			b = rest
		}
	}
}

// SubscriptionIdentifiers walks the Subscription Identifiers, 1..268,435,455.
func (p *PublishProps) SubscriptionIdentifiers() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for b := p.Raw; len(b) > 0; {
			val, rest := nextProperty(b)
			if Property(b[0]) == PropSubscriptionIdentifier {
				if id, _, _ := readVar(val); !yield(id) {
					return
				}
			}
			b = rest
		}
	}
}

// Forward returns the properties that a Server passes on unaltered, in wire form
// and in their order: Payload Format Indicator, Content Type, Response Topic,
// Correlation Data and User Properties [MQTT-3.3.2-4, -15, -16, -17, -18, -20].
// That is p.Raw itself if it holds nothing else, otherwise they are appended to
// scratch and the result is what was appended, in scratch's array if it had room.
func (p *PublishProps) Forward(scratch []byte) []byte {
	if p.Set&notForwarded == 0 {
		return p.Raw
	}
	return appendForward(scratch, p.Raw, notForwarded)[len(scratch):]
}

// appendForward appends the properties in raw, which is valid, that are not in
// without.
func appendForward(dst, raw []byte, without PropSet) []byte {
	for b := raw; len(b) > 0; {
		_, rest := nextProperty(b)
		if !without.Has(Property(b[0])) {
			dst = append(dst, b[:len(b)-len(rest)]...)
		}
		b = rest
	}
	return dst
}

// ValidPayloadFormat reports whether payload is UTF-8, which a Payload Format
// Indicator of 1 promises (§3.3.2.3.2); if it is not, Payload Format Invalid
// (0x99) is the answer. U+0000 is allowed. It is a function of its own because it
// reads all of the payload.
func ValidPayloadFormat(payload []byte) bool { return utf8.Valid(payload) }
