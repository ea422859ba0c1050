package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// body is a guest of ABI 1 with this patchbay_call.
func body(code ...[]byte) []byte {
	a := plain(abiBinary, nil)
	a.function("patchbay_call", "ii", "I", code...)
	return a.bytes()
}

// onProcess answers all other ops with nothing, and runs code for PROCESS.
func onProcess(code ...[]byte) [][]byte {
	isProcess := cat(get(0), i32c(int32(pluginv1.PluginOpProcess)), []byte{0x46})
	return [][]byte{isProcess, {0x04, 0x7e}, cat(code...), {0x05}, i64c(0), {0x0b}}
}

// TestHostile has guests that do one thing wrong each, in the pool and in the worker.
func TestHostile(t *testing.T) {
	store := func(at int32, v int32) []byte { return cat(i32c(at), i32c(v), []byte{0x36, 2, 0}) }
	grow := []byte{0x40, 0}
	deep := plain(abiBinary, nil)
	self := deep.function("-recurse", "", "I", call(2), []byte{0xa7, 0x1a}, call(2))
	deep.function("patchbay_call", "ii", "I", onProcess(call(self))...)
	named := plain(abiBinary, nil)
	spin := named.function("-spin_without_end", "", "I", forever)
	named.function("patchbay_call", "ii", "I", onProcess(call(spin))...)
	for _, c := range []struct {
		name   string
		file   []byte
		cause  Cause
		reason string
	}{
		{"unreachable", body(onProcess(unreachable)...), Trapped, "unreachable"},
		{"endless", named.bytes(), OutOfFuel, "units"},
		{"recursion", deep.bytes(), OutOfFuel, "units"},
		{"out of bounds", body(onProcess(store(-8, 1), i64c(0))...), Trapped, "out of bounds memory access"},
		{"division by zero", body(onProcess(i64c(1), i64c(0), []byte{0x7f})...), Trapped, "divide by zero"},
		{"refused", body(onProcess(i64c(-1))...), Refused, "without saying why"},
		{"answer outside", body(onProcess(i64c(3<<48 | 5))...), BadAnswer, "not within its memory"},
		{"answer across the end", body(onProcess(i64c((128<<10-4)<<32 | 8))...), BadAnswer, "not within its memory"},
		{"huge answer", body(onProcess(i64c(1<<32 | 2<<20))...), BadAnswer, "larger than the limit"},
		{"pointer without length", body(onProcess(i64c(1 << 32))...), 0, ""},
		{"garbage", body(onProcess(store(0, -1), i64c(4))...), BadAnswer, "Answer"},
		{"memory.grow storm", body(onProcess([]byte{0x03, 0x40}, i32c(1), grow, []byte{0x1a, 0x0c, 0, 0x0b, 0})...), OutOfFuel, "units"},
		{"memory.fill storm", body(onProcess([]byte{0x03, 0x40}, i32c(0), i32c(1), i32c(128<<10), []byte{0xfc, 11, 0, 0x0c, 0, 0x0b, 0})...), OutOfFuel, "units"},
		{"grows under the host's feet", body(onProcess(i32c(100), grow, []byte{0x1a}, i64c(0))...), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := started(t, open(t, load(t, c.file, Options{Inline: 1}), &fakeHost{}), startWith())
			for _, point := range []pluginv1.Point{pluginv1.PointInterceptPublish, pluginv1.PointAuthenticate} {
				if c.name == "recursion" && point == pluginv1.PointAuthenticate {
					c.cause, c.reason = Trapped, "stack overflow" // the worker has fuel for that
				}
				for range 3 {
					_, err := process(p, batchOf(point, "t"))
					var e *Error
					if errors.As(err, &e); c.cause == 0 {
						if err != nil {
							t.Fatal(err)
						}
					} else if e == nil || e.Cause != c.cause || !strings.Contains(err.Error(), c.reason) {
						t.Fatalf("%s: %v", point, err)
					}
					if c.name == "endless" && e.Function() != "spin_without_end" {
						t.Errorf("the function is %q", e.Function())
					}
				}
			}
		})
	}
}

