package store

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
)

func TestMemoryQueueIsFirstInFirstOut(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	q := Memory{}.Queue("", "c")
	var model []string
	var bytes int64
	for i := range 20_000 {
		if rng.Intn(100) < 50+40*((i/2000)%2)-20 {
			text := fmt.Sprint(i)
			q.Push(Entry{Message: (&packet.Message{Payload: []byte(text)}).Keep(uint64(i)), QoS: 1})
			model = append(model, text)
			bytes += int64(len(text))
		} else {
			f, fok := q.Front()
			e, ok := q.Pop()
			if ok != (len(model) > 0) || fok != ok || f != e {
				t.Fatalf("step %d: Pop %v, Front %v with %d in the model", i, ok, fok, len(model))
			}
			if ok {
				if string(e.Message.Payload) != model[0] {
					t.Fatalf("step %d: got %s, want %s", i, e.Message.Payload, model[0])
				}
				bytes -= int64(len(model[0]))
				model = model[1:]
				e.Message.Unref()
			}
		}
		if q.Len() != len(model) || q.Bytes() != bytes {
			t.Fatalf("step %d: Len %d Bytes %d, want %d %d", i, q.Len(), q.Bytes(), len(model), bytes)
		}
	}
	q.Clear()
	if q.Len() != 0 || q.Bytes() != 0 {
		t.Fatal("Clear left something behind")
	}
}
