package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/patchbay-mq/patchbay/pluginhost/wasm/meter"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1json"
)

// guest is one instance of a module. One goroutine at a time uses it: who holds the slot that it is in.
type guest struct {
	plugin *Plugin
	code   *code
	base   context.Context // of calls that cannot be interrupted; has the guest under guestKey

	module    api.Module
	memory    api.Memory
	call, buf api.Function
	fuel      api.MutableGlobal
	stack     [2]uint64 // parameters and result of a call
	input     uint32    // the guest's buffer for requests,
	inputSize uint32    // and its size
	scratch   []byte    // requests in JSON, responses of the host
	dead      bool      // it has trapped, and must not be called
	fuelUsed  int64     // by the last call

	// Of the call under way:
	ctx       context.Context
	op        pluginv1.PluginOp
	budget    int64 // fuel at its start
	hostCalls int   // that it may still make
	mayWait   bool
	refusal   string    // text of the import error
	slept     bool      // it wanted to, and must not wait
	lastWords []byte    // what it has written to stderr
	lastLine  string    // what it has logged last as an error
	line      [2][]byte // begun lines of stdout and stderr

	// What LAST_ERROR and LAST_RESPONSE return.
	lastError    *pluginv1.HostError
	lastResponse []byte
	hasResponse  bool
}

// request is what a guest is called with: a message, or its encoding.
type request struct {
	message pluginv1.Proto
	encoded []byte
}

// terms are those of one call.
type terms struct {
	op        pluginv1.PluginOp
	fuel      int64
	hostCalls int
	mayWait   bool
}

// bufferMin is the size of the first buffer that a guest is asked for: most batches of one fit.
const bufferMin = 4 << 10

// instantiate makes a guest and calls its _initialize, within the worker's fuel.
func (c *code) instantiate(ctx context.Context, p *Plugin) (g *guest, err error) {
	g = &guest{plugin: p, code: c, lastWords: make([]byte, 0, 256)}
	g.base = context.WithValue(context.Background(), guestKey{}, g)
	g.begin(ctx, terms{fuel: c.o.FuelWorker, hostCalls: c.o.HostCalls})
	defer func() {
		if r := recover(); r != nil { // wazero panics if there is no memory to be had
			g, err = nil, fmt.Errorf("wasm plugin: instantiating: %v", r)
		}
	}()
	ctx = context.WithValue(ctx, guestKey{}, g)
	g.fuel = noFuel{}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	g.module, err = c.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, allocator()), c.compiled, config)
	if err != nil {
		return nil, g.failed(err)
	}
	g.memory = g.module.ExportedMemory(exportMem)
	g.call, g.buf = g.module.ExportedFunction(exportCall), g.module.ExportedFunction(exportBuf)
	g.fuel = g.module.ExportedGlobal(meter.DefaultExport).(api.MutableGlobal)
	if initialize := g.module.ExportedFunction(exportInit); initialize != nil {
		g.fuel.Set(uint64(g.budget))
		if err := initialize.CallWithStack(g.callContext(ctx), g.stack[:]); err != nil {
			err = g.failed(err)
			_ = g.module.Close(context.Background())
			return nil, err
		}
		g.fuelUsed = g.budget - int64(g.fuel.Get())
	}
	return g, nil
}

// noFuel stands for the fuel global while a start section runs: its fuel cannot be seen until the instance is there.
type noFuel struct{ api.MutableGlobal }

func (noFuel) Get() uint64 { return 1 << 62 }
func (noFuel) Set(uint64)  {}

// callContext is what wazero gets: one that ends the call, if it can be ended.
func (g *guest) callContext(ctx context.Context) context.Context {
	if g.code.preemptible {
		return context.WithValue(ctx, guestKey{}, g)
	}
	return g.base
}

func (g *guest) begin(ctx context.Context, t terms) {
	g.ctx, g.op, g.budget, g.hostCalls, g.mayWait = ctx, t.op, t.fuel, t.hostCalls, t.mayWait
	g.slept, g.refusal, g.lastWords, g.lastLine = false, "", g.lastWords[:0], ""
}

// do makes one call. The answer is the caller's, nil for an empty one. ctx bounds what waits in it, and the call as
// a whole if it can be interrupted. The error is an *Error.
func (g *guest) do(ctx context.Context, t terms, r request) ([]byte, error) {
	g.begin(ctx, t)
	g.fuel.Set(uint64(t.fuel))
	ctx = g.callContext(ctx)
	n, err := g.fill(ctx, r)
	if err == nil {
		g.stack[0], g.stack[1] = uint64(uint32(t.op)), uint64(n)
		if err = g.call.CallWithStack(ctx, g.stack[:]); err != nil {
			err = g.failed(err)
		}
	}
	g.fuelUsed = g.budget - int64(g.fuel.Get())
	if err != nil {
		var e *Error
		g.dead = errors.As(err, &e) && e.fatal()
		return nil, err
	}
	answer, err := g.answer(g.stack[0])
	g.ctx = nil
	if g.code.preemptible && g.module.IsClosed() {
		g.dead = true // its deadline came just as it had answered
	}
	if g.fuelUsed > g.code.o.FuelPerCall/4 {
		// It may have recursed deeply: wazero keeps the stack, up to 50 MB, with the function that was called.
		g.call = g.module.ExportedFunction(exportCall)
	}
	return answer, err
}

