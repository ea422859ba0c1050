package conformance

import (
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// specimen is a valid packet of a client, for tests that spoil it.
type specimen struct {
	typ, flags byte
	body       []byte
	valid      []int // shorter lengths at which the body is still valid
	noTopics   int   // length at which it holds no Topic Filter, a Protocol Error
	opaqueFrom int   // whatever follows this length is payload; 0 nothing is
}

func (s specimen) String() string { return typeNames[s.typ] }

// sampleProperties are valid values of all properties.
var sampleProperties = map[byte][]byte{
	pPayloadFormat:         prop(pPayloadFormat, 1),
	pMessageExpiry:         prop(pMessageExpiry, 100),
	pContentType:           prop(pContentType, "text/plain"),
	pResponseTopic:         prop(pResponseTopic, "reply/to"),
	pCorrelationData:       prop(pCorrelationData, "\x00\xFF"),
	pSubscriptionID:        prop(pSubscriptionID, 300),
	pSessionExpiry:         prop(pSessionExpiry, 10),
	pAssignedClientID:      prop(pAssignedClientID, "id"),
	pServerKeepAlive:       prop(pServerKeepAlive, 10),
	pAuthMethod:            prop(pAuthMethod, "method"),
	pAuthData:              prop(pAuthData, "data"),
	pRequestProblemInfo:    prop(pRequestProblemInfo, 1),
	pWillDelay:             prop(pWillDelay, 1),
	pRequestResponseInfo:   prop(pRequestResponseInfo, 1),
	pResponseInfo:          prop(pResponseInfo, "info"),
	pServerReference:       prop(pServerReference, "other"),
	pReasonString:          prop(pReasonString, "because"),
	pReceiveMaximum:        prop(pReceiveMaximum, 10),
	pTopicAliasMaximum:     prop(pTopicAliasMaximum, 10),
	pTopicAlias:            prop(pTopicAlias, 1),
	pMaximumQoS:            prop(pMaximumQoS, 1),
	pRetainAvailable:       prop(pRetainAvailable, 1),
	pUserProperty:          user("key", "value"),
	pMaximumPacketSize:     prop(pMaximumPacketSize, 1000),
	pWildcardAvailable:     prop(pWildcardAvailable, 1),
	pSubscriptionAvailable: prop(pSubscriptionAvailable, 1),
	pSharedAvailable:       prop(pSharedAvailable, 1),
}

// propertiesOf returns every property that a client may send in a packet (or in
// Will Properties), except those that the case does not allow.
func propertiesOf(in byte, without ...byte) []byte {
	var b []byte
	for id := byte(1); id <= pSharedAvailable; id++ {
		if slices.Contains(propertyTypes[id].in, in) && !slices.Contains(without, id) {
			b = append(b, sampleProperties[id]...)
		}
	}
	return b
}

// fullConnect has all fields and properties but those of enhanced authentication.
func fullConnect(v version) connectPacket {
	name, password := "user", "password"
	p := connectPacket{v: v, id: unique(), clean: true, keepAlive: 60, username: &name, password: &password}
	p.will = &will{topic: unique() + "/will", payload: "will", qos: 1, props: propertiesOf(willProps)}
	p.props = propertiesOf(CONNECT, pAuthMethod, pAuthData)
	return p
}

// specimens returns a packet of each type that a connected client may send.
func specimens(v version) []specimen {
	topic := unique()
	// A client's PUBLISH has no Subscription Identifier, and the broker's Topic
	// Alias Maximum may be 0.
	message := publishPacket{topic: topic, payload: "payload", qos: 1, id: 7,
		props: propertiesOf(PUBLISH, pSubscriptionID, pTopicAlias)}
	publish := message.body(v)
	subProps := properties(v, propertiesOf(SUBSCRIBE))
	subscribe := join(u16(8), subProps, str(topic+"/1"), []byte{0}, str(topic+"/2"), []byte{1})
	unsubProps := properties(v, propertiesOf(UNSUBSCRIBE))
	unsubscribe := join(u16(9), unsubProps, str(topic+"/1"), str(topic+"/2"))
	all := []specimen{
		{PUBLISH, message.flags(), publish, nil, -1, len(publish) - len(message.payload)},
		{SUBSCRIBE, 2, subscribe, []int{2 + len(subProps) + 2 + len(topic) + 2 + 1}, 2 + len(subProps), 0},
		{UNSUBSCRIBE, 2, unsubscribe, []int{2 + len(unsubProps) + 2 + len(topic) + 2}, 2 + len(unsubProps), 0},
		{PINGREQ, 0, nil, nil, -1, 0},
	}
	for _, typ := range []byte{PUBACK, PUBREC, PUBREL, PUBCOMP} {
		s := specimen{typ, fixedFlags(typ), u16(1), nil, -1, 0}
		if v == v5 {
			s.body = join(s.body, []byte{0}, properties(v, propertiesOf(typ)))
			s.valid = []int{2, 3}
		}
		all = append(all, s)
	}
	bye := specimen{typ: DISCONNECT, noTopics: -1}
	if v == v5 {
		bye.body = join([]byte{0}, properties(v, propertiesOf(DISCONNECT, pSessionExpiry, pServerReference)))
		bye.valid = []int{0, 1}
	}
	return append(all, bye)
}

// The specimens themselves are fine: what the other tests see refused is refused
// for what they did to it.
func TestAllPropertiesAreAccepted(t *testing.T) {
	eachVersion(t, nil, func(t *testing.T, v version) {
		for _, s := range specimens(v) {
			c := open(t, fullConnect(v))
			for _, n := range append(s.valid, len(s.body)) {
				if s.typ == DISCONNECT && n < len(s.body) {
					continue // tested with a connection of its own below
				}
				c.send(frame(s.typ, s.flags, s.body[:n]))
			}
			if s.typ == DISCONNECT {
				c.gone()
				for _, n := range s.valid {
					c := open(t, fresh(v))
					c.send(frame(s.typ, s.flags, s.body[:n]))
					c.gone()
				}
				continue
			}
			c.send(pingreq)
			c.take(PINGRESP)
		}
	})
}

func TestTruncatedPackets(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.13.1-1"}, v311: {"MQTT-4.8.0-1"}}, func(t *testing.T, v version) {
		for _, s := range specimens(v) {
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel()
				end := len(s.body)
				if s.opaqueFrom > 0 {
					end = s.opaqueFrom
				}
				for n := range end {
					if slices.Contains(s.valid, n) {
						continue
					}
					codes := []byte{0x81}
					if n == s.noTopics {
						codes = append(codes, 0x82)
					}
					c := open(t, fresh(v))
					c.send(frame(s.typ, s.flags, s.body[:n]))
					c.dropped(codes...)
					if t.Failed() {
						t.Fatalf("%s cut after %d of %d bytes", s, n, len(s.body))
					}
				}
			})
		}
	})
}

