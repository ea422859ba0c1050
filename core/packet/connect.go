package packet

import (
	"bytes"
	"encoding/binary"
)

// Connect is a CONNECT. For 3.1 and 3.1.1 CleanStart is Clean Session, and there
// are no properties.
type Connect struct {
	Version     Version
	CleanStart  bool
	KeepAlive   uint16 // seconds, 0 for off
	ClientID    string
	HasUsername bool
	HasPassword bool
	Username    string
	Password    []byte
	Will        *Will // nil if there is none
	Props       Properties
}

// Will is a Will Message.
type Will struct {
	Topic   string
	Payload []byte // up to 65,535 bytes
	QoS     byte
	Retain  bool
	Props   Properties
	// Forward holds the properties that the Will's PUBLISH passes on, in wire form
	// and order, as PublishProps.Forward does: all but Will Delay Interval and
	// Message Expiry Interval. Decode fills it in, Append does not read it.
	Forward []byte
}

// The Connect Flags.
const (
	connectReserved   = 1 << 0
	connectCleanStart = 1 << 1
	connectWill       = 1 << 2
	connectWillQoS    = 3 << 3
	connectWillRetain = 1 << 5
	connectPassword   = 1 << 6
	connectUsername   = 1 << 7
)

// Decode fills p from the body of a CONNECT, whose version it finds by itself. h is
// its Fixed Header as ReadHeader left it. It keeps nothing of body.
//
// For an unknown protocol name or level the error is Unsupported Protocol Version,
// and p.Version is the version whose CONNACK the client is most likely to
// understand: V5 if it asks for level 5 or above, else V311. After any other error
// p.Version is the client's, or 0 if the packet ends before it is known. A Client
// Identifier of no bytes is refused as not valid where the version does not have
// it: in 3.1, and in 3.1.1 without Clean Session [MQTT-3.1.3-8 of 3.1.1].
func (p *Connect) Decode(h Header, body []byte) error {
	*p = Connect{}
	r := reader{b: body, t: h.Type}
	if err := p.decodeVersion(&r); err != nil {
		return err
	}
	flags := r.byte("connect flags")
	if err := checkConnectFlags(p.Version, flags); err != nil && r.err == nil {
		return err
	}
	p.CleanStart = flags&connectCleanStart != 0
	p.KeepAlive = r.uint16("keep alive")
	if p.Version == V5 {
		r.properties(&p.Props, TypeConnect)
	}
	p.ClientID = string(r.text("client identifier", "MQTT-3.1.3-4"))
	if r.err == nil && p.ClientID == "" && (p.Version == V31 || p.Version == V311 && !p.CleanStart) {
		return errEmptyClientID
	}
	if flags&connectWill != 0 {
		p.Will = &Will{QoS: flags & connectWillQoS >> 3, Retain: flags&connectWillRetain != 0}
		p.Will.decode(&r, p.Version)
	}
	p.decodeCredentials(&r, flags)
	return r.end()
}

var (
	errEmptyClientID = &Error{ClientIdentifierNotValid, "MQTT-3.1.3-8", "CONNECT: client identifier is empty"}
	errProtocolName  = &Error{UnsupportedProtocolVersion, "MQTT-3.1.2-1", "CONNECT: unknown protocol name"}
	errProtocolLevel = &Error{UnsupportedProtocolVersion, "MQTT-3.1.2-2", "CONNECT: unknown protocol version"}
)

func (p *Connect) decodeVersion(r *reader) error {
	name, level := r.view("protocol name"), r.byte("protocol version")
	if r.err != nil {
		return r.err
	}
	isMQTT := bytes.Equal(name, []byte("MQTT"))
	switch {
	case isMQTT && (level == byte(V311) || level == byte(V5)),
		level == byte(V31) && bytes.Equal(name, []byte("MQIsdp")):
		p.Version = Version(level)
		return nil
	}
	// Bridges of some brokers set the top bit of the level they mean.
	if p.Version = V311; level&0x7F >= byte(V5) {
		p.Version = V5
	}
	if !isMQTT && !bytes.Equal(name, []byte("MQIsdp")) {
		return errProtocolName
	}
	return errProtocolLevel
}

