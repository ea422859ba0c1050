//go:build wasip1

package main

import (
	"unsafe"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

func main() {}

var input, output []byte

//go:wasmexport patchbay_abi_v1
func marker() {}

//go:wasmexport patchbay_buffer
func buffer(size uint32) uint32 {
	if int(size) > len(input) {
		input = make([]byte, size)
	}
	return address(input)
}

//go:wasmexport patchbay_call
func call(op, n uint32) uint64 {
	switch pluginv1.PluginOp(op) {
	case pluginv1.PluginOpDescribe:
		return packed(manifest().AppendTo(nil))
	case pluginv1.PluginOpStart:
		r := new(pluginv1.StartRequest)
		if r.Unmarshal(input[:n]) == nil {
			return packed(started(r).AppendTo(nil))
		}
	case pluginv1.PluginOpProcess:
		return process(input[:n])
	}
	return 0
}

func process(in []byte) uint64 {
	b := new(pluginv1.Batch)
	if b.Unmarshal(in) != nil {
		return 0
	}
	switch kind(b) {
	case "bytes":
		return packed(nonsense)
	case "outside":
		return 0x7fffffff<<32 | 5
	case "huge":
		return 1<<32 | 2<<20
	case "wordless":
		return 1<<64 - 1
	}
	return packed(answerTo(b).AppendTo(nil))
}

// packed is an answer that is valid until the next one.
func packed(b []byte) uint64 {
	output = b
	if len(b) == 0 {
		return 0
	}
	return uint64(address(b))<<32 | uint64(len(b))
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