// answer copies what the guest has returned.
func (g *guest) answer(result uint64) ([]byte, error) {
	at, size := uint32(result>>32), uint32(result)
	switch {
	case result == 0:
		return nil, nil
	case int64(result) == -1:
		reason := g.refusal
		if reason == "" {
			reason = "failed without saying why (import error)"
		}
		return nil, &Error{Op: g.op, Cause: Refused, Reason: reason}
	case int64(size) > int64(g.code.o.MaxOutput):
		return nil, g.bad("its answer of %s bytes is larger than the limit of %s",
			thousands(int64(size)), thousands(int64(g.code.o.MaxOutput)))
	}
	view, ok := g.memory.Read(at, size)
	if !ok {
		return nil, g.bad("its answer, %d bytes at %#x, is not within its memory of %d bytes", size, at, g.memory.Size())
	}
	if size == 0 {
		return nil, nil
	}
	return bytes.Clone(view), nil
}

func (g *guest) bad(format string, args ...any) error {
	return &Error{Op: g.op, Cause: BadAnswer, Reason: "bad answer: " + fmt.Sprintf(format, args...)}
}

// fill writes the request into the guest's buffer, which it has made larger if need be.
func (g *guest) fill(ctx context.Context, r request) (n int, err error) {
	if r.message != nil && g.code.json {
		g.scratch = v1json.AppendJSON(g.scratch[:0], r.message)
		r = request{encoded: g.scratch}
	}
	view, ok := g.memory.Read(g.input, g.inputSize) // again for each call: memory may have moved
	if !ok {
		return 0, g.bad("its buffer, %d bytes at %#x, is not within its memory any more", g.inputSize, g.input)
	}
	if n, ok = r.write(view); ok {
		return n, nil
	}
	if view, err = g.grow(ctx, n); err != nil {
		return 0, err
	}
	n, _ = r.write(view)
	return n, nil
}

// write puts the request at the beginning of b, if it fits, and returns its length.
func (r request) write(b []byte) (n int, ok bool) {
	if r.message != nil {
		n, err := r.message.MarshalTo(b)
		return n, err == nil
	}
	if len(r.encoded) > len(b) {
		return len(r.encoded), false
	}
	return copy(b, r.encoded), true
}

// grow asks the guest for a buffer of at least n bytes.
func (g *guest) grow(ctx context.Context, n int) ([]byte, error) {
	if n > g.code.o.MemoryLimit {
		return nil, g.bad("the request of %s bytes does not fit into memory of %s",
			thousands(int64(n)), thousands(int64(g.code.o.MemoryLimit)))
	}
	size := uint32(max(bufferMin, 1<<bits.Len(uint(n-1))))
	if int(size) > g.code.o.MemoryLimit {
		size = uint32(n)
	}
	g.stack[0] = uint64(size)
	g.input, g.inputSize = 0, 0
	if err := g.buf.CallWithStack(ctx, g.stack[:]); err != nil {
		return nil, g.failed(err)
	}
	at := uint32(g.stack[0])
	view, ok := g.memory.Read(at, size)
	if at == 0 || !ok {
		return nil, g.bad("%s(%d) returned %#x, and there are not as many bytes in its memory of %d",
			exportBuf, size, at, g.memory.Size())
	}
	g.input, g.inputSize = at, size
	return view, nil
}

// decode reads an answer, which the message points into then.
func (m *Module) decode(op pluginv1.PluginOp, answer []byte, to pluginv1.Proto) error {
	if len(answer) == 0 {
		to.Reset()
		return nil
	}
	var err error
	if m.json {
		err = v1json.UnmarshalJSON(answer, to)
	} else {
		err = to.Unmarshal(answer)
	}
	if err != nil {
		return &Error{Op: op, Cause: BadAnswer, Reason: "bad answer: " + err.Error(), Err: err}
	}
	return nil
}

func (m *Module) encode(from pluginv1.Proto) []byte {
	if m.json {
		return v1json.AppendJSON(nil, from)
	}
	return from.AppendTo(nil)
}

// close frees the instance. Nothing of it may be used after it.
func (g *guest) close() {
	g.dead = true
	_ = g.module.Close(context.Background())
	g.plugin.release()
}
