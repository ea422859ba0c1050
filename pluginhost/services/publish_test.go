package services

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func TestPublish(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("publish", "publish_as_client")...)
	before := time.Now().UnixMilli()
	out, err := s.Publish(t.Context(), &pluginv1.PublishRequest{Messages: []pluginv1.Message{
		{Topic: "a/b", Payload: []byte("x"), QoS: 1, Retain: true, MessageExpiryInterval: 60, ContentType: "text/plain", ResponseTopic: "re",
			CorrelationData: []byte{1, 2}, PayloadFormat: 1, UserProperties: []pluginv1.Pair{{Name: "k", Value: "1"}, {Name: "k", Value: "2"}}, Namespace: "n",
			Origin: "forged", Publisher: "forged", ID: 99, ReceivedMs: 1},
		{Topic: "c"},
	}})
	if err != nil || len(out.Results) != 2 || out.Results[0].Receivers != 2 || out.Results[0].ID != 7 || out.Results[0].ReasonCode != 0 {
		t.Fatalf("got %+v, %v", out, err)
	}
	got := w.broker.published[0]
	m := got.message
	if got.namespace != "n" || got.as != "" || string(m.Topic) != "a/b" || string(m.Payload) != "x" || m.QoS != 1 || !m.Retain ||
		m.Publisher != "" || m.ID != 1 || m.Received < before || m.Expires != m.Received+60_000 {
		t.Errorf("published %+v", got)
	}
	if m.Origin == nil || *m.Origin != (packet.Origin{Plugin: "tester", Hops: 1}) {
		t.Errorf("its origin is %+v", m.Origin)
	}
	var p packet.PublishProps
	if err := p.Decode(m.Props, false); err != nil || string(p.ContentType) != "text/plain" || string(p.ResponseTopic) != "re" ||
		string(p.CorrelationData) != "\x01\x02" || p.PayloadFormat != 1 {
		t.Errorf("its properties are %+v, %v", p, err)
	}
	var user []string
	for k, v := range p.UserProperties() {
		user = append(user, string(k)+"="+string(v))
	}
	if !slices.Equal(user, []string{"k=1", "k=2"}) {
		t.Errorf("its user properties are %q", user)
	}
	if _, err := s.Publish(t.Context(), &pluginv1.PublishRequest{AsClient: "c1", Messages: []pluginv1.Message{{Topic: "d", Namespace: "x"}}}); err != nil {
		t.Fatal(err)
	}
	if got := w.broker.published[2]; got.as != "c1" || got.namespace != "x" || got.message.Origin.Plugin != "tester" {
		t.Errorf("as a client: %+v", got)
	}
}

func TestPublishTellsWhatIsWrongWithEachMessage(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("publish")...)
	long := strings.Repeat("x", 65536)
	cases := []struct {
		message pluginv1.Message
		code    packet.ReasonCode
		says    string
	}{
		{pluginv1.Message{Topic: "ok"}, packet.Success, ""},
		{pluginv1.Message{}, packet.TopicNameInvalid, "empty"},
		{pluginv1.Message{Topic: "a/#"}, packet.TopicNameInvalid, "wildcard"},
		{pluginv1.Message{Topic: long}, packet.TopicNameInvalid, "longer"},
		{pluginv1.Message{Topic: "a\x00"}, packet.TopicNameInvalid, "U+0000"},
		{pluginv1.Message{Topic: "a\xff"}, packet.TopicNameInvalid, "UTF-8"},
		{pluginv1.Message{Topic: "a", QoS: 3}, packet.QoSNotSupported, "QoS 3"},
		{pluginv1.Message{Topic: "a", PayloadFormat: 2}, packet.ProtocolError, "payload_format 2"},
		{pluginv1.Message{Topic: "a", PayloadFormat: 1, Payload: []byte{0xff}}, packet.PayloadFormatInvalid, "UTF-8"},
		{pluginv1.Message{Topic: "a", ContentType: long}, packet.ProtocolError, "content_type"},
		{pluginv1.Message{Topic: "a", ResponseTopic: "x/+"}, packet.ProtocolError, "wildcard"},
		{pluginv1.Message{Topic: "a", ResponseTopic: "x\x00"}, packet.ProtocolError, "U+0000"},
		{pluginv1.Message{Topic: "a", CorrelationData: []byte(long)}, packet.ProtocolError, "too long"},
		{pluginv1.Message{Topic: "a", UserProperties: []pluginv1.Pair{{Name: "\xff"}}}, packet.ProtocolError, "user_properties"},
		{pluginv1.Message{Topic: "a", UserProperties: []pluginv1.Pair{{Value: long}}}, packet.ProtocolError, "user_properties"},
		{pluginv1.Message{Topic: "a", Hops: 7}, packet.Success, ""},
		{pluginv1.Message{Topic: "a", Hops: 8}, packet.QuotaExceeded, "loop"},
		{pluginv1.Message{Topic: "a", Hops: 1 << 31}, packet.QuotaExceeded, "loop"},
	}
	in, good := &pluginv1.PublishRequest{}, 0
	for _, c := range cases {
		in.Messages = append(in.Messages, c.message)
		if c.code == packet.Success {
			good++
		}
	}
	out, err := s.Publish(t.Context(), in)
	if err != nil || len(out.Results) != len(cases) || len(w.broker.published) != good {
		t.Fatalf("%v, %d published", err, len(w.broker.published))
	}
	for i, c := range cases {
		if r := &out.Results[i]; r.ReasonCode != uint32(c.code) || !strings.Contains(r.Reason, c.says) {
			t.Errorf("message %d: got 0x%02X %q", i, r.ReasonCode, r.Reason)
		}
	}
	// Out of scope is another thing: nothing is published then.
	in.Messages = append(in.Messages, pluginv1.Message{Topic: "$SYS/x"})
	_, err = s.Publish(t.Context(), in)
	wantCode(t, err, pluginv1.HostErrorCodeDenied, "$SYS/x")
	if len(w.broker.published) != good {
		t.Error("a part was published")
	}
	_, err = s.Publish(t.Context(), &pluginv1.PublishRequest{Messages: make([]pluginv1.Message, 1025)})
	wantCode(t, err, pluginv1.HostErrorCodeTooLarge, "1025 messages")
}

