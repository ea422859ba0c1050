// Package codectest holds the codec and the JSON reader of an SDK in another language
// against those of Go: on the golden vectors of sdk/proto, and on whatever a fuzzer
// comes up with.
//
// The SDK is compiled into a small WebAssembly module, since that is where it works,
// which exports its memory and
//
//	input(size: i32) -> i32                       memory for the input
//	again(at: i32, name: i32, size: i32) -> i64   reads the message whose name (so many bytes) and encoding are
//	                                              at, size bytes together, and writes it again
//	json(at: i32, size: i32) -> i64               reads a JSON text and prints it in the form of Print
//
// Results are address << 32 | length, or negative: -1 to -5 stand for the errors of
// pluginv1 (truncated, overflow, tag, UTF-8, limit), -100 for an unknown name.
package codectest
