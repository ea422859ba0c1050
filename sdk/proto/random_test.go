package proto

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// Messages with any values in any of their fields come out of our codecs as they come
// out of protobuf's, in both directions and both forms.
func TestRandomMessages(t *testing.T) {
	c := loadContract(t)
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range pluginv1.Names() {
		used := ours(t, name)
		for range 60 {
			theirs := c.dynamic(t, name)
			randomly(r, theirs)
			want := canonical(t, theirs)
			if err := used.Unmarshal(want); err != nil {
				t.Fatalf("%s: %v in %v", name, err, theirs)
			}
			if got := used.AppendTo(nil); !bytes.Equal(got, want) {
				t.Fatalf("%s: encodes to\n%x, want\n%x", name, got, want)
			}
			compareJSON(t, c, used, theirs, want)
			damaged(t, r, c, name, want)
		}
	}
}

func compareJSON(t *testing.T, c contract, m pluginv1.Proto, theirs pb.Message, want []byte) {
	t.Helper()
	j, err := protojson.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	fromTheirs := ours(t, m.MessageName())
	if err := v1json.UnmarshalJSON(j, fromTheirs); err != nil {
		t.Fatalf("%v in %s", err, j)
	}
	if got := fromTheirs.AppendTo(nil); !bytes.Equal(got, want) {
		t.Fatalf("%s\nis read as\n%x, want\n%x", j, got, want)
	}
	fromOurs := c.dynamic(t, m.MessageName())
	j = v1json.AppendJSON(nil, m)
	if err := protojson.Unmarshal(j, fromOurs); err != nil {
		t.Fatalf("protobuf refuses our JSON: %v\n%s", err, j)
	}
	if got := canonical(t, fromOurs); !bytes.Equal(got, want) {
		t.Fatalf("our JSON\n%s\nis read by protobuf as\n%x, want\n%x", j, got, want)
	}
}

// damaged changes a few bytes of an encoding, which must be refused or understood as
// protobuf does.
func damaged(t *testing.T, r *rand.Rand, c contract, name string, encoded []byte) {
	t.Helper()
	if len(encoded) == 0 {
		return
	}
	b := bytes.Clone(encoded)
	for range 1 + r.IntN(3) {
		b[r.IntN(len(b))] = byte(r.Uint32())
	}
	b = b[:len(b)-r.IntN(2)]
	theirs, m := c.dynamic(t, name), ours(t, name)
	theirErr := pb.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, theirs)
	err := m.Unmarshal(b)
	if errors.Is(err, pluginv1.ErrLimit) {
		return
	}
	if (err == nil) != (theirErr == nil) {
		t.Fatalf("%s: %x: our error is %v, protobuf's is %v", name, b, err, theirErr)
	}
	if err != nil {
		return
	}
	if got, want := m.AppendTo(nil), canonical(t, theirs); !bytes.Equal(got, want) {
		t.Fatalf("%s: %x is read as\n%x, by protobuf as\n%x", name, b, got, want)
	}
}

func randomly(r *rand.Rand, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case r.IntN(3) == 0:
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range r.IntN(4) {
				list.Append(randomValue(r, fd))
			}
		default:
			m.Set(fd, randomValue(r, fd))
		}
	}
}

var samples = []string{"", "a", "plant/1/#", "ä€🙂\x00\"\\\n\u2028", "0123456789012345678901234567890123456789"}

func randomValue(r *rand.Rand, fd protoreflect.FieldDescriptor) protoreflect.Value {
	// Of as many bits as happens, so that small and large values are as frequent.
	n := r.Uint64() >> r.IntN(64)
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n&1 == 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(n) * int64(1-2*r.IntN(2)))
	case protoreflect.DoubleKind:
		v := []float64{0, math.Copysign(0, -1), 1, -0.1, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), float64(n)}
		return protoreflect.ValueOfFloat64(v[r.IntN(len(v))])
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(samples[r.IntN(len(samples))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(samples[r.IntN(len(samples))]))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(n) * int32(1-2*r.IntN(2))))
	}
	m := dynamicpb.NewMessage(fd.Message())
	randomly(r, m)
	return protoreflect.ValueOfMessage(m)
}
