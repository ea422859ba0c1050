package retained

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/topic"
)

func message(name, payload string, expires int64) *packet.Message {
	return (&packet.Message{Topic: []byte(name), Payload: []byte(payload), Expires: expires}).Keep(1)
}

func names(ms []*packet.Message) []string {
	var s []string
	for _, m := range ms {
		s = append(s, string(m.Topic)+"="+string(m.Payload))
		m.Unref()
	}
	slices.Sort(s)
	return s
}

func TestAgainstNaiveModel(t *testing.T) {
	rng := rand.New(rand.NewSource(4))
	name := func() string {
		n := 1 + rng.Intn(4)
		p := make([]string, n)
		for i := range p {
			p[i] = []string{"a", "b", "", "$s", "c"}[rng.Intn(5)]
		}
		return strings.Join(p, "/")
	}
	filter := func() string {
		p := strings.Split(name(), "/")
		for i := range p {
			if rng.Intn(3) == 0 {
				p[i] = "+"
			}
		}
		if rng.Intn(3) == 0 {
			p[len(p)-1] = "#"
		}
		return strings.Join(p, "/")
	}
	r := New("", new(store.Memory), Limits{})
	type value struct {
		payload string
		expires int64
	}
	model := map[string]value{}
	for i := range 12_000 {
		now := int64(i)
		switch k := name(); rng.Intn(4) {
		case 0, 1:
			if k == "" {
				continue
			}
			v := value{payload: fmt.Sprint(i)}
			if rng.Intn(3) == 0 {
				v.expires = now + rng.Int63n(200)
			}
			r.Set(message(k, v.payload, v.expires), nil)
			model[k] = v
		case 2:
			_, had := model[k]
			if r.Clear(k, nil) != had {
				t.Fatalf("step %d: Clear(%q) != %v", i, k, had)
			}
			delete(model, k)
		case 3:
			f := filter()
			if f == "" {
				continue
			}
			var want []string
			for n, v := range model {
				if topic.Match(f, n) && (v.expires == 0 || now < v.expires) {
					want = append(want, n+"="+v.payload)
				}
			}
			slices.Sort(want)
			if got := names(r.Match(f, now, nil)); !slices.Equal(got, want) {
				t.Fatalf("step %d: %q gives %v, want %v", i, f, got, want)
			}
		}
		if i%1000 == 0 {
			gone := make(map[string]bool)
			r.Sweep(now, func(topic string) { gone[topic] = true })
			for n, v := range model {
				expired := v.expires != 0 && now >= v.expires
				if gone[n] != expired {
					t.Fatalf("step %d: Sweep told of %q: %v, want %v", i, n, gone[n], expired)
				}
				if expired {
					delete(model, n)
				}
			}
		}
		if r.Len() != len(model) {
			t.Fatalf("step %d: %d messages, want %d", i, r.Len(), len(model))
		}
	}
	for n := range model {
		r.Clear(n, nil)
	}
	if r.Bytes() != 0 || len(r.root.children) != 0 {
		t.Fatalf("%d bytes and %d nodes left after all was cleared", r.Bytes(), len(r.root.children))
	}
}

func TestLimits(t *testing.T) {
	r := New("", new(store.Memory), Limits{MaxMessages: 2, MaxBytes: 20, MaxPayload: 10})
	for _, c := range []struct {
		topic, payload string
		want           Refusal
	}{
		{"a", "12345", Accepted},
		{"b", "12345678901", PayloadTooLarge},
		{"b", "12345", Accepted},
		{"c", "1", TooManyMessages},
		{"b", "1234567890", Accepted},
		{"a", "1234567890", TooManyBytes},
	} {
		if got, _ := r.Set(message(c.topic, c.payload, 0), nil); got != c.want {
			t.Fatalf("Set(%s, %s) = %q, want %q", c.topic, c.payload, got, c.want)
		}
	}
	if got := names(r.Match("#", 0, nil)); !slices.Equal(got, []string{"b=1234567890"}) {
		t.Fatalf("a refused message must not leave its predecessor behind: %v", got)
	}
}

func TestDeepTopic(t *testing.T) {
	r := New("", new(store.Memory), Limits{})
	deep := strings.Repeat("/", 65_000)
	r.Set(message(deep, "x", 0), nil)
	if got := names(r.Match("#", 0, nil)); len(got) != 1 {
		t.Fatal("a deep topic was not found")
	}
	r.Clear(deep, nil)
	if len(r.root.children) != 0 {
		t.Fatal("nodes left behind")
	}
}

func BenchmarkSet(b *testing.B) {
	r := New("", new(store.Memory), Limits{})
	m := message("plant/1/line/2/state", "on", 0)
	b.ReportAllocs()
	for range b.N {
		m.Ref()
		r.Set(m, nil)
	}
}

func BenchmarkMatchWildcard(b *testing.B) {
	r := New("", new(store.Memory), Limits{})
	for i := range 10_000 {
		r.Set(message(fmt.Sprintf("d/%d/state", i), "on", 0), nil)
	}
	var buf []*packet.Message
	b.ReportAllocs()
	for range b.N {
		buf = r.Match("d/+/state", 0, buf[:0])
		for _, m := range buf {
			m.Unref()
		}
	}
}

// unretained counts what a Store is asked to remove.
type unretained struct {
	store.Memory
	receipts []*store.Receipt
}

func (u *unretained) Unretain(_, _ string, r *store.Receipt) {
	if r != nil {
		u.receipts = append(u.receipts, r)
	}
}

// Who clears a topic that was cleared a moment ago has to wait as the first one
// does: the Store may not have forgotten it yet.
func TestClearTwiceWaitsTwice(t *testing.T) {
	st := new(unretained)
	r := New("", st, Limits{})
	r.Set((&packet.Message{Topic: []byte("a"), Payload: []byte("x"), Retain: true}).Keep(1), nil)
	first, second := store.NewReceipt(), store.NewReceipt()
	if !r.Clear("a", first) || r.Clear("a", second) {
		t.Error("there was one message")
	}
	if !slices.Equal(st.receipts, []*store.Receipt{first, second}) {
		t.Errorf("the Store has the receipts %v", st.receipts)
	}
}
