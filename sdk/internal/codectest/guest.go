package codectest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/patchbay-mq/patchbay/sdk/internal/jsontext"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// memoryPages is enough for the largest input of a fuzzer with all that is made of it: 64 MiB.
const memoryPages = 1024

// Guest is a module with the exports of the package comment. It serves one test at a time.
type Guest struct {
	module             api.Module
	input, again, json api.Function
}

// Open instantiates the module in a file. Modules that bring a runtime with them may import the functions of
// the host, which are not called.
func Open(t testing.TB, file string) *Guest {
	t.Helper()
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithMemoryLimitPages(memoryPages))
	t.Cleanup(func() { r.Close(ctx) })
	_, err = r.NewHostModuleBuilder("patchbay_v1").
		NewFunctionBuilder().WithFunc(func(level, at, size uint32) {}).Export("log").
		NewFunctionBuilder().WithFunc(func(at, size uint32) {}).Export("error").
		NewFunctionBuilder().WithFunc(func() int64 { return 0 }).Export("now").
		NewFunctionBuilder().WithFunc(func(op, at, size, out, capacity uint32) int32 {
		return int32(pluginv1.HostErrorCodeUnsupported)
	}).Export("host_call").
		Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	g := &Guest{}
	if g.module, err = r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStartFunctions("_initialize")); err != nil {
		t.Fatal(err)
	}
	g.input, g.again, g.json = g.module.ExportedFunction("input"), g.module.ExportedFunction("again"), g.module.ExportedFunction("json")
	return g
}

// Errors by the code that a guest returns for them.
var failures = map[int64]error{
	-1: pluginv1.ErrTruncated, -2: pluginv1.ErrOverflow, -3: pluginv1.ErrTag, -4: pluginv1.ErrUTF8, -5: pluginv1.ErrLimit,
}

// call puts the input into the guest's memory and calls f with its address and more.
func (g *Guest) call(t testing.TB, f api.Function, input []byte, more ...uint64) ([]byte, error) {
	t.Helper()
	ctx := context.Background()
	at, err := g.input.Call(ctx, uint64(len(input)))
	if err != nil {
		t.Fatal(err)
	}
	if !g.module.Memory().Write(uint32(at[0]), input) {
		t.Fatalf("there are no %d bytes at %#x", len(input), at[0])
	}
	res, err := f.Call(ctx, append(append([]uint64{at[0]}, more...), uint64(len(input)))...)
	if err != nil {
		t.Fatal(err)
	}
	if code := int64(res[0]); code < 0 {
		if err := failures[code]; err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("code %d", code)
	}
	out, ok := g.module.Memory().Read(uint32(res[0]>>32), uint32(res[0]))
	if !ok {
		t.Fatalf("the result %#x is not in memory", res[0])
	}
	return bytes.Clone(out), nil
}

// Again has the guest read and write a message.
func (g *Guest) Again(t testing.TB, name string, encoded []byte) ([]byte, error) {
	t.Helper()
	return g.call(t, g.again, append([]byte(name), encoded...), uint64(len(name)))
}

// Compare holds the guest against Go for one message: both read it and write the same, or both refuse it for the same
// reason. Only limits may be drawn at another place, when something else is wrong too.
func (g *Guest) Compare(t testing.TB, name string, encoded []byte) {
	t.Helper()
	m := pluginv1.New(name)
	wantErr := m.Unmarshal(encoded)
	got, err := g.Again(t, name, encoded)
	switch {
	case (err == nil) != (wantErr == nil):
		t.Fatalf("%s: error %v, want %v", name, err, wantErr)
	case err != nil:
		if !errors.Is(wantErr, err) && !errors.Is(err, pluginv1.ErrLimit) && !errors.Is(wantErr, pluginv1.ErrLimit) {
			t.Fatalf("%s: error %v, want %v", name, err, wantErr)
		}
	default:
		if want := m.AppendTo(nil); !bytes.Equal(got, want) {
			t.Fatalf("%s: written as\n%x, want\n%x", name, got, want)
		}
	}
}

// CompareJSON holds the guest's JSON reader against Go's.
func (g *Guest) CompareJSON(t testing.TB, text string) {
	t.Helper()
	v, wantErr := jsontext.Parse(text)
	got, err := g.call(t, g.json, []byte(text))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: error %v, want %v", text, err, wantErr)
	}
	if want := Print(nil, v); err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%q is read as %q, want %q", text, got, want)
	}
}

// Print appends a value in a form that needs no escapes: a letter for the kind (n null, t true or false, s number,
// d string, a array, o object), then "1" or "0", a text with its length before it, or members and ".".
func Print(b []byte, v jsontext.Value) []byte {
	text := func(s string) { b = append(append(strconv.AppendInt(b, int64(len(s)), 10), ':'), s...) }
	b = append(b, "ntsdao"[v.Kind])
	switch v.Kind {
	case jsontext.Bool:
		b = append(b, map[string]byte{"true": '1', "false": '0'}[v.Text])
	case jsontext.Number, jsontext.String:
		text(v.Text)
	case jsontext.Array:
		for _, item := range v.Items {
			b = Print(b, item)
		}
		b = append(b, '.')
	case jsontext.Object:
		for _, m := range v.Members {
			text(m.Name)
			b = Print(b, m.Value)
		}
		b = append(b, '.')
	}
	return b
}
