package guesttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// codes are what roundtrip returns for an error, from -1 on.
var codes = []string{"truncated", "overflow", "tag", "utf8", "limit"}

// codec is a module that exports buffer() -> address of 4 MiB, and roundtrip(name length,
// message length) -> i64, which decodes the message that lies in the buffer behind the
// name of its type, and returns where its encoding lies, as address << 32 | length, or one
// of codes.
type codec struct {
	memory    api.Memory
	at        uint32
	roundtrip api.Function
}

func openCodec(t *testing.T, file string) *codec {
	t.Helper()
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	t.Cleanup(func() { r.Close(ctx) })
	said := ""
	_, err = r.NewHostModuleBuilder("patchbay_v1").
		NewFunctionBuilder().WithFunc(func(_ context.Context, m api.Module, at, n uint32) {
		b, _ := m.Memory().Read(at, n)
		said = string(b)
	}).Export("error").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatalf("%v (it said %q)", err, said)
	}
	res, err := m.ExportedFunction("buffer").Call(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &codec{m.Memory(), uint32(res[0]), m.ExportedFunction("roundtrip")}
}

// do returns what the message encodes to, or why it cannot be read.
func (c *codec) do(message string, b []byte) ([]byte, string, error) {
	c.memory.Write(c.at, append([]byte(message), b...))
	res, err := c.roundtrip.Call(context.Background(), uint64(len(message)), uint64(len(b)))
	if err != nil {
		return nil, "", err
	}
	if n := int64(res[0]); n < 0 {
		if -n > int64(len(codes)) {
			return nil, "", fmt.Errorf("code %d", n)
		}
		return nil, codes[-n-1], nil
	}
	out, ok := c.memory.Read(uint32(res[0]>>32), uint32(res[0]))
	if !ok {
		return nil, "", fmt.Errorf("%#x is outside of memory", res[0])
	}
	return bytes.Clone(out), "", nil
}

// vector is a file of sdk/proto/testdata/vectors.
type vector struct {
	Message, Error string
	Encode         bool

	name  string
	bytes []byte
}

func vectors(t *testing.T, dir string) (all []vector) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no vectors in", dir, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v := vector{name: filepath.Base(file[:len(file)-len(".json")])}
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(file, err)
		}
		if v.bytes, err = os.ReadFile(file[:len(file)-len("json")] + "bin"); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// Codec feeds a module all golden vectors of a folder, and then broken and cut off ones,
// on which it has to agree with the Go codec.
func Codec(t *testing.T, file, vectorDir string) {
	c := openCodec(t, file)
	all := vectors(t, vectorDir)
	for _, v := range all {
		got, refusal, err := c.do(v.Message, v.bytes)
		want := v.bytes
		if v.Error == "" && !v.Encode {
			want = reencoded(t, v.Message, v.bytes)
		}
		switch {
		case err != nil:
			t.Errorf("%s: %v", v.name, err)
		case v.Error == "limit" && refusal == "":
		case refusal != v.Error:
			t.Errorf("%s: error %q, want %q", v.name, refusal, v.Error)
		case refusal == "" && !bytes.Equal(got, want):
			t.Errorf("%s:\n got %x\nwant %x", v.name, got, want)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		v := all[rnd.IntN(len(all))]
		if len(v.bytes) == 0 || len(v.bytes) > 20_000 {
			continue
		}
		disagree(t, c, v.Message, mutate(rnd, v.bytes))
	}
}

// reencoded is what the Go codec makes of an encoding.
func reencoded(t *testing.T, message string, b []byte) []byte {
	t.Helper()
	m := pluginv1.New(message)
	if err := m.Unmarshal(b); err != nil {
		t.Fatal(message, err)
	}
	return m.AppendTo(nil)
}

func disagree(t *testing.T, c *codec, message string, b []byte) {
	t.Helper()
	m := pluginv1.New(message)
	failure := m.Unmarshal(b)
	got, refusal, err := c.do(message, b)
	switch {
	case err != nil:
		t.Fatalf("%s %x: %v", message, b, err)
	case (failure != nil) != (refusal != ""):
		t.Fatalf("%s %x: %q, the Go codec says %v", message, b, refusal, failure)
	case failure == nil && !bytes.Equal(got, m.AppendTo(nil)):
		t.Fatalf("%s %x:\n got %x\nwant %x", message, b, got, m.AppendTo(nil))
	}
}

func mutate(rnd *rand.Rand, b []byte) []byte {
	out := bytes.Clone(b)
	switch rnd.IntN(4) {
	case 0:
		return out[:rnd.IntN(len(out))]
	case 1:
		at := rnd.IntN(len(out))
		return append(out[:at], out[min(len(out), at+1+rnd.IntN(4)):]...)
	}
	for range 1 + rnd.IntN(3) {
		out[rnd.IntN(len(out))] = byte(rnd.IntN(256))
	}
	return out
}
