package broker

import (
	"fmt"
	"math"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/router"
	"github.com/patchbay-mq/patchbay/core/session"
	"github.com/patchbay-mq/patchbay/core/topic"
	"github.com/patchbay-mq/patchbay/core/transport"
)

const sysPrefix = "$SYS/broker/"

// sysPublisher publishes the broker's figures as retained messages below
// $SYS/broker, under the names that Mosquitto uses. It runs in the clock's
// goroutine only.
type sysPublisher struct {
	next    int64 // Unix milliseconds
	sent    map[string]string
	loads   map[string]*load
	heapMax uint64
}

// load is a rate per minute, averaged over 1, 5 and 15 minutes.
type load struct {
	last int64
	avg  [3]float64
}

var loadMinutes = [3]float64{1, 5, 15}

func (s *sysPublisher) tick(b *Broker, live *Live, now int64) {
	interval := live.Sys.Interval.Milliseconds()
	if interval <= 0 {
		s.clear(b, func(string) bool { return true })
		return
	}
	if now < s.next {
		return
	}
	elapsed := time.Duration(now-s.next)*time.Millisecond + live.Sys.Interval
	s.next = now + interval
	if s.sent == nil {
		s.sent, s.loads = make(map[string]string), make(map[string]*load)
		elapsed = live.Sys.Interval
	}
	disabled := func(name string) bool {
		for _, f := range live.Sys.Disable {
			if topic.Match(f, name) {
				return true
			}
		}
		return false
	}
	s.clear(b, disabled)
	b.engine.Do(func(p *transport.Pass) {
		s.figures(b, elapsed, func(name, value string) {
			if s.sent[name] == value || disabled(name) {
				return
			}
			s.sent[name] = value
			b.publish(p, &packet.Message{Topic: []byte(sysPrefix + name), Payload: []byte(value), Retain: true, Received: b.clock.Now()})
		})
	})
}

// clear takes back topics that were published and are not wanted any more.
func (s *sysPublisher) clear(b *Broker, unwanted func(name string) bool) {
	for name := range s.sent {
		if unwanted(name) {
			b.root.retained.Clear(sysPrefix+name, nil)
			delete(s.sent, name)
		}
	}
}

// totals are sums over all namespaces.
type totals struct {
	router                     router.Stats
	retained                   int
	retainedBytes              int64
	queued, inflight           int
	queuedBytes, bytesSent     int64
	sessions, online, inactive int64
}

// totals walks over all sessions if these are wanted too.
func (b *Broker) totals(sessions bool) (t totals) {
	t.bytesSent = b.stats.BytesSent.Load()
	b.eachNamespace(func(n *namespace) {
		st := n.router.Stats()
		t.router.Subscriptions += st.Subscriptions - int(n.queueFilters.Load())
		t.router.Groups += st.Groups
		t.router.Filters += st.Filters
		t.retained += n.retained.Len()
		t.retainedBytes += n.retained.Bytes()
		if !sessions {
			return
		}
		n.eachSession(func(s *session.Session) {
			st := s.Stats()
			t.queued += st.Queued
			t.queuedBytes += st.QueuedBytes
			t.inflight += st.Inflight
			if c, ok := s.Link().(*conn); ok {
				t.bytesSent += int64(c.BytesOut())
			}
		})
	})
	t.sessions, t.online = b.stats.Sessions.Load(), b.stats.Connected.Load()
	t.inactive = max(t.sessions-t.online, 0)
	return t
}

func (s *sysPublisher) figures(b *Broker, elapsed time.Duration, put func(name, value string)) {
	st := &b.stats
	num := func(name string, v int64) { put(name, strconv.FormatInt(v, 10)) }
	rate := func(name string, v int64) {
		l := s.loads[name]
		if l == nil {
			l = new(load)
			s.loads[name] = l
		}
		minutes := elapsed.Minutes()
		perMinute := float64(v-l.last) / minutes
		l.last = v
		for i, span := range loadMinutes {
			keep := math.Exp(-minutes / span)
			l.avg[i] = l.avg[i]*keep + perMinute*(1-keep)
			put(fmt.Sprintf("load/%s/%.0fmin", name, span), strconv.FormatFloat(l.avg[i], 'f', 2, 64))
		}
	}
	t := b.totals(true)
	put("version", b.opts.Version)
	put("uptime", fmt.Sprintf("%.0f seconds", time.Since(b.started).Seconds()))

	num("clients/total", t.online+t.inactive)
	num("clients/connected", t.online)
	num("clients/active", t.online)
	num("clients/disconnected", t.inactive)
	num("clients/inactive", t.inactive)
	num("clients/maximum", st.MaxConnected.Load())
	num("clients/expired", st.SessionsExpired.Load())

	received, sent := sum(&st.PacketsReceived), sum(&st.PacketsSent)
	pubIn, pubOut := st.PacketsReceived[packet.TypePublish].Load(), st.PacketsSent[packet.TypePublish].Load()
	bytesOut := t.bytesSent
	num("messages/received", received)
	num("messages/sent", sent)
	num("messages/stored", int64(t.retained+t.queued+t.inflight))
	num("publish/messages/received", pubIn)
	num("publish/messages/sent", pubOut)
	num("publish/messages/dropped", st.TotalDropped())
	num("publish/bytes/received", st.PublishBytesReceived.Load())
	num("publish/bytes/sent", st.PublishBytesSent.Load())
	num("bytes/received", st.BytesReceived.Load())
	num("bytes/sent", bytesOut)
	num("store/messages/count", int64(t.retained+t.queued+t.inflight))
	num("store/messages/bytes", t.retainedBytes+t.queuedBytes)
	num("retained messages/count", int64(t.retained))
	num("subscriptions/count", int64(t.router.Subscriptions))
	num("shared_subscriptions/count", int64(t.router.Groups))

	heap := heapInUse()
	s.heapMax = max(s.heapMax, heap)
	num("heap/current", int64(heap))
	num("heap/maximum", int64(s.heapMax))

	rate("messages/received", received)
	rate("messages/sent", sent)
	rate("publish/received", pubIn)
	rate("publish/sent", pubOut)
	rate("publish/dropped", st.TotalDropped())
	rate("bytes/received", st.BytesReceived.Load())
	rate("bytes/sent", bytesOut)
	rate("connections", st.PacketsReceived[packet.TypeConnect].Load())
	rate("sockets", st.Accepted.Load())
}

func sum(a *[16]atomic.Int64) (n int64) {
	for i := range a {
		n += a[i].Load()
	}
	return n
}

func heapInUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
