package services

import (
	"context"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// maxScreened is how many messages a ScreenRequest may have.
const maxScreened = 1000

// allFields are those of a message that a client would get.
const allFields = pluginv1.FieldPayload | pluginv1.FieldProperties | pluginv1.FieldUserProperties

// Screen implements v1host.Service. What is wrong with a message is told in its result.
func (s *Service) Screen(ctx context.Context, in *pluginv1.ScreenRequest) (*pluginv1.ScreenResponse, error) {
	return serve(s, pluginv1.HostOpScreen, func() (*pluginv1.ScreenResponse, error) {
		if err := limit("messages", len(in.Messages), maxScreened); err != nil {
			return nil, err
		}
		if in.ClientID == "" {
			return nil, invalid("client_id is required")
		}
		if err := s.p.mayIn(grantClients, in.Namespace); err != nil {
			return nil, err
		}
		ctx, cancel := s.waiting(ctx)
		defer cancel()
		now := time.Now().UnixMilli()
		out := &pluginv1.ScreenResponse{Results: make([]pluginv1.ScreenResult, len(in.Messages))}
		var list []*packet.Message
		var of []int // the result of each message
		for i := range in.Messages {
			m, err := convert.Published(&in.Messages[i], now)
			if err != nil {
				e := &pluginv1.PublishResult{}
				refuseMessage(e, err)
				out.Results[i].ReasonCode, out.Results[i].Reason = e.ReasonCode, e.Reason
				continue
			}
			m.Publisher = in.Messages[i].Publisher
			list, of = append(list, m), append(of, i)
		}
		done := make(chan error, 1)
		namespace := in.Namespace // the request is the caller's again when ctx has ended
		s.p.s.o.Broker.Screen(namespace, in.ClientID, list, func(screened []hook.Screened) {
			done <- readScreened(out.Results, of, screened, namespace, now)
		})
		select {
		case err := <-done:
			return out, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
}

// readScreened writes down what the broker says.
func readScreened(results []pluginv1.ScreenResult, of []int, screened []hook.Screened, namespace string, now int64) error {
	var view pluginv1.Message
	for k := range screened {
		from, r := &screened[k], &results[of[k]]
		r.ReasonCode, r.Reason = uint32(from.Code), from.Reason
		if !from.Changed || from.Message == nil {
			continue
		}
		convert.Message(&view, from.Message, allFields, now)
		view.Namespace = namespace
		r.Message = &pluginv1.Message{}
		// Written and read again it has memory of its own.
		if err := r.Message.Unmarshal(view.AppendTo(nil)); err != nil {
			return err
		}
	}
	return nil
}