func TestTruncatedConnect(t *testing.T) {
	eachVersion(t, statements{
		v5:   {"MQTT-3.1.4-1"},
		v311: {"MQTT-3.1.4-1", "MQTT-3.2.2-6"},
	}, func(t *testing.T, v version) {
		p := fullConnect(v)
		body := p.body()
		for n := 7; n < len(body); n++ { // TestProtocolNameAndLevelTruncated has the others
			c := dial(t, broker(t), v)
			c.send(frame(CONNECT, 0, body[:n]))
			c.malformed(0x81)
			if t.Failed() {
				t.Fatalf("CONNECT cut after %d of %d bytes", n, len(body))
			}
		}
	})
}

func TestTrailingBytes(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.13.1-1", "MQTT-3.1.4-1"}, v311: {"MQTT-4.8.0-1", "MQTT-3.1.4-1"}}, func(t *testing.T, v version) {
		c := dial(t, broker(t), v)
		c.send(frame(CONNECT, 0, fullConnect(v).body(), []byte{0}))
		c.malformed(0x81)
		for _, s := range specimens(v) {
			if s.opaqueFrom > 0 {
				continue
			}
			c := open(t, fresh(v))
			c.send(frame(s.typ, s.flags, s.body, []byte{0}))
			c.dropped(0x81)
			if t.Failed() {
				t.Fatalf("%s with a byte too many", s)
			}
		}
	})
}

