package bridgekafka

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridge"
	"github.com/patchbay-mq/patchbay/sdk"
)

const (
	// publishMessages and publishBytes are how much is published at once: the host takes
	// 1,024, and a process plugin has to send it.
	publishMessages = 512
	publishBytes    = 4 << 20
	// publishPatience is for how long a broker is asked again that takes nothing. Then the
	// group is left, so that another bridge in it may try.
	publishPatience = 20 * time.Second
)

// arrival is a record that is to be published here.
type arrival struct {
	record  *kgo.Record
	message sdk.Message
}

// deliver publishes records in order. It returns how many, from the first on, are safe here
// or given up; with an error that is not all of them.
func (s *source) deliver(records []*kgo.Record) (done int, err error) {
	for done < len(records) {
		list := make([]arrival, 0, min(len(records)-done, publishMessages))
		next, size := done, 0
		for ; next < len(records) && len(list) < publishMessages && (size == 0 || size+len(records[next].Value) <= publishBytes); next++ {
			r := records[next]
			m, ok, err := s.message(r)
			switch {
			case err != nil:
				s.giveUp(r, err)
			case ok:
				list = append(list, arrival{r, m})
				size += len(r.Value)
			}
		}
		if err := s.publish(list); err != nil {
			return done, err
		}
		done = next
	}
	return done, nil
}

// giveUp counts a record that cannot be published. It stays in Kafka, and the log says where.
func (s *source) giveUp(r *kgo.Record, err error) {
	s.w.p.Trouble(s.Name, err, true)
	s.w.p.host.Logger().Warn("a record of Kafka was given up", "route", s.Name, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", err)
}

// publish publishes messages, and again those that the broker has no room for now.
func (s *source) publish(list []arrival) error {
	pause := bridge.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second}
	began := time.Now()
	for len(list) > 0 {
		left, err := s.publishOnce(list)
		if ended := s.w.ctx.Err(); ended != nil {
			return ended
		}
		if refused(err) {
			if len(list) > 1 { // the grant, say, does not cover every topic
				return s.oneByOne(list)
			}
			s.giveUp(list[0].record, fmt.Errorf("it may not be published here as %q: %w", list[0].message.Topic, err))
			return nil
		}
		if list = left; len(list) == 0 {
			return nil
		}
		s.w.p.Trouble(s.Name, err, false)
		if time.Since(began) > publishPatience {
			return err
		}
		select {
		case <-s.w.ctx.Done():
			return s.w.ctx.Err()
		case <-time.After(pause.Next()):
		}
	}
	return nil
}

func (s *source) oneByOne(list []arrival) error {
	for i := range list {
		if err := s.publish(list[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// refused reports whether the host would say the same again.
func refused(err error) bool {
	return errors.Is(err, sdk.ErrDenied) || errors.Is(err, sdk.ErrInvalid) || errors.Is(err, sdk.ErrTooLarge)
}

// publishOnce publishes messages, and returns those that have to be tried again, with why.
func (s *source) publishOnce(list []arrival) (left []arrival, err error) {
	messages := make([]sdk.Message, len(list))
	for i := range list {
		messages[i] = list[i].message
	}
	results, err := s.w.p.host.Publish(s.w.ctx, messages...)
	if err != nil {
		return list, err
	}
	n, bytes := 0, 0
	for i := range results {
		a := &list[i]
		switch code := results[i].ReasonCode; {
		case code < 0x80:
			n, bytes = n+1, bytes+len(a.record.Value)
		case !hopeless(sdk.ReasonCode(code)):
			left = append(left, *a)
			err = fmt.Errorf("this broker does not take it now: %s (0x%02X)", results[i].Reason, code)
		default:
			s.giveUp(a.record, fmt.Errorf("this broker refuses it as %q: %s (0x%02X)", a.message.Topic, results[i].Reason, code))
		}
	}
	if n > 0 {
		s.w.p.Received(s.Name, n, bytes)
	}
	return left, err
}

// hopeless reports whether the broker would say the same again. What is not known to be so
// is tried again, as when the broker is ending.
func hopeless(code sdk.ReasonCode) bool {
	const protocolError, qosNotSupported, retainNotSupported = 0x82, 0x9B, 0x9A
	switch code {
	case protocolError, sdk.NotAuthorized, sdk.TopicNameInvalid, sdk.PacketTooLarge, sdk.PayloadFormatInvalid, retainNotSupported, qosNotSupported:
		return true
	}
	return false
}