// startWith is for guests that cannot answer Describe with a hook: the pool is filled when it is first needed.
func startWith() *pluginv1.StartRequest { return &pluginv1.StartRequest{Name: "p"} }

func TestHostileStart(t *testing.T) {
	start := &assembler{}
	start.mem(1)
	start.function(abiBinary, "", "")
	start.function("patchbay_buffer", "i", "i", i32c(bufferAt))
	start.function("patchbay_call", "ii", "I", i64c(0))
	start.function(exportInit, "", "", forever, []byte{0x1a})
	if _, err := load(t, start.bytes(), Options{}).Open(t.Context(), &fakeHost{}); err == nil || !strings.Contains(err.Error(), "out of fuel") {
		t.Errorf("_initialize: %v", err)
	}
	for _, at := range []int32{0, -4, 128<<10 - 10} {
		a := &assembler{}
		a.mem(2)
		a.function(abiBinary, "", "")
		a.function("patchbay_buffer", "i", "i", i32c(at))
		a.function("patchbay_call", "ii", "I", i64c(0))
		p := open(t, load(t, a.bytes(), Options{}), &fakeHost{})
		_, err := p.Describe(t.Context(), &pluginv1.DescribeRequest{Host: &pluginv1.HostInfo{Node: "n"}})
		var e *Error
		if !errors.As(err, &e) || e.Cause != BadAnswer {
			t.Errorf("a buffer at %d: %v", at, err)
		}
	}
}

// TestStartFailsForever: as long as new instances fail, calls fail, quickly, and go on when they succeed again.
func TestStartFailsForever(t *testing.T) {
	isStart := cat(get(0), i32c(int32(pluginv1.PluginOpStart)), []byte{0x46})
	p := open(t, load(t, body(isStart, []byte{0x04, 0x40}, unreachable, []byte{0x0b}, i64c(0)), Options{}), &fakeHost{})
	for range 3 {
		if _, err := p.Start(t.Context(), startWith()); err == nil {
			t.Fatal("Start succeeded")
		}
	}
	p.start.Store(startWith()) // as if it had, once
	p.state.Store(serving)
	begin := time.Now()
	for range 1000 {
		if _, err := process(p, publish("x")); err == nil {
			t.Fatal("a batch was answered")
		}
	}
	if made := p.made.Load(); time.Since(begin) < time.Second && made > 40 {
		t.Errorf("%d instances were made in %v", made, time.Since(begin))
	}
}

// programmable is a guest whose answers and calls of the host are set from outside, in globals.
func programmable(marker string) []byte {
	a := plain(marker, func(a *assembler) { a.importFunc(hostModule, "host_call", "iiiii", "i") })
	var args [][]byte
	for _, name := range []string{"op", "at", "size", "out", "room"} {
		args = append(args, gget(a.global(name, 'i', 0)))
	}
	result := a.global("result", 'i', 0)
	answer := a.global("answer", 'I', 0)
	a.function("patchbay_call", "ii", "I", cat(args...), call(0), []byte{0x24}, uleb(result), gget(answer))
	return a.bytes()
}

// knobs sets the globals of a programmable guest, and its memory from 64 KiB on.
type knobs struct{ g *guest }

func (k knobs) set(name string, v uint64) {
	k.g.module.ExportedGlobal(name).(api.MutableGlobal).Set(v)
}

func programmed(t testing.TB, marker string, o Options, host v1host.Service) (*Plugin, knobs) {
	p := started(t, open(t, load(t, programmable(marker), o), host), startWith())
	if _, err := process(p, publish("x")); err != nil { // makes the instance
		t.Fatal(err)
	}
	for _, s := range p.pool.slots {
		if s.live.Load() {
			return p, knobs{s.guest}
		}
	}
	t.Fatal("there is no instance")
	return nil, knobs{}
}

