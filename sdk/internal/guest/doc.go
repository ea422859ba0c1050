// Package guest is the plugin's side of the WebAssembly ABI, version 1 (abi.proto): the
// module's exports, and the host's services over its imports.
//
// It carries encoded messages to an instance.Plugin and back, and knows nothing of what
// they mean. Module has the logic, and is tested where the tests run; exports_wasip1.go
// is the thin layer that only WebAssembly has. The guest owns all memory: the host
// writes into Buffer, and reads answers before the next call.
package guest
