package packet

import (
	"encoding/binary"
	"strconv"
)

func duplicateProperty(t Type, id Property) *Error {
	return protocolError("", packetName(t)+": "+id.String()+" more than once")
}

// packetName is what errors call a packet; the type 0 stands for Will Properties.
func packetName(t Type) string {
	if t == 0 {
		return "CONNECT: Will"
	}
	return t.String()
}

// cutProperty takes the first property off b, which is not empty: val is its
// value, without the length in front for strings and binary data; a pair keeps
// both lengths. It checks everything that the table of properties says about an
// identifier in packet t and its value; it does not know what came before.
func cutProperty(b []byte, t Type) (val, rest []byte, err error) {
	id := b[0]
	if int(id) >= len(propSpecs) || propSpecs[id].kind == kindNone {
		return nil, nil, malformed("", packetName(t)+": unknown property 0x"+strconv.FormatUint(uint64(id), 16))
	}
	spec := &propSpecs[id]
	if spec.in&(1<<t) == 0 {
		// Malformed by §2.2.2.2.
		return nil, nil, malformed("", packetName(t)+": "+spec.name+" may not be in this packet")
	}
	b = b[1:]
	n := 0
	switch spec.kind {
	case kindByte:
		n = 1
	case kindU16:
		n = 2
	case kindU32:
		n = 4
	case kindVar:
		if _, n, err = readVar(b); err != nil {
			return nil, nil, err
		}
	case kindString, kindBinary:
		return cutString(b, t, spec)
	case kindPair:
		return cutPair(b, t)
	}
	if n == 0 || n > len(b) {
		return nil, nil, truncatedProperty(t, spec)
	}
	val, rest = b[:n:n], b[n:]
	switch {
	case spec.kind == kindByte && val[0] > 1:
		err = protocolError("", packetName(t)+": "+spec.name+" is neither 0 nor 1")
	case spec.nonZero && allZero(val):
		err = protocolError("", packetName(t)+": "+spec.name+" is 0")
	}
	return val, rest, err
}

func truncatedProperty(t Type, spec *propSpec) *Error {
	return malformed("", packetName(t)+": "+spec.name+" ends outside of the properties")
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// cutString is cutProperty for UTF-8 Encoded Strings and Binary Data, with b
// after the identifier.
func cutString(b []byte, t Type, spec *propSpec) (val, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, truncatedProperty(t, spec)
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return nil, nil, truncatedProperty(t, spec)
	}
	val, rest = b[2:n:n], b[n:]
	if spec.kind == kindString {
		if f := checkText(val); f != "" {
			return nil, nil, malformed(f.clause(), packetName(t)+": "+spec.name+" "+string(f))
		}
	}
	return val, rest, nil
}

// cutPair is cutProperty for a User Property, with b after the identifier.
func cutPair(b []byte, t Type) (val, rest []byte, err error) {
	_, rest, err = cutString(b, t, &userPropertyPart)
	if err == nil {
		_, rest, err = cutString(rest, t, &userPropertyPart)
	}
	if err != nil {
		return nil, nil, err
	}
	n := len(b) - len(rest)
	return b[:n:n], rest, nil
}

// userPropertyPart is the name or the value of a User Property.
var userPropertyPart = propSpec{kind: kindString, name: userPropertyName}

// nextProperty is cutProperty for properties that have been checked.
func nextProperty(b []byte) (val, rest []byte) {
	id, b := b[0], b[1:]
	n := 0
	switch propSpecs[id].kind {
	case kindByte:
		n = 1
	case kindU16:
		n = 2
	case kindU32:
		n = 4
	case kindVar:
		_, n, _ = readVar(b)
	case kindString, kindBinary:
		n = 2 + int(binary.BigEndian.Uint16(b))
		return b[2:n:n], b[n:]
	case kindPair:
		n = 2 + int(binary.BigEndian.Uint16(b))
		n += 2 + int(binary.BigEndian.Uint16(b[n:]))
	}
	return b[:n:n], b[n:]
}

// These find the field of a property by its kind. They are how reading and writing
// go by the table of properties instead of by one case for each.

func (p *Properties) byteField(id Property) *byte {
	switch id {
	case PropPayloadFormatIndicator:
		return &p.PayloadFormat
	case PropRequestProblemInformation:
		return &p.RequestProblemInfo
	case PropRequestResponseInformation:
		return &p.RequestResponseInfo
	case PropMaximumQoS:
		return &p.MaximumQoS
	case PropRetainAvailable:
		return &p.RetainAvailable
	case PropWildcardSubscriptionAvailable:
		return &p.WildcardAvailable
	case PropSubscriptionIdentifierAvailable:
		return &p.SubscriptionIDAvailable
	}
	return &p.SharedAvailable
}

func (p *Properties) uint16Field(id Property) *uint16 {
	switch id {
	case PropServerKeepAlive:
		return &p.ServerKeepAlive
	case PropReceiveMaximum:
		return &p.ReceiveMaximum
	}
	return &p.TopicAliasMaximum
}

func (p *Properties) uint32Field(id Property) *uint32 {
	switch id {
	case PropMessageExpiryInterval:
		return &p.MessageExpiry
	case PropSubscriptionIdentifier:
		return &p.SubscriptionID
	case PropSessionExpiryInterval:
		return &p.SessionExpiry
	case PropWillDelayInterval:
		return &p.WillDelay
	}
	return &p.MaximumPacketSize
}

func (p *Properties) stringField(id Property) *string {
	switch id {
	case PropContentType:
		return &p.ContentType
	case PropResponseTopic:
		return &p.ResponseTopic
	case PropAssignedClientIdentifier:
		return &p.AssignedClientID
	case PropAuthenticationMethod:
		return &p.AuthMethod
	case PropResponseInformation:
		return &p.ResponseInfo
	case PropServerReference:
		return &p.ServerReference
	}
	return &p.ReasonString
}

func (p *Properties) binaryField(id Property) *[]byte {
	if id == PropCorrelationData {
		return &p.CorrelationData
	}
	return &p.AuthData
}
