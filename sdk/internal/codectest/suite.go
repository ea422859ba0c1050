package codectest

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// vector is one of the golden vectors; see sdk/proto/vectors_test.go.
type vector struct {
	Message string `json:"message"`
	Encode  bool   `json:"encode"`
	Error   string `json:"error"`

	name  string
	bytes []byte
}

var vectorErrors = map[string]error{
	"truncated": pluginv1.ErrTruncated, "overflow": pluginv1.ErrOverflow, "tag": pluginv1.ErrTag, "utf8": pluginv1.ErrUTF8,
	"limit": pluginv1.ErrLimit,
}

// readVectors reads the folder of golden vectors.
func readVectors(t testing.TB, folder string) []vector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors in %s: %v", folder, err)
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

// Vectors runs all golden vectors in folder.
func (g *Guest) Vectors(t *testing.T, folder string) {
	for _, v := range readVectors(t, folder) {
		t.Run(v.name, func(t *testing.T) {
			got, err := g.Again(t, v.Message, v.bytes)
			if v.Error != "" {
				if !errors.Is(err, vectorErrors[v.Error]) {
					t.Errorf("error %v, want %s", err, v.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v.Encode && !bytes.Equal(got, v.bytes) {
				t.Errorf("written as\n%x, want\n%x", got, v.bytes)
			}
			g.Compare(t, v.Message, v.bytes) // of those that are not written like this: what Go makes of them
		})
	}
}

// Mutations reads vectors with bytes changed, cut off and put in, the same in every run.
func (g *Guest) Mutations(t *testing.T, folder string, n int) {
	vectors := readVectors(t, folder)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range n {
		v := vectors[rnd.IntN(len(vectors))]
		b := bytes.Clone(v.bytes)
		for range 1 + rnd.IntN(3) {
			at := rnd.IntN(len(b) + 1)
			switch rnd.IntN(3) {
			case 0:
				b = append(b[:at:at], append([]byte{byte(rnd.Uint32())}, b[at:]...)...)
			case 1:
				b = b[:at]
			case 2:
				if at < len(b) {
					b[at] ^= 1 << rnd.IntN(8)
				}
			}
		}
		g.Compare(t, v.Message, b)
	}
}

// FuzzMessages lets the fuzzer choose a message and its bytes. open is called once in each process.
func FuzzMessages(f *testing.F, folder string, open func(testing.TB) *Guest) {
	names := pluginv1.Names()
	for _, v := range readVectors(f, folder) {
		for i, name := range names {
			if name == v.Message && len(v.bytes) < 4096 {
				f.Add(uint16(i), v.bytes)
			}
		}
	}
	g := open(f)
	f.Fuzz(func(t *testing.T, message uint16, b []byte) { g.Compare(t, names[int(message)%len(names)], b) })
}

var texts = []string{
	``, ` `, `null`, `true`, `false`, `nul`, `truex`, `0`, `-0`, `01`, `-`, `1.5e-3`, `1.`, `.5`, `1e`, `1E+9`, `12345678901234567890`,
	`""`, `"a\"b\\\/\b\f\n\r\t"`, `"\u00e4\ud83d\ude42"`, `"\ud83d"`, `"\ude42"`, `"\ud83dx"`, `"\u00g0"`, "\"\x01\"", `"a`, `"\`, `"\x"`, "\"\xff\"", "\"ä€🙂\"",
	`[]`, `[1, [2, {"a": null}], "x"]`, `[1,]`, `[,1]`, `[1 2]`, `[`, `[1`, `{}`, `{"a":1,"b":{"a":[true]}}`, `{"a":1,"a":2}`, `{"a" 1}`, `{"a":}`, `{a:1}`, `{"a":1,}`, `{"":""}`,
	` { "a" : [ ] } `, `1 2`, strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat("[", 66) + strings.Repeat("]", 66),
	strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64), strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
}

// JSON compares the readers on what is special in JSON.
func (g *Guest) JSON(t *testing.T) {
	for _, s := range texts {
		g.CompareJSON(t, s)
	}
}

// FuzzJSON lets the fuzzer choose a JSON text.
func FuzzJSON(f *testing.F, open func(testing.TB) *Guest) {
	for _, s := range texts {
		f.Add(s)
	}
	g := open(f)
	f.Fuzz(func(t *testing.T, s string) { g.CompareJSON(t, s) })
}
