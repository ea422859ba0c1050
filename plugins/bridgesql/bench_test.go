package bridgesql

import (
	"fmt"
	"testing"
)

// Rows per second of one route, in batches of 256, each one a transaction.
func BenchmarkConsume(b *testing.B) {
	for _, kind := range []string{"sqlite", "postgres", "mysql"} {
		b.Run(kind, func(b *testing.B) {
			var d *database
			if kind == "sqlite" {
				d = freshFile(b)
			} else {
				d = startServer(b, kind).fresh(b)
			}
			d.table("id BIGINT PRIMARY KEY, at TIME, topic TEXT, v DOUBLE")
			r := d.start(`[{"name":"r","filters":["#"],"table":"t","columns":{"id":"${id}","at":"${timestamp}","topic":"${topic}","v":"${payload.v}"},"key":["id"],"on_conflict":"ignore"}]`)
			var messages []string
			for i := range 256 {
				messages = append(messages, fmt.Sprintf(`plant/press-%d/measured {"v":%d.5,"unit":"C"}`, i%10, i))
			}
			b.ReportAllocs()
			for b.Loop() {
				if result, err := r.ConsumeErr(r.batch(messages...)); err != nil || result.AcknowledgedOffset != r.offset {
					b.Fatal(err, result)
				}
			}
			b.ReportMetric(float64(256*b.N)/b.Elapsed().Seconds(), "rows/s")
			d.expect("SELECT count(*) FROM t", fmt.Sprint(r.offset))
		})
	}
}
