// A guest as small as one gets in Go: it reads a Batch, and drops every message to a
// topic below "drop/". It is built by a test that looks at its size.
package main

import (
	"unsafe"

	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

const prefix = "drop/"

var (
	input, output []byte
	batch         pluginv1.Batch
	answer        pluginv1.Answer
)

//go:wasmexport patchbay_abi_v1
func marker() {}

//go:wasmexport patchbay_buffer
func buffer(size uint32) uint32 {
	if int(size) > len(input) {
		input = make([]byte, size)
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(input))))
}

//go:wasmexport patchbay_call
func call(op, n uint32) uint64 {
	if pluginv1.PluginOp(op) != pluginv1.PluginOpProcess {
		return 0
	}
	if err := batch.Unmarshal(input[:n]); err != nil {
		return 1<<64 - 1
	}
	answer.Reset()
	for i := range batch.Events {
		if m := batch.Events[i].Message; m != nil && len(m.Topic) > len(prefix) && m.Topic[:len(prefix)] == prefix {
			answer.Verdicts = append(answer.Verdicts, pluginv1.Verdict{Event: uint32(i), Action: pluginv1.ActionDrop})
		}
	}
	if len(answer.Verdicts) == 0 {
		return 0
	}
	output = answer.AppendTo(output[:0])
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(output))))<<32 | uint64(len(output))
}

func main() {}
