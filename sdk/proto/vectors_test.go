package proto

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	pb "google.golang.org/protobuf/proto"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

var update = flag.Bool("update", false, "write the golden vectors anew, with protobuf's own library")

const vectorFolder = "testdata/vectors"

// vector is one file NAME.json beside NAME.bin.
type vector struct {
	// Message is the type.
	Message string `json:"message"`
	// About says what is special.
	About string `json:"about"`
	// Encode is true if the value encodes to these bytes; the bytes of others can be
	// read, but are not written like this.
	Encode bool `json:"encode"`
	// Value is what the bytes decode to, in JSON. Absent if they must be refused.
	Value json.RawMessage `json:"value,omitempty"`
	// Error is why they must be refused: truncated, overflow, tag or utf8; or limit,
	// which a reader in a language that bears it may take.
	Error string `json:"error,omitempty"`

	name  string
	bytes []byte
}

var vectorErrors = map[string]error{
	"truncated": pluginv1.ErrTruncated, "overflow": pluginv1.ErrOverflow, "tag": pluginv1.ErrTag,
	"utf8": pluginv1.ErrUTF8, "limit": pluginv1.ErrLimit,
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(vectorFolder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		v := vector{name: strings.TrimSuffix(filepath.Base(f), ".json")}
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if v.bytes, err = os.ReadFile(strings.TrimSuffix(f, ".json") + ".bin"); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// The vectors are what protobuf's own library says they are.
func TestVectorsAreUpToDate(t *testing.T) {
	c := loadContract(t)
	wanted := map[string][]byte{}
	for _, v := range makeVectors(t, c) {
		raw, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		wanted[v.name+".json"] = append(raw, '\n')
		wanted[v.name+".bin"] = v.bytes
	}
	if *update {
		if err := os.RemoveAll(vectorFolder); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(vectorFolder, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, raw := range wanted {
			if err := os.WriteFile(filepath.Join(vectorFolder, name), raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	found, err := os.ReadDir(vectorFolder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		raw, err := os.ReadFile(filepath.Join(vectorFolder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := wanted[f.Name()]; !ok || !bytes.Equal(raw, want) {
			t.Errorf("%s is not what the contract says; see -update", f.Name())
		}
		delete(wanted, f.Name())
	}
	for name := range wanted {
		t.Errorf("%s is missing; see -update", name)
	}
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			m := ours(t, v.Message)
			err := m.Unmarshal(v.bytes)
			if v.Error != "" {
				if !errors.Is(err, vectorErrors[v.Error]) {
					t.Errorf("got error %v, want %s", err, v.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.AppendTo(nil); v.Encode && !bytes.Equal(got, v.bytes) {
				t.Errorf("encodes to\n%x, want\n%x", got, v.bytes)
			}
			if got := m.Size(); got != len(m.AppendTo(nil)) {
				t.Errorf("size is %d, but it encodes to %d bytes", got, len(m.AppendTo(nil)))
			}
			fromJSON := ours(t, v.Message)
			if err := v1json.UnmarshalJSON(v.Value, fromJSON); err != nil {
				t.Fatal(err)
			}
			if !pluginv1.Equal(m, fromJSON) {
				t.Errorf("decodes to\n%s, want\n%s", v1json.AppendJSON(nil, m), v.Value)
			}
			sameJSON(t, v1json.AppendJSON(nil, m), v.Value)
		})
	}
}

// sameJSON compares without regard to spaces; the order of members is the same.
func sameJSON(t *testing.T, got, want []byte) {
	t.Helper()
	var g, w bytes.Buffer
	if err := json.Compact(&g, got); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Compact(&w, want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.Bytes(), w.Bytes()) {
		t.Errorf("JSON is\n%s, want\n%s", g.Bytes(), w.Bytes())
	}
}

// makeVectors makes all vectors with protobuf's own library.
func makeVectors(t *testing.T, c contract) []vector {
	var all []vector
	for _, name := range pluginv1.Names() {
		m := c.dynamic(t, name)
		(&filler{}).fill(m)
		all = append(all, newVector(t, "all-"+name, name, "all fields set", true, canonical(t, m), m))
	}
	for _, e := range edgeCases {
		raw := e.bytes
		if e.json != "" {
			m := c.dynamic(t, e.message)
			if err := protojson.Unmarshal([]byte(e.json), m); err != nil {
				t.Fatalf("%s: %v", e.name, err)
			}
			raw = canonical(t, m)
		}
		m := c.dynamic(t, e.message)
		err := pb.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(raw, m)
		if e.err != "" {
			// Only what is beyond our limits is fine with protobuf.
			if err == nil && e.err != "limit" {
				t.Fatalf("%s: protobuf reads it", e.name)
			}
			all = append(all, vector{Message: e.message, About: e.about, Error: e.err, name: e.name, bytes: raw})
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		all = append(all, newVector(t, e.name, e.message, e.about, e.json != "", raw, m))
	}
	return all
}

func newVector(t *testing.T, name, message, about string, encode bool, raw []byte, m pb.Message) vector {
	t.Helper()
	j, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer // protojson puts spaces in at random
	if err := json.Compact(&compact, j); err != nil {
		t.Fatal(err)
	}
	return vector{Message: message, About: about, Encode: encode, Value: compact.Bytes(), name: name, bytes: raw}
}
