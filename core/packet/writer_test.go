package packet

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// A field that does not fit is refused, and dst stays as it was.
func TestAppendTooLarge(t *testing.T) {
	long := strings.Repeat("x", 65536)
	longUser := Properties{User: []UserProperty{{"k", long}}}
	longReason := with(func(p *Properties) { p.SetReasonString(long) })
	longData := with(func(p *Properties) { p.SetAuthMethod("m"); p.SetAuthData([]byte(long)) })
	many := make([]string, 4200)
	for i := range many {
		many[i] = long[:65535]
	}
	for i, p := range []appender{
		&Connect{Version: V5, ClientID: long},
		&Connect{Version: V311, ClientID: long},
		&Connect{Version: V5, HasUsername: true, Username: long},
		&Connect{Version: V5, HasPassword: true, Password: []byte(long)},
		&Connect{Version: V5, Will: &Will{Topic: long}},
		&Connect{Version: V5, Will: &Will{Topic: "w", Payload: []byte(long)}},
		&Connect{Version: V5, Will: &Will{Topic: "w", Props: longUser}},
		&Connect{Version: V5, Props: longData},
		&Connack{Props: longReason},
		&Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: long}}},
		&Subscribe{PacketID: 1, Props: with(func(p *Properties) { p.SetSubscriptionID(MaxRemaining + 1) })},
		&Suback{PacketID: 1, Props: longUser},
		&Unsubscribe{PacketID: 1, Filters: many},
		&Unsubscribe{PacketID: 1, Filters: []string{long}},
		&Unsuback{PacketID: 1, Props: longUser},
		&Disconnect{Code: UnspecifiedError, Props: longReason},
		&Auth{Code: ReAuthenticate, Props: longData},
	} {
		out, err := p.Append([]byte("dst"), V5)
		if !errors.Is(err, ErrTooLarge) || string(out) != "dst" {
			t.Errorf("%d, %T: %d bytes, %v", i, p, len(out), err)
		}
	}
	if out, err := longUser.AppendForward([]byte("dst")); !errors.Is(err, ErrTooLarge) || string(out) != "dst" {
		t.Errorf("AppendForward: %d bytes, %v", len(out), err)
	}
	_, err := (&Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: long}}}).Append(nil, V311)
	if err == nil || err.Error() != "packet: SUBSCRIBE: topic filter is too long for MQTT" {
		t.Errorf("error reads %q", err)
	}
}

// An acknowledgement goes out whatever its properties are.
func TestAppendAckDropsWhatDoesNotFit(t *testing.T) {
	long := with(func(p *Properties) { p.SetReasonString(strings.Repeat("x", 65536)) })
	foreign := with(func(p *Properties) { p.SetReceiveMaximum(5); p.SetContentType("t") })
	for _, props := range []*Properties{nil, {}, &long, &foreign} {
		if got := AppendAck(nil, TypePuback, V5, 1, Success, props); !bytes.Equal(got, []byte{0x40, 2, 0, 1}) {
			t.Errorf("success: %x", got)
		}
		if got := AppendAck(nil, TypePubrec, V5, 1, NotAuthorized, props); !bytes.Equal(got, []byte{0x50, 3, 0, 1, 0x87}) {
			t.Errorf("refusal: %x", got)
		}
		if got := AppendAck(nil, TypePubrel, V311, 1, PacketIdentifierNotFound, props); !bytes.Equal(got, []byte{0x62, 2, 0, 1}) {
			t.Errorf("3.1.1: %x", got)
		}
	}
}

// Properties that a packet may not carry, and all of them in 3.x, stay behind.
func TestAppendLeavesOutForeignProperties(t *testing.T) {
	props := with(func(p *Properties) { p.SetReasonString("r"); p.SetReceiveMaximum(5); p.SetWillDelay(1) })
	got, err := (&Disconnect{Code: ServerBusy, Props: props}).Append(nil, V5)
	if want := wire(t, "e0 06 89 04 1f0001'r'"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("DISCONNECT is %x, %v; want %x", got, err, want)
	}
	got, err = (&Suback{PacketID: 1, Codes: []ReasonCode{QuotaExceeded, GrantedQoS1}, Props: props}).Append(nil, V311)
	if want := wire(t, "90 04 0001 80 01"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("SUBACK of 3.1.1 is %x, %v; want %x", got, err, want)
	}
	got, err = (&Connack{SessionPresent: true, Code: ServerBusy}).Append(nil, V5)
	if want := wire(t, "20 03 00 89 00"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("CONNACK is %x, %v; want no session present in a refusal [MQTT-3.2.2-6]", got, err)
	}
	got, err = (&Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: "a", QoS: 1, NoLocal: true, RetainHandling: 2}}}).Append(nil, V311)
	if want := wire(t, "82 06 0001 0001'a' 01"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("SUBSCRIBE of 3.1.1 is %x, %v; want %x", got, err, want)
	}
}

// Nothing that was decoded into strings keeps a view of the packet.
func TestDecodedIsCopied(t *testing.T) {
	for _, c := range golden {
		for _, v := range c.versions {
			if _, ok := c.packet.(appender); !ok {
				continue
			}
			frame := goldenBytes(t, c.bytes, v)
			scratch := bytes.Clone(frame)
			p, err := decodeFrame(v, scratch, true)
			if err != nil {
				t.Fatal(err)
			}
			clear(scratch)
			if again, err := encodeFrame(v, p); err != nil || !bytes.Equal(again, frame) {
				t.Errorf("%s in %v changed with its source: %x", c.name, v, again)
			}
		}
	}
}
