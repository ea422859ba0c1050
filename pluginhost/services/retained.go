package services

import (
	"bytes"
	"context"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/pluginhost/internal/convert"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// Retained implements v1host.Service.
func (s *Service) Retained(_ context.Context, in *pluginv1.RetainedRequest) (*pluginv1.RetainedResponse, error) {
	return serve(s, pluginv1.HostOpRetained, func() (*pluginv1.RetainedResponse, error) {
		size, err := pageSize(in.PageSize)
		if err != nil {
			return nil, err
		}
		if f, err := topic.ParseFilter(in.TopicFilter); err != nil {
			return nil, invalid("topic_filter %s: %v", quote(in.TopicFilter), err)
		} else if f.Shared {
			return nil, invalid("topic_filter %s: without $share", quote(in.TopicFilter))
		}
		if err := s.p.mayTopic(grantRetained, in.Namespace, in.TopicFilter); err != nil {
			return nil, err
		}
		now := time.Now().UnixMilli()
		low := &lowest[*packet.Message]{
			most:    size,
			compare: func(a, b **packet.Message) int { return bytes.Compare((*a).Topic, (*b).Topic) },
			drop:    (*packet.Message).Unref,
		}
		s.p.s.o.Broker.Retained(in.Namespace, in.TopicFilter, func(m *packet.Message) bool {
			if bytes.Compare(m.Topic, in.Page) > 0 && !m.Expired(now) {
				m.Ref() // it is valid during the call only
				low.offer(m)
			}
			return true
		})
		defer func() {
			for _, m := range low.list {
				m.Unref()
			}
		}()
		return retainedPage(low, in, now)
	})
}

// retainedPage describes the messages.
func retainedPage(low *lowest[*packet.Message], in *pluginv1.RetainedRequest, now int64) (*pluginv1.RetainedResponse, error) {
	out := &pluginv1.RetainedResponse{}
	var view pluginv1.Message
	total, cut := 0, false
	for _, m := range low.sorted() {
		convert.Message(&view, m, pluginv1.Field(in.Fields), now)
		view.Namespace = in.Namespace
		n := view.Size()
		if cut = total > 0 && total+n > maxPageBytes; cut {
			break
		}
		total += n
		out.Messages = append(out.Messages, pluginv1.Message{})
		// Written and read again it has memory of its own.
		if err := out.Messages[len(out.Messages)-1].Unmarshal(view.AppendTo(make([]byte, 0, n))); err != nil {
			return nil, err
		}
	}
	if n := len(out.Messages); n > 0 && (cut || low.more) {
		out.NextPage = []byte(out.Messages[n-1].Topic)
	}
	return out, nil
}
