package transport

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkFanout is one pass that appends a message of 128 bytes to each of 2,000 connections and writes it: one op is a message
// delivered to all. The peers' sockets are emptied outside of the clock.
func BenchmarkFanout(b *testing.B) {
	const conns = 2000
	for _, batch := range []int{1, 32} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			e := newTestEngine(b, Config{Driver: Loops()})
			l, _ := listen(b, e, ListenerConfig{}, nil)
			fds := rawClients(b, l, conns)
			eventually(b, "all are connected", func() bool { return l.Connections() == conns })
			for _, fd := range fds {
				if err := unix.SetNonblock(fd, true); err != nil {
					b.Fatal(err)
				}
			}
			all, msg, sink := l.snapshot(), pattern(1, 128), make([]byte, 1<<20)
			publish := func(p *Pass) {
				for range batch {
					for i, c := range all {
						c.AppendPublish(msg, 20, uint16(i))
						p.Flush(c)
					}
				}
			}
			b.ReportAllocs()
			b.SetBytes(conns * 128 * int64(batch))
			for n := 0; b.Loop(); n++ {
				e.Do(publish)
				if n%16 == 15 {
					b.StopTimer()
					for _, fd := range fds {
						_, _ = unix.Read(fd, sink)
					}
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*conns*batch), "ns/delivery")
		})
	}
}

// BenchmarkEcho is a packet there and back over loopback: one read pass and one flush of ours, the peer's write and read included.
func BenchmarkEcho(b *testing.B) {
	b.Run("loops", func(b *testing.B) { echo(b, Loops()) })
	b.Run("portable", func(b *testing.B) { echo(b, Portable()) })
}

func echo(b *testing.B, driver Driver) {
	e := newTestEngine(b, Config{Driver: driver})
	l, _ := listen(b, e, ListenerConfig{}, nil)
	fd := rawClients(b, l, 1)[0]
	pkt := frame(pattern(1, 300))
	answer := make([]byte, len(pkt))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unix.Write(fd, pkt); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Read(fd, answer); err != nil {
			b.Fatal(err)
		}
	}
}
