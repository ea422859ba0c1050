package broker

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/hook"
	"github.com/patchbay-mq/patchbay/core/packet"
)

// flow is a publisher and a subscriber that exchange pre-encoded batches, so
// that what is counted is the broker's.
type flow struct {
	pub, sub       *peer
	batch          []byte
	n              int // messages of a batch
	inBytes        int // what the subscriber gets for a batch
	acksIn         int // what the publisher gets for a batch
	acks           []byte
	pubBuf, subBuf []byte
}

func newFlow(t testing.TB, addr string, qos byte, n int) *flow {
	f := &flow{n: n}
	name := fmt.Sprint("flow", qos)
	f.sub = connect(t, addr, name+"s", v311)
	f.sub.subscribe(name, qos)
	f.pub = connect(t, addr, name+"p", v311)
	for i := range n {
		out := packet.PublishOut{Topic: []byte(name), Payload: make([]byte, 128), QoS: qos}
		if qos > 0 {
			out.PacketID = uint16(i + 1)
		}
		f.batch, _ = packet.AppendPublish(f.batch, packet.V311, &out)
	}
	f.inBytes = len(f.batch)
	f.acksIn = int(qos) * 4 * n
	f.pubBuf, f.subBuf = make([]byte, f.acksIn), make([]byte, f.inBytes)
	return f
}

// run sends one batch and takes in all that it causes. With QoS 1 the subscriber
// acknowledges by identifier.
func (f *flow) run(t testing.TB, qos byte) {
	deadline := time.Now().Add(patience)
	f.pub.nc.SetDeadline(deadline)
	f.sub.nc.SetDeadline(deadline)
	if _, err := f.pub.nc.Write(f.batch); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(f.sub.nc, f.subBuf); err != nil {
		t.Fatal(err)
	}
	if qos == 1 {
		f.acks = f.acks[:0]
		for b := f.subBuf; len(b) > 0; {
			h, n, _ := packet.ReadHeader(b)
			topic := int(b[n])<<8 | int(b[n+1])
			id := uint16(b[n+2+topic])<<8 | uint16(b[n+3+topic])
			f.acks = packet.AppendAck(f.acks, packet.TypePuback, packet.V311, id, 0, nil)
			b = b[n+h.Remaining:]
		}
		if _, err := f.sub.nc.Write(f.acks); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(f.pub.nc, f.pubBuf); err != nil {
			t.Fatal(err)
		}
	}
}

// A PUBLISH allocates nothing on its way through the broker, sockets included.
func TestPublishAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop what it is given")
	}
	b, addr := start(t, func(o *Options) { o.Sys.Interval = 0 })
	// Nor does a queue that is about something else change that.
	open(t, b, hook.QueueSpec{Owner: "p", Name: "q", Filters: []string{"other/#", "+/+"}})
	for qos := byte(0); qos <= 1; qos++ {
		f := newFlow(t, addr, qos, 500)
		for range 20 {
			f.run(t, qos) // pools and windows grow
		}
		perBatch := testing.AllocsPerRun(50, func() { f.run(t, qos) })
		// What the collector takes out of the pools meanwhile has to be made anew.
		if perMessage := perBatch / float64(f.n); perMessage >= 0.2 {
			t.Errorf("QoS %d: %.3f allocations per message", qos, perMessage)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for qos := byte(0); qos <= 1; qos++ {
		b.Run(fmt.Sprintf("qos=%d", qos), func(b *testing.B) {
			_, addr := start(b, func(o *Options) { o.Sys.Interval = 0 })
			f := newFlow(b, addr, qos, 500)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += f.n {
				f.run(b, qos)
			}
		})
	}
}

// BenchmarkFanOut delivers each message to 2,000 connections; an operation is
// one delivery, the reading on the clients' side included.
func BenchmarkFanOut(b *testing.B) {
	const receivers = 2000
	_, addr := start(b, func(o *Options) { o.Sys.Interval = 0 })
	frame, _ := packet.AppendPublish(nil, packet.V311, &packet.PublishOut{Topic: []byte("news"), Payload: make([]byte, 128)})
	pub := connect(b, addr, "pub", v311)
	const batch = 20
	var out []byte
	for range batch {
		out = append(out, frame...)
	}
	var wg sync.WaitGroup
	subs := make([]net.Conn, receivers)
	for i := range subs {
		p := connect(b, addr, fmt.Sprint("s", i), v311)
		p.subscribe("news", 0)
		subs[i] = p.nc
	}
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += batch * receivers {
		pub.write(out)
		for w := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				buf := make([]byte, len(out))
				for i := w; i < receivers; i += 4 {
					if _, err := io.ReadFull(subs[i], buf); err != nil {
						b.Error(err)
						return
					}
				}
			}()
		}
		wg.Wait()
	}
}
