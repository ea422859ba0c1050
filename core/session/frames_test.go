package session

import (
	"bytes"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
)

// sharingLink holds on to a payload, as a Link does until it has been written.
type sharingLink struct {
	fakeLink
	payload []byte
	owner   interface{ Unref() }
}

func (l *sharingLink) AppendShared(head []byte, idOffset int, id uint16, payload []byte, owner interface{ Unref() }) {
	l.payload, l.owner = payload, owner
}

// What a Link refers to must not lie in a read buffer, which is used again.
func TestSharedPayloadOutlivesItsReadBuffer(t *testing.T) {
	for qos := range byte(3) {
		env := &Env{Store: new(store.Memory), Now: func() int64 { return 0 }}
		env.Limits.Store(&Limits{MaxInflight: 10})
		s := New(env, "", "c", 1)
		l := new(sharingLink)
		s.Attach(l, Params{Version: packet.V311})
		buf := bytes.Repeat([]byte{'a'}, 2*sharedPayload)
		m := packet.Message{Topic: []byte("t"), Payload: buf, QoS: qos}
		f := &Frames{NextID: func() uint64 { return 1 }}
		f.Begin(&m, 0)
		s.Deliver(f, Delivery{QoS: qos})
		f.End()
		clear(buf)
		if len(l.payload) != len(buf) || l.payload[0] != 'a' {
			t.Errorf("QoS %d: the payload changed with the read buffer", qos)
		}
		l.owner.Unref()
	}
}
