package services

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Publish implements v1host.Service. A topic that the grant does not cover refuses the
// whole request before anything is published; whatever else is wrong with a message is told in its
// result.
func (s *Service) Publish(ctx context.Context, in *pluginv1.PublishRequest) (*pluginv1.PublishResponse, error) {
	grant := grantPublish
	if in.AsClient != "" {
		grant = grantPublishAsClient
	}
	return serveWith(s, pluginv1.HostOpPublish, grant, func() (*pluginv1.PublishResponse, error) {
		if err := limit("messages", len(in.Messages), maxElements); err != nil {
			return nil, err
		}
		ctx, cancel := s.waiting(ctx)
		defer cancel()
		b := &publishing{results: make([]pluginv1.PublishResult, len(in.Messages)), done: make(chan struct{})}
		list, err := s.readMessages(in, grant, b.results)
		if err != nil {
			return nil, err
		}
		b.left.Store(int32(len(in.Messages)) + 1)
		for i, m := range list {
			switch {
			case m == nil: // refused
				b.finish()
			case in.AsClient != "":
				s.p.s.o.Broker.PublishAs(in.Messages[i].Namespace, in.AsClient, m, b.result(i))
			default:
				s.p.s.o.Broker.Publish(in.Messages[i].Namespace, m, b.result(i))
			}
		}
		b.finish()
		select {
		case <-b.done:
			return &pluginv1.PublishResponse{Results: b.results}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
}

// readMessages checks all messages and makes those that can be published; of the others it
// writes the result.
func (s *Service) readMessages(in *pluginv1.PublishRequest, grant string, results []pluginv1.PublishResult) ([]*packet.Message, error) {
	now := time.Now()
	list := make([]*packet.Message, len(in.Messages))
	for i := range in.Messages {
		m := &in.Messages[i]
		p, err := convert.Published(m, now.UnixMilli())
		if err == nil {
			if err := s.p.mayTopic(grant, m.Namespace, m.Topic); err != nil {
				return nil, err
			}
			p.Origin, err = s.origin(m)
		} else if err := s.p.mayIn(grant, m.Namespace); err != nil {
			return nil, err
		}
		if err != nil {
			refuseMessage(&results[i], err)
			continue
		}
		list[i] = p
	}
	rate := float64(s.p.s.o.PublishRate)
	allowed := s.p.publishes.take(len(list), rate, rate, now)
	for i := allowed; i < len(list); i++ {
		if list[i] != nil {
			list[i] = nil
			refuseMessage(&results[i], &convert.Error{
				Code: packet.QuotaExceeded, Reason: fmt.Sprintf("a plugin may publish %.0f messages a second", rate),
			})
		}
	}
	return list, nil
}

func refuseMessage(r *pluginv1.PublishResult, err error) {
	code := packet.UnspecifiedError
	var e *convert.Error
	if errors.As(err, &e) {
		code = e.Code
	}
	r.ReasonCode, r.Reason = uint32(code), err.Error()
}

// origin is where a message of the plugin comes from, one hop further than what it answers
// to.
func (s *Service) origin(m *pluginv1.Message) (*packet.Origin, error) {
	hops := max(m.Hops, s.instance.Hops())
	if hops >= maxHops {
		return nil, &convert.Error{
			Code:   packet.QuotaExceeded,
			Reason: fmt.Sprintf("the message comes of what %d plugins have published one after the other, and %d are allowed: a loop?", hops, maxHops),
		}
	}
	return s.p.origins[hops+1], nil
}

// publishing waits for the results of a request.
type publishing struct {
	results []pluginv1.PublishResult
	left    atomic.Int32
	done    chan struct{}
}

func (b *publishing) finish() {
	if b.left.Add(-1) == 0 {
		close(b.done)
	}
}

// result returns what is to be called with the result of message i.
func (b *publishing) result(i int) func(hook.PublishResult) {
	return func(r hook.PublishResult) {
		b.results[i] = pluginv1.PublishResult{
			ReasonCode: uint32(r.Code), Receivers: uint32(max(r.Receivers, 0)), ID: r.ID, Reason: r.Reason,
		}
		b.finish()
	}
}
