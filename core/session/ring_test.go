package session

import (
	"math/rand"
	"slices"
	"testing"
)

// The ring is held against a list: identifiers are unique among what is not
// settled, found by their number, and come out in the order they went in.
func TestRingAgainstList(t *testing.T) {
	for seed := range int64(20) {
		rng := rand.New(rand.NewSource(seed))
		var r ring
		r.next = uint64(rng.Int63n(200_000))
		var model []uint16 // identifiers in order
		stuck := seed%2 == 0
		limit := 1 + rng.Intn(300)
		for step := range 40_000 {
			if len(model) < limit && rng.Intn(100) < 55 {
				e := r.push(unacked{qos: 1})
				id := idOf(e.seq)
				if id == 0 || slices.Contains(model, id) {
					t.Fatalf("seed %d step %d: identifier %d is in use", seed, step, id)
				}
				model = append(model, id)
			} else if len(model) > 0 {
				i := 0
				if rng.Intn(4) == 0 {
					i = rng.Intn(len(model))
				}
				if stuck && i == 0 && len(model) > 1 {
					i = 1 // the oldest is never acknowledged
				}
				e := r.find(model[i])
				if e == nil {
					t.Fatalf("seed %d step %d: identifier %d not found", seed, step, model[i])
				}
				r.settle(e)
				if r.find(model[i]) != nil {
					t.Fatalf("seed %d step %d: a settled message is still found", seed, step)
				}
				model = slices.Delete(model, i, i+1)
			}
			if r.live() != len(model) {
				t.Fatalf("seed %d step %d: %d live, want %d", seed, step, r.live(), len(model))
			}
		}
		var got []uint16
		for i := range r.n {
			if e := r.at(i); e.state != settled {
				got = append(got, idOf(e.seq))
			}
		}
		if !slices.Equal(got, model) {
			t.Fatalf("seed %d: order lost", seed)
		}
		if len(r.buf) > 4*limit+16 {
			t.Fatalf("seed %d: the ring grew to %d for a window of %d", seed, len(r.buf), limit)
		}
	}
}

func TestRingFindsNothingForForeignIdentifiers(t *testing.T) {
	var r ring
	if r.find(1) != nil {
		t.Fatal("found something in an empty ring")
	}
	e := r.push(unacked{})
	for _, id := range []uint16{0, idOf(e.seq) + 1, 65535} {
		if r.find(id) != nil {
			t.Fatalf("found a message for identifier %d", id)
		}
	}
}

func TestIDSetAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewSource(7))
	var s idSet
	model := map[uint16]bool{}
	for range 100_000 {
		id := uint16(1 + rng.Intn(5000))
		switch rng.Intn(3) {
		case 0:
			if s.add(id) == model[id] {
				t.Fatalf("add(%d) while %v", id, model[id])
			}
			model[id] = true
		case 1:
			if s.remove(id) != model[id] {
				t.Fatalf("remove(%d) while %v", id, model[id])
			}
			delete(model, id)
		case 2:
			if s.has(id) != model[id] {
				t.Fatalf("has(%d) is not %v", id, model[id])
			}
		}
		if s.n != len(model) {
			t.Fatalf("%d identifiers, want %d", s.n, len(model))
		}
	}
	s.trim()
	for id := range model {
		s.remove(id)
	}
	if s.trim(); s.pages != nil {
		t.Fatal("an empty set keeps memory")
	}
}
