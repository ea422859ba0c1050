//go:build wasip1

package guest

import (
	"context"
	"unsafe"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
	"github.com/patchbay-mq/patchbay/sdk/proto/v1host"
)

// module is what the exports lead to; they cannot have a receiver.
var module Module

// Export makes the exports serve a plugin.
func Export(open Open) { module = Module{Open: open, Host: v1host.Caller(call)} }

//go:wasmimport patchbay_v1 error
func hostFailed(ptr unsafe.Pointer, n uint32)

//go:wasmimport patchbay_v1 host_call
func hostCall(op uint32, ptr unsafe.Pointer, n uint32, out unsafe.Pointer, capacity uint32) int32

// The marker of the ABI.
//
//go:wasmexport patchbay_abi_v1
func marker() {}

//go:wasmexport patchbay_buffer
func buffer(size uint32) uint32 { return address(module.Buffer(int(size))) }

//go:wasmexport patchbay_call
func serveCall(op, n uint32) uint64 {
	out, err := module.Call(pluginv1.PluginOp(op), int(n))
	if err != nil {
		text := err.Error()
		hostFailed(unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
		return 1<<64 - 1
	}
	if len(out) == 0 {
		return 0
	}
	return uint64(address(out))<<32 | uint64(len(out))
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// usualResponse is room for most responses, so that one call is enough.
const usualResponse = 4 << 10

// call carries a request to the host.
func call(_ context.Context, op pluginv1.HostOp, request []byte) ([]byte, error) {
	out := make([]byte, usualResponse)
	n := raw(op, request, out)
	if n > int32(len(out)) {
		out = make([]byte, n)
		n = raw(pluginv1.HostOpLastResponse, nil, out)
	}
	if n < 0 {
		return nil, lastError(pluginv1.HostErrorCode(n))
	}
	return out[:n], nil
}

func raw(op pluginv1.HostOp, in, out []byte) int32 {
	return hostCall(uint32(op), unsafe.Pointer(unsafe.SliceData(in)), uint32(len(in)),
		unsafe.Pointer(unsafe.SliceData(out)), uint32(len(out)))
}

// lastError gets what the host says of a call that ended with code.
func lastError(code pluginv1.HostErrorCode) error {
	e := &pluginv1.HostError{}
	out := make([]byte, usualResponse)
	if n := raw(pluginv1.HostOpLastError, nil, out); n < 0 || n > int32(len(out)) || e.Unmarshal(out[:n]) != nil {
		e = &pluginv1.HostError{}
	}
	e.Code = code
	return e
}
