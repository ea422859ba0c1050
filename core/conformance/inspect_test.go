package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// reasonCodes are the Reason Codes that a server may send, by packet type: MQTT 5
// §2.4 and the table of each packet.
var reasonCodes = map[byte][]byte{
	CONNACK:    {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
	PUBACK:     {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	PUBREC:     {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	PUBREL:     {0x00, 0x92},
	PUBCOMP:    {0x00, 0x92},
	SUBACK:     {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
	UNSUBACK:   {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
	DISCONNECT: {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2},
	AUTH:       {0x00, 0x18},
}

// returnCodes are those of MQTT 3.1.1.
var returnCodes = map[byte][]byte{
	CONNACK: {0, 1, 2, 3, 4, 5},
	SUBACK:  {0x00, 0x01, 0x02, 0x80},
}

// inspect holds a packet from the broker against everything that must be true of
// any packet on this connection, and says what is not. A test that says shows(…) for such a statement
// provokes the packets; the check is here, and so it is made in all other tests too.
func (c *client) inspect(p *packet) (violations []string) {
	bad := func(format string, args ...any) {
		violations = append(violations, fmt.Sprintf(format, args...))
	}
	if c.closing {
		bad("sent after the last packet of the connection [MQTT-3.14.4-1]")
	}
	connected := c.connack.typ == CONNACK && c.connack.code == 0
	if !connected && p.typ != CONNACK && p.typ != AUTH {
		bad("sent before a successful CONNACK [MQTT-3.2.0-1], [MQTT-3.14.0-1]")
	}
	if p.typ != PUBLISH && p.flags != fixedFlags(p.typ) {
		bad("fixed header flags %04b [MQTT-2.1.3-1]", p.flags)
	}
	if limit := c.declared(pMaximumPacketSize, 0); limit > 0 && p.size > limit {
		bad("%d bytes, more than the Maximum Packet Size of %d [MQTT-3.1.2-24]", p.size, limit)
	}
	c.inspectCodes(p, bad)
	if c.v == v5 {
		c.inspectProperties(p, bad)
	}
	switch p.typ {
	case CONNACK:
		if c.connack.typ != 0 {
			bad("second CONNACK [MQTT-3.2.0-2]")
		}
		if p.code != 0 && p.present {
			bad("refusal with Session Present [MQTT-3.2.2-6]")
		}
		if c.connect.clean && p.present {
			bad("Session Present after a clean start [MQTT-3.2.2-2]")
		}
		c.connack = *p
		c.closing = p.code != 0
	case PUBLISH:
		c.inspectPublish(p, bad)
	case DISCONNECT:
		c.closing = true
	}
	return violations
}

// inspectCodes checks Reason Codes against the tables.
func (c *client) inspectCodes(p *packet, bad func(string, ...any)) {
	allowed, ok := reasonCodes[p.typ]
	if c.v != v5 {
		allowed, ok = returnCodes[p.typ]
	}
	if !ok {
		return
	}
	codes := p.codes
	if p.typ != SUBACK && p.typ != UNSUBACK {
		codes = []byte{p.code}
	}
	for _, code := range codes {
		if !slices.Contains(allowed, code) {
			bad("0x%02X is no code of %s", code, typeNames[p.typ])
		}
	}
}

// inspectProperties checks where properties stand, how often, and whether the
// client wants them.
func (c *client) inspectProperties(p *packet, bad func(string, ...any)) {
	seen := map[byte]bool{}
	for _, x := range p.props {
		if !slices.Contains(propertyTypes[x.id].in, p.typ) {
			bad("property 0x%02X does not belong here [MQTT-2.2.2.2]", x.id)
		}
		if x.id == pSessionExpiry && p.typ == DISCONNECT {
			bad("Session Expiry Interval from the server [MQTT-3.14.2-2]")
		}
		repeatable := x.id == pUserProperty || x.id == pSubscriptionID && p.typ == PUBLISH
		if seen[x.id] && !repeatable {
			bad("property 0x%02X is there twice", x.id)
		}
		seen[x.id] = true
		diagnostic := x.id == pReasonString || x.id == pUserProperty
		quietType := p.typ != PUBLISH && p.typ != CONNACK && p.typ != DISCONNECT
		if diagnostic && quietType && c.declared(pRequestProblemInfo, 1) == 0 {
			bad("property 0x%02X, though Request Problem Information is 0 [MQTT-3.1.2-29]", x.id)
		}
	}
	if p.typ == CONNACK {
		if p.has(pResponseInfo) && c.declared(pRequestResponseInfo, 0) == 0 {
			bad("Response Information was not asked for [MQTT-3.1.2-28]")
		}
		for _, once := range []byte{pMaximumQoS, pRetainAvailable, pWildcardAvailable, pSubscriptionAvailable, pSharedAvailable} {
			if p.number(once, 0) > 1 {
				bad("property 0x%02X is neither 0 nor 1", once)
			}
		}
		if p.number(pReceiveMaximum, 1) == 0 || p.number(pMaximumPacketSize, 1) == 0 {
			bad("Receive Maximum or Maximum Packet Size is 0")
		}
	}
	if p.typ == CONNACK || p.typ == AUTH {
		want, asked := packet{props: decodeProperties(c.connect.props)}.text(pAuthMethod)
		got, given := p.text(pAuthMethod)
		if given && !asked {
			bad("Authentication Method, though the client has none [MQTT-4.12.0-6]")
		}
		if asked && p.code < 0x80 && got != want {
			bad("Authentication Method %q, want %q [MQTT-4.12.0-5]", got, want)
		}
		if !asked && p.typ == AUTH {
			bad("the client has no Authentication Method [MQTT-4.12.0-6]")
		}
	}
}

// inspectPublish checks a PUBLISH and resolves its Topic Alias.
func (c *client) inspectPublish(p *packet, bad func(string, ...any)) {
	switch {
	case p.qos() == 3:
		bad("QoS 3 [MQTT-3.3.1-4]")
	case p.qos() == 0 && p.dup():
		bad("DUP at QoS 0 [MQTT-3.3.1-2]")
	case p.qos() > 0:
		if p.id == 0 {
			bad("packet identifier 0 [MQTT-2.2.1-4]")
		}
		if _, used := c.inflight[p.id]; used {
			bad("packet identifier is in use [MQTT-2.2.1-4]")
		}
		c.inflight[p.id] = p.qos()
		if limit := c.declared(pReceiveMaximum, 65535); len(c.inflight) > limit {
			bad("%d unacknowledged, the Receive Maximum is %d [MQTT-3.3.4-9]", len(c.inflight), limit)
		}
	}
	if p.has(pTopicAlias) {
		alias, limit := p.number(pTopicAlias, 0), c.declared(pTopicAliasMaximum, 0)
		switch {
		case alias == 0:
			bad("Topic Alias 0 [MQTT-3.3.2-8]")
		case alias > limit:
			bad("Topic Alias above %d [MQTT-3.1.2-26], [MQTT-3.1.2-27]", limit)
		case p.topic != "":
			c.aliases[alias] = p.topic
		default:
			p.topic = c.aliases[alias]
		}
	}
	if p.topic == "" {
		bad("no topic [MQTT-4.7.3-1]")
	}
	if strings.ContainsAny(p.topic, "+#") {
		bad("wildcard in the topic [MQTT-3.3.2-2]")
	}
}

// declared returns an integer property of the client's CONNECT.
func (c *client) declared(id byte, or int) int {
	if c.v != v5 {
		return or
	}
	return packet{props: decodeProperties(c.connect.props)}.number(id, or)
}

// decodeProperties decodes properties of our own making, up to the first error.
func decodeProperties(b []byte) []property {
	r := reader{b: join(vbi(len(b)), b)}
	return r.properties()
}