func TestReservedFlags(t *testing.T) {
	own := map[byte]statements{
		PUBREL:      {v5: {"MQTT-3.6.1-1"}, v311: {"MQTT-3.6.1-1"}},
		SUBSCRIBE:   {v5: {"MQTT-3.8.1-1"}, v311: {"MQTT-3.8.1-1"}},
		UNSUBSCRIBE: {v5: {"MQTT-3.10.1-1"}, v311: {"MQTT-3.10.1-1"}},
		DISCONNECT:  {v5: {"MQTT-3.14.1-1"}, v311: {"MQTT-3.14.1-1"}},
	}
	for _, typ := range []byte{CONNECT, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT, AUTH} {
		t.Run(typeNames[typ], func(t *testing.T) {
			s := statements{v5: {"MQTT-2.1.3-1"}, v311: {"MQTT-2.2.2-1", "MQTT-2.2.2-2"}}
			if typ == AUTH {
				s = statements{v5: {"MQTT-2.1.3-1", "MQTT-3.15.1-1"}, v311: {"MQTT-4.8.0-1"}} // not a packet of 3.1.1
			}
			for _, v := range []version{v5, v311} {
				s[v] = append(s[v], own[typ][v]...)
			}
			eachVersion(t, s, func(t *testing.T, v version) {
				for flags := range byte(16) {
					if flags == fixedFlags(typ) {
						continue
					}
					switch typ {
					case CONNECT:
						// The version stands behind the fixed header, and so there need be no CONNACK.
						c := dial(t, broker(t), v)
						c.send(frame(CONNECT, flags, fresh(v).body()))
						if p, err := c.read(); err == nil && (v != v5 || p.typ != CONNACK || p.code != 0x81) {
							t.Errorf("got %v", p)
						} else if err == nil {
							c.gone()
						}
					case AUTH:
						p := fresh(v)
						c := open(t, p)
						c.send(frame(AUTH, flags, []byte{0x18}, properties(v5, sampleProperties[pAuthMethod])))
						c.dropped(0x81)
					default:
						i := slices.IndexFunc(specimens(v), func(s specimen) bool { return s.typ == typ })
						c := open(t, fresh(v))
						c.send(frame(typ, flags, specimens(v)[i].body))
						c.dropped(0x81)
					}
					if t.Failed() {
						t.Fatalf("%s with flags %04b", typeNames[typ], flags)
					}
				}
			})
		})
	}
}

func TestPublishFlags(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags byte
		codes []byte
		shows statements
	}{
		{"QoS 3", 0x06, []byte{0x81}, statements{v5: {"MQTT-3.3.1-4"}, v311: {"MQTT-3.3.1-4", "MQTT-2.2.2-2"}}},
		{"QoS 3, DUP and RETAIN", 0x0F, []byte{0x81}, statements{v5: {"MQTT-3.3.1-4"}, v311: {"MQTT-3.3.1-4", "MQTT-2.2.2-2"}}},
		{"DUP at QoS 0", 0x08, []byte{0x81, 0x82}, statements{v5: {"MQTT-3.3.1-2"}, v311: {"MQTT-3.3.1-2"}}},
		{"DUP at QoS 0 with RETAIN", 0x09, []byte{0x81, 0x82}, statements{v5: {"MQTT-3.3.1-2"}, v311: {"MQTT-3.3.1-2"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachVersion(t, test.shows, func(t *testing.T, v version) {
				m := publishPacket{topic: unique(), payload: "xx"}
				c := open(t, fresh(v))
				c.send(frame(PUBLISH, test.flags, m.body(v)))
				c.dropped(test.codes...)
			})
		})
	}
}

func TestPacketTypesThatAClientDoesNotSend(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-4.13.1-1"}, v311: {"MQTT-4.8.0-1"}}, func(t *testing.T, v version) {
		for _, b := range [][]byte{
			{0x00, 0x00}, {0x0F, 0x00},
			frame(CONNACK, 0, []byte{0, 0}, properties(v)),
			frame(SUBACK, 0, u16(1), properties(v), []byte{0}),
			frame(UNSUBACK, 0, u16(1), properties(v), []byte{0}),
			frame(PINGRESP, 0),
		} {
			c := open(t, fresh(v))
			c.send(b)
			c.dropped(0x81, 0x82)
			if t.Failed() {
				t.Fatalf("sent % X", b)
			}
		}
		if v == v311 {
			c := open(t, fresh(v))
			c.send(auth(0x18, sampleProperties[pAuthMethod]))
			c.dropped()
		}
	})
}

