package volume

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tailOps runs a sequence of operations, two bytes each, on a tail and on the
// whole file: what is synced and what the tail writes again make up the file,
// whenever the tail says it is whole.
func tailOps(t *testing.T, ops []byte) {
	var tl tail
	var all []byte
	var synced int64
	for i := 0; i+1 < len(ops); i += 2 {
		n := int(ops[i+1])
		switch ops[i] % 4 {
		case 0, 1: // a write
			p := bytes.Repeat([]byte{ops[i]}, n)
			tl.add(int64(len(all)), p)
			all = append(all, p...)
		case 2: // a sync of what was there a moment ago
			synced = max(synced, int64(len(all)-min(n, len(all))))
			tl.drop(synced)
		case 3: // a long write
			p := make([]byte, n<<14)
			tl.add(int64(len(all)), p)
			all = append(all, p...)
		}
		if !tl.whole() {
			if int64(len(all))-synced <= tailLimit/2 && ops[i]%4 == 2 && synced == int64(len(all)) {
				t.Fatal("all is synced, but the tail is not whole")
			}
			continue
		}
		if i%14 > 0 && i+3 < len(ops) {
			continue // looking is slow
		}
		mem := vfs.NewMem()
		f, err := mem.Create("f", "")
		must(t, err)
		_, err = f.Write(append(bytes.Clone(all[:synced]), make([]byte, int64(len(all))-synced)...))
		must(t, err)
		must(t, tl.rewrite(f))
		must(t, f.Close())
		if got := contents(t, mem, "f"); got != string(all) {
			t.Fatalf("operation %d: %d bytes, %d synced: not what was written", i/2, len(all), synced)
		}
	}
	if len(tl.buf) > tailLimit {
		t.Fatalf("the tail keeps %d bytes", len(tl.buf))
	}
}

func TestTail(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 12 {
		ops := make([]byte, 50)
		for i := range ops {
			ops[i] = byte(rng.Uint32())
		}
		for i := 0; i < len(ops); i += 2 {
			if ops[i]%4 == 3 && rng.IntN(4) > 0 {
				ops[i]-- // long writes are rarer
			}
		}
		tailOps(t, ops)
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte{0, 10, 2, 5, 0, 7, 2, 0})
	f.Add([]byte{3, 255, 3, 255, 0, 1, 2, 0, 0, 9, 2, 3})
	f.Fuzz(func(t *testing.T, ops []byte) { tailOps(t, ops[:min(len(ops), 80)]) })
}
