package bridgekafka

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// far is a Kafka that can be killed, behind a network that can fail.
type far struct {
	*bridgetest.Process
	net    *bridgetest.Proxy
	direct kgo.Opt // to it, past the network
}

// kafkaProcess starts a Kafka, whose command is made for where it listens and what it tells
// clients.
func kafkaProcess(t *testing.T, command func(addr, advertised string) func() *exec.Cmd) *far {
	addr := bridgetest.FreeAddr(t)
	f := &far{net: bridgetest.StartProxy(t, addr)}
	f.direct = kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	})
	f.Process = bridgetest.StartProcess(t, bridgetest.ProcessOptions{
		Name: "kafka", Command: command(addr, f.net.Addr), Ready: bridgetest.Listens(addr),
	})
	return f
}

func fake(t *testing.T) func(addr, advertised string) func() *exec.Cmd {
	dir := t.TempDir()
	return func(addr, advertised string) func() *exec.Cmd {
		return bridgetest.Role(t, "kafka", dir, addr, advertised)
	}
}

// log reads a topic as it is at each moment.
type log struct {
	c    *kgo.Client
	adm  *kadm.Client
	next map[int32]int64
	list []bridgetest.Message
}

func (f *far) log(t *testing.T, topic string) *log {
	c := kafkaClient(t, f.net.Addr, f.direct, kgo.ConsumeTopics(topic), kgo.FetchMaxWait(50*time.Millisecond))
	return &log{c: c, adm: kadm.NewClient(c), next: map[int32]int64{}}
}

// arrived is everything that the topic has when it is called.
func (l *log) arrived(ctx context.Context) ([]bridgetest.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ends, err := l.adm.ListEndOffsets(ctx, l.c.GetConsumeTopics()...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	for {
		behind := false
		ends.Each(func(o kadm.ListedOffset) { behind = behind || l.next[o.Partition] < o.Offset })
		if !behind {
			return l.list, nil
		}
		f := l.c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, r := range f.Records() {
			m, err := bridgetest.ParseMessage(r.Value)
			if err != nil {
				return nil, fmt.Errorf("offset %d of partition %d: %w", r.Offset, r.Partition, err)
			}
			l.list = append(l.list, m)
			l.next[r.Partition] = r.Offset + 1
		}
	}
}

// The broker, the plugin's process and Kafka are killed, and the network between them fails,
// while messages go there.
func TestChaosOut(t *testing.T) {
	t.Parallel()
	chaosOut(t, kafkaProcess(t, fake(t)))
}

func chaosOut(t *testing.T, there *far) {
	here := bridgetest.StartBroker(t, bridgetest.BrokerOptions{Name: "here", Plugins: fmt.Sprintf(`  - name: k
    plugin: bridge-kafka
    runtime: process
    config:
      remote: {brokers: [%q], connect_timeout: 1s, request_timeout: 1s}
      producer: {compression: snappy}
      routes:
        - {name: plain, filters: ["plain/#"], topic: out, batch_messages: 64, retry_min: 20ms, retry_max: 500ms}
        - {name: sure, filters: ["sure/#"], topic: out, ack: after_remote, retry_min: 20ms, retry_max: 500ms}
`, there.net.Addr)})
	l := bridgetest.NewLedger()
	load := bridgetest.Publish(t, l, bridgetest.PublisherOptions{Addr: here.Addr, Keys: []string{"plain/1", "plain/2", "sure/1", "sure/2"}})
	t.Log(bridgetest.Chaos{
		Here: here, There: there, Network: there.net, Ledger: l, Load: load, Arrived: there.log(t, "out").arrived, AtOnce: true,
		Sure: func(key string) bool { return strings.HasPrefix(key, "sure/") },
	}.Run(t))
}

// producer is a Load of Kafka.
type producer struct {
	waiting atomic.Int64
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func (p *producer) Stop() {
	p.cancel()
	p.done.Wait()
}

func (p *producer) Waiting() int { return int(p.waiting.Load()) }

func (f *far) produce(t *testing.T, l *bridgetest.Ledger, topic string, keys ...string) *producer {
	c := kafkaClient(t, f.net.Addr, f.direct, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.RequestTimeoutOverhead(time.Second), kgo.ProducerLinger(0))
	p := &producer{}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(t.Context())
	t.Cleanup(p.Stop)
	p.done.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if p.Waiting() > 500 {
				continue
			}
			for _, key := range keys {
				m := l.Next(key)
				p.waiting.Add(1)
				c.Produce(context.Background(), &kgo.Record{Topic: topic, Key: []byte(key), Value: m.Payload(0)}, func(_ *kgo.Record, err error) {
					p.waiting.Add(-1)
					if err != nil {
						l.Refused(m)
						return
					}
					l.Acknowledged(m)
				})
			}
		}
	})
	return p
}

// The same for records that come from there.
func TestChaosIn(t *testing.T) {
	t.Parallel()
	chaosIn(t, kafkaProcess(t, fake(t)), "1s")
}

func chaosIn(t *testing.T, there *far, sessionTimeout string) {
	here := bridgetest.StartBroker(t, bridgetest.BrokerOptions{Name: "here", Plugins: fmt.Sprintf(`  - name: k
    plugin: bridge-kafka
    runtime: process
    grants: [{publish: ["near/#"]}]
    config:
      remote: {brokers: [%q], connect_timeout: 1s, request_timeout: 1s}
      from:
        - {name: down, topics: [in], group: g, topic: "near/${user_property.kafka_key}", session_timeout: %s, commit_interval: 200ms, retry_min: 20ms, retry_max: 500ms}
`, there.net.Addr, sessionTimeout)})
	near := bridgetest.Subscribe(t, here.Addr, "near", nil, "near/#")
	l := bridgetest.NewLedger()
	load := there.produce(t, l, "in", "1", "2", "3", "4")
	t.Log(bridgetest.Chaos{Here: here, There: there, Network: there.net, Ledger: l, Load: load, Arrived: near.Arrived}.Run(t))
}
