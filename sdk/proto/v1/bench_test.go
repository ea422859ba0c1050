package pluginv1

import (
	"bytes"
	"fmt"
	"testing"
)

// publishBatch is what a hook on POINT_INTERCEPT_PUBLISH gets of n messages of one
// client, about 300 bytes each.
func publishBatch(n int) *Batch {
	b := &Batch{
		Seq: 1234, Point: PointInterceptPublish, DeadlineMs: 50,
		Clients: []Client{{ClientID: "sensor-0042-berlin", Username: "sensors", Namespace: "acme", Connection: 81723}},
	}
	payload := bytes.Repeat([]byte("0123456789abcdef"), 15)
	for i := range n {
		b.Events = append(b.Events, Event{
			ID: uint64(100_000 + i), Client: 1,
			Message: &Message{
				Topic: "plant/berlin/line-7/machine-42/temperature", Payload: payload, QoS: 1, ReceivedMs: 1_790_000_000_000,
			},
		})
	}
	return b
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			batch := publishBatch(n)
			buf := make([]byte, batch.Size())
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, err := batch.MarshalTo(buf); err != nil {
					b.Fatal(err)
				}
			}
			perMessage(b, n)
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := publishBatch(n).AppendTo(nil)
			var batch Batch
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if err := batch.Unmarshal(buf); err != nil {
					b.Fatal(err)
				}
			}
			perMessage(b, n)
		})
	}
}

func perMessage(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/message")
}