func FuzzAnswer(f *testing.F) {
	answer := (&pluginv1.Answer{Verdicts: []pluginv1.Verdict{{Event: 9, Action: 99, Reason: "r"}}}).AppendTo(nil)
	f.Add(uint64(64<<10)<<32|uint64(len(answer)), answer)
	f.Add(uint64(1<<64-1), []byte{})
	f.Add(uint64(1<<63), []byte{1, 2, 3})
	p, k := programmed(f, abiBinary, Options{Inline: 1}, &fakeHost{})
	f.Fuzz(func(t *testing.T, result uint64, memory []byte) {
		k.g.memory.Write(64<<10, memory[:min(len(memory), 60<<10)])
		k.set("answer", result)
		a, err := process(p, publish("x"))
		if err == nil { // what came out is no longer the guest's
			want := a.AppendTo(nil)
			k.g.memory.Write(64<<10, bytes.Repeat([]byte{0xaa}, 60<<10))
			if !bytes.Equal(a.AppendTo(nil), want) {
				t.Fatal("the answer changes with the guest's memory")
			}
		}
		if s := p.Stats(); s.Traps != 0 {
			t.Fatalf("%v: %+v", err, s)
		}
	})
}

func FuzzHostCall(f *testing.F) {
	request := (&pluginv1.KVGetRequest{Key: "k"}).AppendTo(nil)
	f.Add(uint32(pluginv1.HostOpKVGet), uint32(64<<10), uint32(len(request)), uint32(65<<10), uint32(100), request)
	f.Add(uint32(pluginv1.HostOpLastResponse), uint32(0), uint32(0), uint32(1<<31), uint32(1<<31), request)
	f.Add(uint32(1<<31), uint32(1<<32-1), uint32(1<<32-1), uint32(1<<32-1), uint32(1<<32-1), request)
	host := v1host.Caller(func(_ context.Context, op pluginv1.HostOp, request []byte) ([]byte, error) {
		if len(request) > 10 {
			return nil, fmt.Errorf("op %d: too long", op)
		}
		return nil, nil
	})
	p, k := programmed(f, abiBinary, Options{Inline: 1, Log: func(pluginv1.LogLevel, string) {}}, host)
	f.Fuzz(func(t *testing.T, op, at, size, out, room uint32, memory []byte) {
		k.g.memory.Write(64<<10, memory[:min(len(memory), 60<<10)])
		for name, v := range map[string]uint32{"op": op, "at": at, "size": size, "out": out, "room": room} {
			k.set(name, uint64(v))
		}
		if _, err := process(p, publish("x")); err != nil {
			t.Fatal(err)
		}
		if result := int32(k.g.module.ExportedGlobal("result").Get()); result < int32(pluginv1.HostErrorCodeInternal) {
			t.Fatalf("host_call returned %d", result)
		}
	})
}

func TestLastResponse(t *testing.T) {
	host := &fakeHost{values: map[string]string{"k": "a value"}}
	p, k := programmed(t, abiBinary, Options{Inline: 1}, host)
	request := (&pluginv1.KVGetRequest{Key: "k"}).AppendTo(nil)
	want := (&pluginv1.KVGetResponse{Version: 1, Value: []byte("a value")}).AppendTo(nil)
	k.g.memory.Write(64<<10, request)
	for i, c := range []struct {
		op   pluginv1.HostOp
		room int
		want int32
	}{
		{pluginv1.HostOpLastResponse, 100, int32(pluginv1.HostErrorCodeNotFound)},
		{pluginv1.HostOpKVGet, 2, int32(len(want))},
		{pluginv1.HostOpLastResponse, 3, int32(len(want))}, // still too small: it is kept
		{pluginv1.HostOpLastResponse, 100, int32(len(want))},
		{pluginv1.HostOpLastResponse, 100, int32(pluginv1.HostErrorCodeNotFound)},
		{pluginv1.HostOpKVGet, 2, int32(len(want))},
		{pluginv1.HostOpKVGet, 100, int32(len(want))}, // forgets the one before
		{pluginv1.HostOpLastResponse, 100, int32(pluginv1.HostErrorCodeNotFound)},
		{250, 100, int32(pluginv1.HostErrorCodeUnsupported)},
		{pluginv1.HostOpHTTPFetch, 100, int32(pluginv1.HostErrorCodeWorkerOnly)},
	} {
		k.set("op", uint64(c.op))
		k.set("at", 64<<10)
		k.set("size", uint64(len(request)))
		k.set("out", 65<<10)
		k.set("room", uint64(c.room))
		k.g.memory.Write(65<<10, make([]byte, 100))
		if _, err := process(p, publish("x")); err != nil {
			t.Fatal(err)
		}
		if got := int32(k.g.module.ExportedGlobal("result").Get()); got != c.want {
			t.Fatalf("step %d, %s: %d, want %d", i, c.op, got, c.want)
		}
		if out, _ := k.g.memory.Read(65<<10, uint32(len(want))); c.want == int32(len(want)) && (c.room >= len(want)) != bytes.Equal(out, want) {
			t.Fatalf("step %d: %q", i, out)
		}
	}
}