func TestHopsOfTheInstanceCount(t *testing.T) {
	w := newWorld(t)
	i := &fakeInstance{hops: 5}
	s := w.with(t, Config{Name: "tester", Grants: grantsNamed("publish")}, i)
	for _, c := range []struct{ instance, message, want uint32 }{{5, 0, 6}, {5, 3, 6}, {2, 4, 5}, {7, 0, 8}} {
		i.hops = c.instance
		if _, err := s.Publish(t.Context(), &pluginv1.PublishRequest{Messages: []pluginv1.Message{{Topic: "a", Hops: c.message}}}); err != nil {
			t.Fatal(err)
		}
		if got := w.broker.published[len(w.broker.published)-1].message.Origin.Hops; uint32(got) != c.want {
			t.Errorf("%+v: %d hops", c, got)
		}
	}
	i.hops = 8
	out, err := s.Publish(t.Context(), &pluginv1.PublishRequest{Messages: []pluginv1.Message{{Topic: "a"}}})
	if err != nil || out.Results[0].ReasonCode != uint32(packet.QuotaExceeded) {
		t.Errorf("past the limit: %+v, %v", out, err)
	}
}

func TestPublishRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.PublishRate = 100 })
		s := w.plugin(t, grantsNamed("publish")...)
		publish := func(n int) (accepted int) {
			in := &pluginv1.PublishRequest{}
			for range n {
				in.Messages = append(in.Messages, pluginv1.Message{Topic: "a"})
			}
			out, err := s.Publish(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for i := range out.Results {
				switch packet.ReasonCode(out.Results[i].ReasonCode) {
				case packet.Success:
					accepted++
				case packet.QuotaExceeded:
				default:
					t.Errorf("got %+v", &out.Results[i])
				}
			}
			return accepted
		}
		if n := publish(150); n != 100 {
			t.Errorf("a burst of %d", n)
		}
		if n := publish(1); n != 0 {
			t.Error("more than the burst")
		}
		time.Sleep(100 * time.Millisecond)
		if n := publish(150); n != 10 {
			t.Errorf("%d after 100 ms", n)
		}
	})
}

func TestPublishWaitsForAllResults(t *testing.T) {
	w := newWorld(t)
	s := w.plugin(t, grantsNamed("publish")...)
	dones := make(chan func(hook.PublishResult), 100)
	w.broker.result = func(done func(hook.PublishResult)) { dones <- done }
	in := &pluginv1.PublishRequest{Messages: []pluginv1.Message{{Topic: "0"}, {Topic: "1"}, {Topic: "2"}}}
	type answer struct {
		out *pluginv1.PublishResponse
		err error
	}
	publish := func(ctx context.Context) chan answer {
		c := make(chan answer, 1)
		go func() {
			out, err := s.Publish(ctx, in)
			c <- answer{out, err}
		}()
		return c
	}
	c := publish(t.Context())
	first, second, third := <-dones, <-dones, <-dones
	third(hook.PublishResult{Code: packet.NoMatchingSubscribers})
	first(hook.PublishResult{Receivers: 1})
	select {
	case <-c:
		t.Fatal("answered before all were done")
	default:
	}
	second(hook.PublishResult{Code: packet.NotAuthorized, Reason: "no"})
	got := <-c
	if got.err != nil || got.out.Results[0].Receivers != 1 || got.out.Results[1].ReasonCode != 0x87 || got.out.Results[1].Reason != "no" ||
		got.out.Results[2].ReasonCode != 0x10 {
		t.Errorf("got %+v", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	c = publish(ctx)
	late := <-dones
	cancel()
	if got := <-c; !errors.Is(got.err, context.Canceled) {
		t.Errorf("cancelled: %v", got.err)
	}
	late(hook.PublishResult{}) // must do no harm

	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	got = <-publish(ctx)
	wantCode(t, got.err, pluginv1.HostErrorCodeTimeout, "too long")

	for len(dones) > 0 {
		<-dones
	}
	c = publish(t.Context())
	<-dones
	s.Close()
	got = <-c
	wantCode(t, got.err, pluginv1.HostErrorCodeUnavailable, "ended")
}
