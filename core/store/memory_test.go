package store

import (
	"errors"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

func TestMemoryQueueIsFirstInFirstOut(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	q := NewMemorySession()
	var model []string
	var bytes int64
	for i := range 20_000 {
		if rng.Intn(100) < 50+40*((i/2000)%2)-20 {
			text := fmt.Sprint(i)
			q.Add(Entry{Message: (&packet.Message{Payload: []byte(text)}).Keep(uint64(i)), QoS: 1}, 0, false, nil)
			model = append(model, text)
			bytes += int64(len(text))
		} else {
			f, fok := q.Front()
			var front Entry
			if fok {
				front = *f
			}
			e, ok := q.Pop()
			if ok != (len(model) > 0) || fok != ok || front != e {
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
		if q.Len() != len(model) || q.Bytes() != bytes || q.Empty() != (len(model) == 0) {
			t.Fatalf("step %d: Len %d Bytes %d, want %d %d", i, q.Len(), q.Bytes(), len(model), bytes)
		}
	}
	q.Add(Entry{Message: (&packet.Message{}).Keep(1), QoS: 1, Route: &Route{Group: "g"}}, 0, false, nil)
	orphans := 0
	q.End(func(e Entry) {
		orphans++
		e.Message.Unref()
	})
	if q.Len() != 0 || q.Bytes() != 0 || orphans != 1 {
		t.Fatalf("End left %d behind and handed out %d", q.Len(), orphans)
	}
}

func TestMemoryValues(t *testing.T) {
	v := new(Memory).Values()
	if _, _, err := v.Get("b", "k"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	one, _ := v.Set("b", "k", []byte("1"), 0)
	if _, err := v.CompareAndSet("b", "k", []byte("2"), 0, 0); !errors.Is(err, ErrConflict) {
		t.Error("a value took the place of one that was there")
	}
	two, err := v.CompareAndSet("b", "k", []byte("2"), 0, one)
	if got, ver, _ := v.Get("b", "k"); err != nil || string(got) != "2" || ver != two || two == one {
		t.Errorf("%s %d %d %v", got, one, two, err)
	}
	v.Set("b", "kk", []byte("3"), 0)
	v.Set("b", "gone", []byte("4"), time.Nanosecond)
	v.Set("other", "k", []byte("5"), 0)
	var keys []string
	v.Scan("b", "k", func(key string, value []byte, version uint64) bool {
		keys = append(keys, key+"="+string(value))
		return true
	})
	if fmt.Sprint(keys) != "[k=2 kk=3]" {
		t.Error(keys)
	}
	if _, _, err := v.Get("b", "gone"); !errors.Is(err, ErrNotFound) {
		t.Error("an expired value is there")
	}
	v.Delete("b", "k")
	if _, _, err := v.Get("b", "k"); !errors.Is(err, ErrNotFound) {
		t.Error("a deleted value is there")
	}
	if _, err := v.CompareAndSet("b", "k", nil, 0, two); !errors.Is(err, ErrConflict) {
		t.Error("the version of a deleted value was taken")
	}
}

func TestReceipt(t *testing.T) {
	var none *Receipt
	none.Add()
	none.Done(nil)
	r := NewReceipt()
	r.Add()
	r.Add()
	r.Done(nil)
	var got []error
	if settled, _ := r.Wait(func(err error) { got = append(got, err) }); settled {
		t.Fatal("one thing is still open")
	}
	r.Done(ErrFull)
	if len(got) != 1 || !errors.Is(got[0], ErrFull) {
		t.Fatal(got)
	}
	r = NewReceipt()
	r.Add()
	r.Done(ErrClosed)
	if settled, err := r.Wait(nil); !settled || !errors.Is(err, ErrClosed) {
		t.Fatal(settled, err)
	}
}