func TestPacketIdentifierZero(t *testing.T) {
	eachVersion(t, statements{v5: {"MQTT-2.2.1-3"}, v311: {"MQTT-2.3.1-1"}}, func(t *testing.T, v version) {
		topic := unique()
		packets := [][]byte{
			publishPacket{topic: topic, qos: 1}.bytes(v),
			publishPacket{topic: topic, qos: 2}.bytes(v),
			subscribe(v, 0, nil, sub{topic, 0}),
			unsubscribe(v, 0, nil, topic),
		}
		if strict() {
			packets = append(packets, ack(PUBACK, 0), ack(PUBREC, 0), ack(PUBREL, 0), ack(PUBCOMP, 0))
		}
		for _, b := range packets {
			c := open(t, fresh(v))
			c.send(b)
			c.dropped(0x81, 0x82)
			if t.Failed() {
				t.Fatalf("sent % X", b)
			}
		}
	})
}

// badVBIs do not end within four bytes, or are longer than their value needs.
var badVBIs = map[string][]byte{
	"five bytes":       {0x80, 0x80, 0x80, 0x80, 0x01},
	"five bytes, 0xFF": {0xFF, 0xFF, 0xFF, 0xFF, 0x7F},
	"two bytes for 0":  {0x80, 0x00},
	"four bytes for 1": {0x81, 0x80, 0x80, 0x00},
}

func TestVariableByteIntegers(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-1.5.5-1")
	topic := unique()
	for name, bad := range badVBIs {
		for where, b := range map[string][]byte{
			"remaining length":        join([]byte{PINGREQ << 4}, bad),
			"property length":         frame(SUBSCRIBE, 2, u16(1), bad, str(topic), []byte{0}),
			"subscription identifier": frame(SUBSCRIBE, 2, u16(1), vbi(1+len(bad)), []byte{pSubscriptionID}, bad, str(topic), []byte{0}),
			"property identifier":     frame(SUBSCRIBE, 2, u16(1), vbi(len(bad)+4), bad, make([]byte, 4), str(topic), []byte{0}),
		} {
			c := open(t, fresh(v5))
			c.send(b)
			c.dropped(0x81)
			if t.Failed() {
				t.Fatalf("%s of %s", where, name)
			}
		}
	}
	for _, bad := range [][]byte{{0xFF, 0xFF, 0xFF, 0xFF, 0x01}, {0x80, 0x80, 0x80, 0x80, 0x00}} {
		c := open(t, fresh(v311))
		c.send([]byte{PUBLISH << 4}, bad)
		c.dropped()
		c = dial(t, broker(t), v311)
		c.send([]byte{CONNECT << 4}, bad)
		c.refused()
	}
}

func TestPropertyLengthDoesNotFit(t *testing.T) {
	t.Parallel()
	shows(t, v5, "MQTT-4.13.1-1", "MQTT-2.2.2-1")
	topic := unique()
	for _, body := range [][]byte{
		join(u16(1), vbi(200), str(topic), []byte{0}),               // past the packet's end
		join(u16(1), vbi(3), user("k", "v"), str(topic), []byte{0}), // within a property
		join(u16(1), str(topic), []byte{0}),                         // left out
	} {
		c := open(t, fresh(v5))
		c.send(frame(SUBSCRIBE, 2, body))
		c.dropped(0x81)
	}
}

// Every byte string must end in an answer or a closed connection.
func TestNoise(t *testing.T) {
	eachVersion(t, nil, func(t *testing.T, v version) {
		state := uint32(v)*2654435761 + 1
		for round := range 300 {
			b := make([]byte, 1+round%70)
			for i := range b {
				state = state*1664525 + 1013904223
				b[i] = byte(state >> 24)
			}
			if round%2 == 0 {
				b = frame(b[0]>>4, fixedFlags(b[0]>>4), b[1:])
			}
			c := open(t, fresh(v))
			c.trySend(b, pingreq)
			// A length that promises more than there is ends with the stream.
			c.nc.(*net.TCPConn).CloseWrite()
			c.nc.SetReadDeadline(time.Now().Add(patience))
			for {
				_, _, err := readFrame(c.br)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("sent % X: the connection is still open", b)
				}
				if err != nil {
					break
				}
			}
			c.cut()
		}
	})
}
