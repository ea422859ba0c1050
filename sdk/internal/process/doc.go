// Package process is the plugin's side of the process runtime: a gRPC server under the
// handshake of hashicorp/go-plugin, with AutoMTLS if the host wants it.
//
// It carries the contract to an instance.Plugin and the host's services back. It does
// not order or bound work, which is the instance's affair; the host bounds batches by its
// window. Entry point: Serve. The constants of the handshake are in sdk/instance.
package process
