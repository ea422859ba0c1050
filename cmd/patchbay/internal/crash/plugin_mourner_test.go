package crash

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// mourner receives dead letters at QoS 1 in a persistent session.
type mourner struct {
	client
	inquest *inquest
	witness func()
	// settled: it is connected and has its subscription.
	settled atomic.Bool
}

func (m *mourner) attend(st *stage) {
	m.settled.Store(false)
	m.client.attend(st, m.serve)
}

func (m *mourner) serve(st *stage) error {
	s := packet.Subscribe{PacketID: 1, Subscriptions: []packet.Subscription{{Filter: "dead", QoS: 1}}}
	var err error
	if m.out, err = s.Append(m.out, m.version); err != nil {
		return err
	}
	for {
		if err := m.flush(m.handle); err != nil {
			return err
		}
		if closed(st.leave) {
			m.c.disconnect()
			return nil
		}
		h, body, err := m.read(st, time.Now().Add(idle))
		if errors.Is(err, errIdle) {
			continue
		}
		if err == nil {
			err = m.handle(h, body)
		}
		if err != nil {
			return err
		}
	}
}

func (m *mourner) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.TypeSuback:
		m.settled.Store(true)
		return nil
	case packet.TypePublish:
		var p packet.Publish
		if err := packet.DecodePublish(&p, m.version, h, body, true); err != nil {
			return err
		}
		m.witness() // what has happened before comes first
		m.inquest.letter(m.who, &p)
		m.out = packet.AppendAck(m.out, packet.TypePuback, m.version, p.PacketID, packet.Success, nil)
		return nil
	}
	return fmt.Errorf("the broker sent %v to a subscriber", h.Type)
}
