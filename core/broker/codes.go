package broker

import "github.com/patchbay-mq/patchbay/core/packet"

// carried is the Reason Code to send in a packet for one that a host gave: each
// packet may carry certain ones only, and a client that gets another one closes the
// connection [MQTT-4.13.1-1].
func carried(t packet.Type, code packet.ReasonCode) packet.ReasonCode {
	body := []byte{0, 1, byte(code)}
	var err error
	switch t {
	case packet.TypeConnack:
		err = new(packet.Connack).Decode(packet.V5, []byte{0, byte(code), 0})
	case packet.TypePuback, packet.TypePubrec:
		err = packet.DecodeAck(new(packet.Ack), t, packet.V5, body)
	case packet.TypeSuback:
		err = new(packet.Suback).Decode(packet.V5, []byte{0, 1, 0, byte(code)})
	case packet.TypeUnsuback:
		err = new(packet.Unsuback).Decode(packet.V5, []byte{0, 1, 0, byte(code)})
	case packet.TypeDisconnect:
		if code == packet.Banned {
			return packet.AdministrativeAction
		}
		err = new(packet.Disconnect).Decode(packet.V5, body[2:])
	}
	if err != nil {
		return packet.UnspecifiedError
	}
	return code
}