// TestJSONHostCall: a module that speaks JSON calls the host in JSON, and is told errors in it.
func TestJSONHostCall(t *testing.T) {
	host := &fakeHost{values: map[string]string{"k": "v"}}
	_, k := programmed(t, abiJSON, Options{Inline: 1}, host)
	p := k.g.plugin
	for _, c := range []struct {
		op            pluginv1.HostOp
		request, want string
		code          pluginv1.HostErrorCode
	}{
		{pluginv1.HostOpKVGet, `{"key":"k"}`, `{"version":"1","value":"dg=="}`, 0},
		{pluginv1.HostOpKVGet, `{"key":`, "", pluginv1.HostErrorCodeInvalid},
		{pluginv1.HostOpKVGet, `{"key":"denied"}`, "", pluginv1.HostErrorCodeDenied},
		{pluginv1.HostOpLastError, "", `{"code":"HOST_ERROR_CODE_DENIED","message":"no","grant":"kv"}`, 0},
		{pluginv1.HostOpNow, "", `{"unixMs":"1"}`, 0},
		{251, "{}", "", pluginv1.HostErrorCodeUnsupported},
	} {
		k.g.memory.Write(64<<10, []byte(c.request))
		for name, v := range map[string]int{"op": int(c.op), "at": 64 << 10, "size": len(c.request), "out": 65 << 10, "room": 100} {
			k.set(name, uint64(v))
		}
		if _, err := process(p, publish("x")); err != nil {
			t.Fatal(err)
		}
		result := int32(k.g.module.ExportedGlobal("result").Get())
		if c.code != 0 {
			if result != int32(c.code) {
				t.Errorf("%s %s: %d", c.op, c.request, result)
			}
			continue
		}
		if result < 0 {
			t.Errorf("%s %s: %d", c.op, c.request, result)
			continue
		}
		if out, _ := k.g.memory.Read(65<<10, uint32(result)); string(out) != c.want {
			t.Errorf("%s %s: %s", c.op, c.request, out)
		}
	}
}

// FuzzWASI calls each function of the shim with any arguments.
func FuzzWASI(f *testing.F) {
	f.Add(uint8(0), []byte{1, 2, 3})
	for i := range uint8(len(wasi())) {
		f.Add(i, bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 9))
	}
	p, k := programmed(f, abiBinary, Options{Inline: 1, Log: func(pluginv1.LogLevel, string) {}}, &fakeHost{})
	functions := wasi()
	var names []string
	for name := range functions {
		if name != "proc_exit" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	f.Fuzz(func(t *testing.T, which uint8, args []byte) {
		stack := make([]uint64, 10)
		for i := range stack {
			if len(args) >= 8 {
				stack[i], args = binary.LittleEndian.Uint64(args), args[8:]
			}
		}
		run := functions[names[int(which)%len(names)]]
		for i := range run.params {
			if run.params[i] == 'i' {
				stack[i] = uint64(uint32(stack[i]))
			}
		}
		k.g.begin(t.Context(), p.inlineTerms(publish("x")))
		k.g.fuel.Set(1_000_000)
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(*trap); !ok {
					panic(r)
				}
			}
		}()
		run.run(k.g, stack)
		if stack[0] > 76 {
			t.Fatalf("errno %d", stack[0])
		}
	})
}