// checkConnectFlags judges the Connect Flags. MQTT 3.1 says little about
// combinations, and those of it that make no sense are harmless.
func checkConnectFlags(v Version, flags byte) error {
	qos := flags & connectWillQoS >> 3
	switch {
	case qos == 3:
		return malformed("MQTT-3.1.2-12", "CONNECT: Will QoS is 3")
	case v == V31:
		return nil
	case flags&connectReserved != 0:
		return malformed("MQTT-3.1.2-3", "CONNECT: reserved connect flag is set")
	case flags&connectWill == 0 && qos != 0:
		return malformed("MQTT-3.1.2-11", "CONNECT: Will QoS without a Will")
	case flags&connectWill == 0 && flags&connectWillRetain != 0:
		return malformed("MQTT-3.1.2-13", "CONNECT: Will Retain without a Will")
	case v == V311 && flags&connectPassword != 0 && flags&connectUsername == 0:
		// By MQTT 3.1.1's own count of statements; 5.0 allows it.
		return malformed("MQTT-3.1.2-22", "CONNECT: password without a user name")
	}
	return nil
}

func (w *Will) decode(r *reader, v Version) {
	if v == V5 {
		raw := r.properties(&w.Props, 0)
		if forward := appendForward(nil, raw, notForwarded|1<<PropWillDelayInterval); r.err == nil {
			w.Forward = forward
		}
	}
	topic := r.text("will topic", "MQTT-3.1.3-11")
	switch {
	case r.err != nil:
	case len(topic) == 0:
		r.fail(&Error{TopicNameInvalid, "MQTT-4.7.3-1", "CONNECT: will topic is empty"})
	case checkTopicName(topic) != "":
		r.fail(&Error{TopicNameInvalid, "MQTT-4.7.1-1", "CONNECT: will topic contains a wildcard"})
	}
	w.Topic = string(topic)
	w.Payload = r.binary("will payload")
}

// decodeCredentials reads User Name and Password. MQTT 3.1 asks servers to accept a
// CONNECT that ends before a field whose flag is set.
func (p *Connect) decodeCredentials(r *reader, flags byte) {
	absent := func() bool { return p.Version == V31 && len(r.b) == 0 }
	if flags&connectUsername != 0 && !absent() {
		p.HasUsername = true
		p.Username = string(r.text("user name", "MQTT-3.1.3-12"))
	}
	if flags&connectPassword != 0 && !absent() {
		p.HasPassword = true
		p.Password = r.binary("password")
	}
}

// Append appends p as a packet of p.Version, whatever the argument beside dst; it is
// there so that all packets have the same method. The error wraps ErrTooLarge.
func (p *Connect) Append(dst []byte, _ Version) ([]byte, error) {
	name := "MQTT"
	if p.Version == V31 {
		name = "MQIsdp"
	}
	s := sizer{t: TypeConnect, n: 2 + len(name) + 4}
	var props, willProps int
	if p.Version == V5 {
		props = s.properties(&p.Props, TypeConnect)
	}
	s.str(len(p.ClientID), "client identifier")
	if p.Will != nil {
		if p.Version == V5 {
			willProps = s.properties(&p.Will.Props, 0)
		}
		s.str(len(p.Will.Topic), "will topic")
		s.str(len(p.Will.Payload), "will payload")
	}
	if p.HasUsername {
		s.str(len(p.Username), "user name")
	}
	if p.HasPassword {
		s.str(len(p.Password), "password")
	}
	dst, err := s.begin(dst)
	if err != nil {
		return dst, err
	}
	dst = append(appendString(dst, name), byte(p.Version), p.flags())
	dst = binary.BigEndian.AppendUint16(dst, p.KeepAlive)
	if p.Version == V5 {
		dst = p.Props.append(appendVar(dst, props), TypeConnect)
	}
	dst = appendString(dst, p.ClientID)
	if w := p.Will; w != nil {
		if p.Version == V5 {
			dst = w.Props.append(appendVar(dst, willProps), 0)
		}
		dst = appendString(appendString(dst, w.Topic), w.Payload)
	}
	if p.HasUsername {
		dst = appendString(dst, p.Username)
	}
	if p.HasPassword {
		dst = appendString(dst, p.Password)
	}
	return dst, nil
}

func (p *Connect) flags() (flags byte) {
	if p.CleanStart {
		flags |= connectCleanStart
	}
	if p.Will != nil {
		flags |= connectWill | p.Will.QoS<<3
		if p.Will.Retain {
			flags |= connectWillRetain
		}
	}
	if p.HasPassword {
		flags |= connectPassword
	}
	if p.HasUsername {
		flags |= connectUsername
	}
	return flags
}
