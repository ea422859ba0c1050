// Package v1grpc carries the plugin contract over gRPC: the services Plugin and Host,
// with the structs of pluginv1 as messages.
//
// On the wire it is what protoc's stubs of any language make of the .proto files. Here
// there are no protobuf types: Codec encodes the contract's structs by themselves, and
// leaves all other messages (those of go-plugin's own services, health, reflection) to
// gRPC's usual codec, so that both can live on one connection.
//
// A server needs ServerOptions; clients need nothing. What a client or server receives
// has memory of its own and may be kept. A HostError crosses as gRPC status and, whole,
// in the trailer ErrorTrailer: HostClient returns it as *pluginv1.HostError again.
//
// It does not know processes, handshakes or TLS: connections are given to it.
//
// plugin.gen.go and host.gen.go are generated, see ../gen. Keep this package out of
// WebAssembly guests: gRPC is large.
package v1grpc
