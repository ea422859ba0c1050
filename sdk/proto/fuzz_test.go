package proto

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	pb "google.golang.org/protobuf/proto"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// pick chooses the message that the bytes are read as.
func pick(n byte) string {
	names := pluginv1.Names()
	return names[int(n)%len(names)]
}

func number(name string) byte {
	for i, n := range pluginv1.Names() {
		if n == name {
			return byte(i)
		}
	}
	panic("no message " + name)
}

// FuzzUnmarshal reads any bytes as any message: our codec takes what protobuf's takes,
// limits aside, and understands the same.
func FuzzUnmarshal(f *testing.F) {
	c := loadContract(f)
	for _, v := range readVectors(f) {
		if len(v.bytes) < 4096 {
			f.Add(number(v.Message), v.bytes)
		}
	}
	f.Fuzz(func(t *testing.T, n byte, data []byte) {
		name := pick(n)
		theirs := c.dynamic(t, name)
		theirErr := pb.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, theirs)
		input := bytes.Clone(data)
		m := ours(t, name)
		err := m.Unmarshal(data)
		if !bytes.Equal(input, data) {
			t.Fatal("Unmarshal has written to its input")
		}
		if errors.Is(err, pluginv1.ErrLimit) {
			return
		}
		if (err == nil) != (theirErr == nil) {
			t.Fatalf("%s: our error is %v, protobuf's is %v", name, err, theirErr)
		}
		if err != nil {
			var e *pluginv1.DecodeError
			if !errors.As(err, &e) {
				t.Fatalf("%s: error %v is not a DecodeError", name, err)
			}
			return
		}
		out := m.AppendTo([]byte("before"))[len("before"):]
		if want := canonical(t, theirs); !bytes.Equal(out, want) {
			t.Fatalf("%s: encodes to\n%x, protobuf's to\n%x", name, out, want)
		}
		if m.Size() != len(out) {
			t.Fatalf("%s: size is %d, the encoding has %d bytes", name, m.Size(), len(out))
		}
		again(t, m, out)
		roundTripJSON(t, m)
	})
}

// again reads an encoding into a message that has been used before.
func again(t *testing.T, m pluginv1.Proto, encoded []byte) {
	if err := m.Unmarshal(encoded); err != nil {
		t.Fatalf("%s: what it encoded to is refused: %v", m.MessageName(), err)
	}
	buf := make([]byte, len(encoded))
	if n, err := m.MarshalTo(buf); err != nil || n != len(encoded) || !bytes.Equal(buf, encoded) {
		t.Fatalf("%s: read again, it encodes to\n%x, want\n%x (%d, %v)", m.MessageName(), buf, encoded, n, err)
	}
}

func roundTripJSON(t *testing.T, m pluginv1.Proto) {
	j := v1json.AppendJSON(nil, m)
	fromJSON := ours(t, m.MessageName())
	if err := v1json.UnmarshalJSON(j, fromJSON); err != nil {
		t.Fatalf("%s: its own JSON is refused: %v\n%s", m.MessageName(), err, j)
	}
	if m.MessageName() != "Sample" && !pluginv1.Equal(m, fromJSON) { // a NaN has many forms
		t.Fatalf("%s: comes back from JSON as\n%x, want\n%x", m.MessageName(), fromJSON.AppendTo(nil), m.AppendTo(nil))
	}
	if j2 := v1json.AppendJSON(nil, fromJSON); !bytes.Equal(j, j2) {
		t.Fatalf("%s: JSON is\n%s, then\n%s", m.MessageName(), j, j2)
	}
}

// FuzzJSON reads any text as the JSON of any message: what protobuf takes we take, and
// understand the same.
func FuzzJSON(f *testing.F) {
	c := loadContract(f)
	for _, v := range readVectors(f) {
		if len(v.Value) > 0 && len(v.Value) < 4096 {
			f.Add(number(v.Message), string(v.Value))
		}
	}
	for _, s := range []string{
		`{"qos": 1.5e1, "id": "12", "receivedMs": -1e3, "topic": "\ud83d\ude00\/", "payload": "_-8"}`,
		`{"qos":null,"unknown":{"a":[1,2,{"b":null}],"c":"d"},"received_ms":"0"}`,
	} {
		f.Add(number("Message"), s)
	}
	f.Fuzz(func(t *testing.T, n byte, data string) {
		name := pick(n)
		theirs := c.dynamic(t, name)
		theirErr := protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal([]byte(data), theirs)
		m := ours(t, name)
		err := v1json.UnmarshalJSON([]byte(data), m)
		switch {
		case err == nil && !json.Valid([]byte(data)):
			t.Fatalf("%s: what is not JSON is taken", name)
		case err == nil:
			roundTripJSON(t, m)
		case theirErr == nil && json.Valid([]byte(data)) && !stricter(err): // protobuf takes "1e" for a number
			t.Fatalf("%s: protobuf takes it, we say %v", name, err)
		}
		if err != nil || theirErr != nil {
			return
		}
		if got, want := m.AppendTo(nil), canonical(t, theirs); !bytes.Equal(got, want) {
			t.Fatalf("%s: is\n%x, by protobuf\n%x", name, got, want)
		}
	})
}

// stricter reports whether we refuse on purpose what protobuf takes: what is beyond the
// limits, and what follows a number within its quotes.
func stricter(err error) bool {
	return strings.Contains(err.Error(), "than the contract allows") || strings.Contains(err.Error(), "a number in quotes")
}
